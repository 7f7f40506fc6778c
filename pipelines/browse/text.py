"""Numbers and moments as people read them."""

import json
from datetime import UTC, datetime
from math import log10
from typing import Any


def cell(content: Any) -> str:
    """What stands in a cell of a table: at most 60 characters."""
    text = f"{content:.4g}" if isinstance(content, float) else str(content)
    return text if len(text) <= 60 else f"{text[:57]}..."


def seconds(number: float | None) -> str:
    """A duration for people."""
    if number is None:
        return ""
    return f"{number:.0f} s" if number < 120 else f"{number / 60:.0f} min"


def size(number: int) -> str:
    """Bytes for people."""
    unit = min(int(log10(number) // 3), 4) if number > 0 else 0
    return f"{number / 1000**unit:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[unit]}"


def value(content: Any) -> str:
    """A number or a parameter for people."""
    if content is None:
        return "–"
    if isinstance(content, float):
        return f"{content:.4g}" if abs(content) < 1 else f"{content:.2f}".rstrip("0").rstrip(".")
    return content if isinstance(content, str) else json.dumps(content)


def when(moment: datetime) -> str:
    """A time for people, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
