"""A data set of three photographs of 40 x 48: discs on a textured ground, their boxes and masks."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from stages.engine.files import write_bytes
from stages.io.data_set import Dataset
from stages.io.tables import CATEGORIES, IMAGES, INSTANCES, KINDS, POINTS, read_rows, write_table

SIZE = (40, 48)
#: image_id -> (category, row, column, radius) of its discs; "empty" has none, "held" is for val.
DISCS = {
    "one": [(1, 20, 24, 9)],
    "two": [(1, 14, 14, 8), (2, 24, 32, 10)],
    "empty": [],
    "held": [(2, 20, 20, 9)],
}
COLOURS = np.array([[40, 130, 60], [200, 60, 50], [60, 70, 210]])


def draw(name: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The image and its true labels."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    labels = np.zeros(SIZE, np.uint8)
    for category, row, column, radius in DISCS[name]:
        labels[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = category
    noise = np.random.default_rng(len(name)).normal(0, 12, (*SIZE, 3))
    return np.clip(COLOURS[labels] + noise, 0, 255).astype(np.uint8), labels


def write_discs(root: Path) -> Dataset:
    """Write photographs and tables below `root`; returns root, images, instances, categories."""
    images: list[dict[str, Any]] = []
    instances: list[dict[str, Any]] = []
    for name, discs in DISCS.items():
        buffer = io.BytesIO()
        Image.fromarray(draw(name)[0]).save(buffer, format="PNG")
        write_bytes(root / "photos" / f"{name}.png", buffer.getvalue())
        images.append(
            {
                "image_id": name,
                "split": "val" if name == "held" else "train",
                "file": f"photos/{name}.png",
                "width": SIZE[1],
                "height": SIZE[0],
                "md5": hashlib.md5(buffer.getvalue()).hexdigest(),
            }
        )
        for category, row, column, radius in discs:
            instances.append(
                {
                    "image_id": name,
                    "instance_id": len(instances) + 1,
                    "category": category,
                    "x0": column - radius,
                    "y0": row - radius,
                    "x1": column + radius + 1,
                    "y1": row + radius + 1,
                    "area": (2 * radius + 1) ** 2,
                    "is_crowd": False,
                    "mask": None,
                    "score": 1.0,
                }
            )
    data = Dataset(root, root)
    write_table(data.table("images"), pd.DataFrame(images), IMAGES)
    write_table(data.table("instances"), pd.DataFrame(instances), INSTANCES)
    kinds = [(name, kind) for name, discs in DISCS.items() if discs for kind in ("box", "tag")]
    write_table(data.table("kinds"), pd.DataFrame(kinds, columns=KINDS.names), KINDS)
    write_table(data.table("points"), pd.DataFrame([], columns=POINTS.names), POINTS)
    names = pd.DataFrame({"category": [1, 2], "name": ["sun", "moon"]})
    write_table(data.table("categories"), names, CATEGORIES)
    return data


def add_crowd(
    instances: Path, name: str, corners: tuple[int, int, int, int], mask: str | None = None
) -> npt.NDArray[np.bool_]:
    """Add a crowd of category 2 to the table; returns the pixels of its box."""
    rows = read_rows(instances, INSTANCES)
    crowd = rows[0] | {"image_id": name, "instance_id": 99, "category": 2, "is_crowd": True}
    crowd |= dict(zip(("x0", "y0", "x1", "y1"), corners, strict=True)) | {"mask": mask}
    write_table(instances, pd.DataFrame([*rows, crowd]), INSTANCES)
    region = np.zeros(SIZE, bool)
    region[corners[1] : corners[3], corners[0] : corners[2]] = True
    return region


def overlap(found: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float((found & true).sum() / (found | true).sum())
