"""The images and boxes of a data set as plain values, ready to be fields of a map_images item."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.engine.errors import InputError
from stages.io.photographs import RGB, read_image
from stages.io.tables import IMAGES, INSTANCES, TAGS, read_rows


@dataclass(frozen=True)
class ImageFile:
    """One image of images.parquet; width and height in pixels, upright."""

    image_id: str
    path: Path
    md5: str
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.height, self.width

    def read(self) -> RGB:
        """uint8 RGB [H, W, 3].

        Raises:
            InputError: the file is not the one that the dataset stage saw.
        """
        return read_image(self.path, self.md5)


@dataclass(frozen=True)
class Box:
    """One box of instances.parquet: pixels, 0-based, half open; category is the label value.

    Without its instance_id, which counts over the whole data set: one box more would make other
    items of all the images after it, and nothing kept of them would be found again.
    """

    category: int
    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1)."""
        return self.x0, self.y0, self.x1, self.y1


def images_of_split(images: Path, root: Path, split: Literal["train", "val"]) -> list[ImageFile]:
    """The images of one split, in the order of the table.

    Raises:
        InputError: unreadable table, or no image in the split.
    """
    rows = [row for row in read_rows(images, IMAGES) if row["split"] == split]
    if not rows:
        raise InputError(f"{images}: no image in split {split!r}")
    return [
        ImageFile(row["image_id"], root / row["file"], row["md5"], row["width"], row["height"])
        for row in rows
    ]


def boxes_by_image(instances: Path) -> dict[str, tuple[Box, ...]]:
    """The boxes of every image that has any; crowd regions are left out."""
    numbered = numbered_boxes_by_image(instances)
    return {image_id: tuple(box for _, box in found) for image_id, found in numbered.items()}


def numbered_boxes_by_image(instances: Path) -> dict[str, tuple[tuple[int, Box], ...]]:
    """The same, each with its instance_id before it."""
    boxes: dict[str, list[tuple[int, Box]]] = defaultdict(list)
    for row in read_rows(instances, INSTANCES):
        if not row["is_crowd"]:
            box = Box(row["category"], row["x0"], row["y0"], row["x1"], row["y1"])
            boxes[row["image_id"]].append((row["instance_id"], box))
    return {image_id: tuple(found) for image_id, found in boxes.items()}


def tags_by_image(tags: Path) -> dict[str, tuple[int, ...]]:
    """The categories present in every image that has any, ascending."""
    found: dict[str, set[int]] = defaultdict(set)
    for row in read_rows(tags, TAGS):
        found[row["image_id"]].add(row["category"])
    return {image_id: tuple(sorted(categories)) for image_id, categories in found.items()}
