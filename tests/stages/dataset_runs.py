"""The `dataset` stage run on a data set of a test, and what it wrote."""

import csv
import json
from pathlib import Path
from typing import Any, Literal

from stages.dataset import Params, dataset

Format = Literal["coco", "voc", "folder"]


def read(root: Path, format: Format, max_rejected: int = 0, hold_out: int = 5) -> Path:
    out = root.parent / f"{root.name}-out"
    dataset(Params(str(root), format, max_rejected, hold_out), root, out)
    return out


def metrics(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return found


def rejected(out: Path) -> list[dict[str, str]]:
    with (out / "rejected.csv").open(newline="") as file:
        return list(csv.DictReader(file))
