"""Tables of instances as tensors to learn from, and detections as rows of such a table."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from models.detection import Detection, Targets
from models.instance_views import filled_masks
from stages.engine.errors import InputError
from stages.io.box_masks import mask_columns
from stages.io.data_set import ImageFile
from stages.io.label_maps import decode_rle
from stages.io.tables import INSTANCES, read_rows, write_table

Row = Mapping[str, Any]


def objects_by_image(path: Path) -> dict[str, list[Row]]:
    """The rows (`INSTANCES`) of every image that has any; crowds are left out.

    Raises:
        InputError: an unreadable table.
    """
    by_image: dict[str, list[Row]] = defaultdict(list)
    for row in read_rows(path, INSTANCES):
        if not row["is_crowd"]:
            by_image[row["image_id"]].append(row)
    return dict(by_image)


def read_targets(rows: Sequence[Row], image: ImageFile, *, any_class: bool, where: Path) -> Targets:
    """The objects of an image; one without a mask fills its box.

    Args:
        rows: of `objects_by_image`.
        image: their image.
        any_class: all are of class 1.
        where: the table, for messages.

    Raises:
        InputError: an object is of no class, and `any_class` is not set; or its mask is of another
            size than the image.
    """
    boxes = [[row["x0"], row["y0"], row["x1"], row["y1"]] for row in rows]
    masks = filled_masks(boxes, image.size)
    for mask, row in zip(masks, rows, strict=True):
        name = f"{where}: image_id {row['image_id']}, instance_id {row['instance_id']}"
        if not any_class and row["category"] == 0:
            raise InputError(f"{name}: category 0, no class; expected a class, or any_class: true")
        if row["mask"] is not None:
            try:
                mask.copy_(torch.from_numpy(decode_rle(row["mask"], *image.size)))
            except ValueError as error:
                raise InputError(f"{name}: mask does not fit {image.size} of its image") from error
    labels = [1 if any_class else row["category"] for row in rows]
    return Targets(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        masks,
    )


def detection_rows(image_id: str, found: Detection, *, any_class: bool) -> list[dict[str, Any]]:
    """What was found in an image as rows without instance_id; empty masks are left out."""
    rows = []
    masks = found.masks.numpy() > 0.5
    for box, label, score, mask in zip(
        found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), masks, strict=True
    ):
        if mask.any():
            x0, y0, x1, y1 = (round(side, 2) for side in box)
            rows.append(
                {
                    "image_id": image_id,
                    "category": 0 if any_class else label,
                    **{"x0": x0, "y0": y0, "x1": x1, "y1": y1},
                    "is_crowd": False,
                    **mask_columns(mask, round(score, 4)),
                }
            )
    return rows


def write_detections(path: Path, rows: Sequence[Row]) -> None:
    """Write rows of `detection_rows`, numbered from 1."""
    numbered = [{**row, "instance_id": number} for number, row in enumerate(rows, start=1)]
    write_table(path, pd.DataFrame(numbered, columns=INSTANCES.names), INSTANCES)
