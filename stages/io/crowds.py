"""Crowd regions: many objects under one outline, none with a box of its own.

No box tells what their pixels are, and none says that they are background: seeds and labels leave
them unknown, except where a box of one object holds the pixel (`unknown_in_region`).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.ops.boxes import BoxTuple, outside_boxes
from stages.io.label_maps import decode_rle
from stages.io.tables import INSTANCES, read_rows


@dataclass(frozen=True)
class Crowd:
    """One crowd of instances.parquet: its box in pixels, 0-based, half open, and its outline.

    Attributes:
        corners: (x0, y0, x1, y1).
        mask: COCO compressed RLE; None where only the box is known.
    """

    corners: BoxTuple
    mask: str | None


def crowds_by_image(instances: Path) -> dict[str, tuple[Crowd, ...]]:
    """The crowds of every image that has any."""
    crowds: dict[str, list[Crowd]] = defaultdict(list)
    for row in read_rows(instances, INSTANCES):
        if row["is_crowd"]:
            corners = row["x0"], row["y0"], row["x1"], row["y1"]
            crowds[row["image_id"]].append(Crowd(corners, row["mask"]))
    return {image_id: tuple(found) for image_id, found in crowds.items()}


def crowd_region(crowds: Sequence[Crowd], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Where the crowds of an image are: their outlines, the whole box where there is none.

    Args:
        crowds: of the image; may be empty.
        size: (H, W).

    Returns:
        bool [H, W].
    """
    region = ~outside_boxes([crowd.corners for crowd in crowds if crowd.mask is None], size)
    for crowd in crowds:
        if crowd.mask is not None:
            region |= decode_rle(crowd.mask, *size)
    return region
