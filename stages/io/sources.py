"""What the readers of data sets have in common: their answer, and checks of ids, names, boxes."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from stages.io.errors import InputError

IMAGE_ID = re.compile(r"[A-Za-z0-9_.-]+")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
LAST_CATEGORY = 254
#: One run in the uncompressed or compressed form of COCO, or a list of polygons x, y, x, y...
Segmentation = Sequence[Sequence[float]] | Mapping[str, object]


@dataclass(frozen=True)
class SourceBox:
    """One annotated object as its file has it.

    Attributes:
        category: label value 1..254.
        corners: (x0, y0, x1, y1) pixels, 0-based, half open; finite, otherwise unchecked.
        is_crowd: a region of many objects instead of one.
        segmentation: COCO polygons or run lengths: ground truth, or None.
        where: how messages name it, such as "Annotations/a.xml: object 2".
    """

    category: int
    corners: tuple[float, float, float, float]
    is_crowd: bool
    segmentation: Segmentation | None
    where: str


@dataclass(frozen=True)
class SourceImage:
    """One listed image; its file has not been opened yet.

    Attributes:
        image_id: unique in the data set; matches `IMAGE_ID`.
        split: train or val.
        file: relative to the root, with '/'.
        size: (W, H) that the annotation states, or None.
        boxes: in the order of the annotation.
        semantic: file of a label map (ground truth), relative to the root, or None.
        objects: file of a map of object numbers 1.. in the order of `boxes`, or None.
        outlined: the label map can be painted from the segmentations of `boxes`.
    """

    image_id: str
    split: str
    file: str
    size: tuple[int, int] | None
    boxes: tuple[SourceBox, ...]
    semantic: str | None = None
    objects: str | None = None
    outlined: bool = False


@dataclass(frozen=True)
class Source:
    """A data set as a reader found it: images, and category names by label value."""

    images: tuple[SourceImage, ...]
    categories: Mapping[int, str]


def check_image_id(image_id: str, where: str) -> str:
    """The id itself.

    Raises:
        InputError: it cannot serve as a file name on every system.
    """
    if not IMAGE_ID.fullmatch(image_id):
        expected = "letters, digits, '.', '_' and '-'"
        raise InputError(f"{where}: image id {image_id!r}: expected only {expected}")
    return image_id


def check_unique(images: Sequence[SourceImage], where: str) -> None:
    """Every id occurs once.

    Raises:
        InputError: two images share an id.
    """
    seen: dict[str, str] = {}
    for image in images:
        if image.image_id in seen:
            both = f"{seen[image.image_id]} and {image.file}"
            raise InputError(f"{where}: duplicate image id {image.image_id!r}: {both}")
        seen[image.image_id] = image.file


def check_inside(root: Path, file: str, where: str) -> str:
    """A file name that stays below the root, with '/' between its parts.

    Raises:
        InputError: absolute, or leads out of the root by '..' or by a symbolic link.
    """
    name = PurePosixPath(file.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or re.match(r"[A-Za-z]:", file) or not name.parts:
        raise InputError(f"{where}: file name {file!r}: expected a path inside {root}")
    if "\0" in file or not (root / name).resolve().is_relative_to(root.resolve()):
        raise InputError(f"{where}: file name {file!r}: a link leads out of {root}")
    return str(name)


def check_corners(
    corners: tuple[float, float, float, float], where: str
) -> tuple[float, float, float, float]:
    """The corners themselves.

    Raises:
        InputError: not finite.
    """
    if not all(math.isfinite(value) for value in corners):
        raise InputError(f"{where}: box {list(corners)}: expected finite coordinates")
    return corners


def check_category_count(count: int, where: str) -> None:
    """Label maps hold 254 categories beside background and unknown.

    Raises:
        InputError: more, or none.
    """
    if not 1 <= count <= LAST_CATEGORY:
        raise InputError(f"{where}: {count} categories; expected 1 to {LAST_CATEGORY}")


def held_out(image_id: str) -> bool:
    """Whether an image without a stated split is for validation: one in five, by its id's hash.

    The answer depends on the id alone, so adding images moves no other image.
    """
    digest = hashlib.md5(image_id.encode(), usedforsecurity=False).hexdigest()
    return int(digest[:8], 16) % 5 == 0
