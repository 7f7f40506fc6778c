"""Lines of numbers for SVG."""

from collections.abc import Sequence
from typing import Any

import pandas as pd


def polyline(values: Sequence[float], width: float, height: float) -> str:
    """SVG points of a line that fills the given box; empty for less than two values."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    scale = (height - 4) / (high - low) if high > low else 0
    step = width / (len(values) - 1)
    return " ".join(
        f"{index * step:.1f},{height - 2 - (value - low) * scale:.1f}"
        for index, value in enumerate(values)
    )


def draw_curve(frame: pd.DataFrame) -> dict[str, Any]:
    """A line per column over the first column, each on its own scale."""
    numbers = frame.select_dtypes("number").dropna(axis=1, how="all")
    x = numbers.columns[0]
    return {
        "x": str(x),
        "from": numbers[x].iloc[0] if len(numbers) else 0,
        "to": numbers[x].iloc[-1] if len(numbers) else 0,
        "lines": [
            {
                "name": str(column),
                "points": polyline(numbers[column].dropna().tolist(), 520, 120),
                "first": numbers[column].dropna().iloc[0],
                "last": numbers[column].dropna().iloc[-1],
            }
            for column in numbers.columns[1:]
        ],
    }
