"""Boxes with a mask each, as tables of instances hold them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models.ops.boxes import BoxTuple, pixel_box
from stages.engine.errors import InputError
from stages.io.label_maps import decode_rle, encode_rle
from stages.io.tables import INSTANCES, read_rows


class Boxed(Protocol):
    """Anything of a class in a box."""

    @property
    def category(self) -> int:
        """Its label value."""

    @property
    def corners(self) -> BoxTuple:
        """Pixels, 0-based, half open."""


@dataclass(frozen=True)
class BoxMask:
    """A box and what was made of it; ready to be a field of a map_images item.

    Attributes:
        category: the label value.
        corners: (x0, y0, x1, y1) in pixels, 0-based, half open.
        mask: COCO compressed RLE.
    """

    category: int
    corners: BoxTuple
    mask: str

    def decode(self, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """The mask, bool [H, W]."""
        return decode_rle(self.mask, *size)


def read_box_masks(instances: Path) -> dict[str, tuple[tuple[int, BoxMask], ...]]:
    """The rows of every image that has any, each with its instance_id before it.

    Raises:
        InputError: an unreadable table, or a row without a mask.
    """
    found: dict[str, list[tuple[int, BoxMask]]] = defaultdict(list)
    for row in read_rows(instances, INSTANCES):
        if row["mask"] is None:
            where = f"{instances}: instance {row['instance_id']} of image {row['image_id']}"
            raise InputError(f"{where}: mask: expected run lengths, found none")
        corners = row["x0"], row["y0"], row["x1"], row["y1"]
        mask = BoxMask(row["category"], corners, row["mask"])
        found[row["image_id"]].append((row["instance_id"], mask))
    return {image_id: tuple(rows) for image_id, rows in found.items()}


def mask_columns(mask: npt.NDArray[np.bool_], score: float | None) -> dict[str, Any]:
    """What a table of instances says of a mask, bool [H, W]: area, mask and score."""
    return {"area": float(np.count_nonzero(mask)), "mask": encode_rle(mask), "score": score}


def instance_rows(
    image_id: str, numbered: Iterable[tuple[int, Boxed]], masks: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Rows (`INSTANCES`) of an image's boxes, each with its instance_id, and their `mask_columns`.

    Raises:
        ValueError: not as many masks as boxes.
    """
    return [
        {
            "image_id": image_id,
            "instance_id": number,
            "category": box.category,
            **dict(zip(("x0", "y0", "x1", "y1"), box.corners, strict=True)),
            "is_crowd": False,
            **mask,
        }
        for (number, box), mask in zip(numbered, masks, strict=True)
    ]


def fills_its_box(mask: npt.NDArray[np.bool_], corners: BoxTuple) -> bool:
    """Whether all of the box is object: of a mask that was to tell them apart, that it did not."""
    x0, y0, x1, y1 = pixel_box(corners, (mask.shape[0], mask.shape[1]))
    return bool(mask[y0:y1, x0:x1].all())
