"""What the readers of data sets have in common: their answer, and checks of ids, names, boxes."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from stages.engine.errors import InputError, shown
from stages.engine.files import md5_of
from stages.sources.gaze import Gaze, Vote

IMAGE_ID = re.compile(r"[A-Za-z0-9_.-]+")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
LAST_CATEGORY = 254
#: Bytes; most file systems take names of 255, and outputs and temporary files add to an id.
LONGEST_ID, LONGEST_NAME, LONGEST_PATH = 200, 255, 1000


@dataclass(frozen=True)
class SourceBox:
    """One annotated object as its file has it.

    Attributes:
        category: label value 1..254.
        corners: (x0, y0, x1, y1) pixels, 0-based, half open; finite, otherwise unchecked; None
            where the annotation has none: an object somewhere in the image.
        is_crowd: a region of many objects instead of one.
        segmentation: COCO polygons or run lengths, unchecked: ground truth, or None.
        where: how messages name it, such as "Annotations/a.xml: object 2".
        number: what other files of the data set call it; None: its place in the annotation, from 1.
    """

    category: int
    corners: tuple[float, float, float, float] | None
    is_crowd: bool
    segmentation: object
    where: str
    number: int | None = None


@dataclass(frozen=True)
class SourcePoint:
    """One point of an object or of the background.

    Attributes:
        category: label value 1..254, 0 background.
        place: (x, y) pixels from 0; finite, otherwise unchecked.
        where: how messages name it.
    """

    category: int
    place: tuple[float, float]
    where: str


@dataclass(frozen=True)
class SourceImage:
    """One listed image; its file has not been opened yet.

    Attributes:
        image_id: unique in the data set; matches `IMAGE_ID`.
        split: train or val; None where the data set does not say.
        file: relative to the root, with '/'.
        size: (W, H) that the annotation states, or None.
        boxes: in the order of the annotation.
        semantic: file of a label map (ground truth), relative to the root, or None.
        objects: file of a map of object numbers 1.. in the order of `boxes`, or None.
        outlined: the label map can be painted from the segmentations of `boxes`.
        tags: label values of what the image shows, beside what its other labels tell.
        points: in the order of the annotation.
        count: of salient things, or None.
        scribbles: file of a label map of strokes, 255 where there is none, or None.
        mask: file of a label map that is a label, not ground truth, or None.
        regions: file of a binary map of what is salient, or None.
        saliency: file of a grey map of how salient it is, or None.
        gaze: the fixations on it, or None.
        votes: what subjects picked, unchecked numbers of `boxes`.
        ranks: (number of a box, true rank), unchecked: ground truth.
        fault: why the image is no good, as far as its annotation tells, or None. Of a faulty image
            nothing but `file` is sure, and that may be text for messages instead of a name.
    """

    image_id: str
    split: str | None
    file: str
    size: tuple[int, int] | None
    boxes: tuple[SourceBox, ...]
    semantic: str | None = None
    objects: str | None = None
    outlined: bool = False
    tags: tuple[int, ...] = ()
    points: tuple[SourcePoint, ...] = ()
    count: int | None = None
    scribbles: str | None = None
    mask: str | None = None
    regions: str | None = None
    saliency: str | None = None
    gaze: Gaze | None = None
    votes: tuple[Vote, ...] = ()
    ranks: tuple[tuple[int, int], ...] = ()
    fault: str | None = None


@dataclass(frozen=True)
class Source:
    """A data set as a reader found it.

    Attributes:
        images: all that are listed.
        categories: names by label value 1, 2, ...
        unlisted: image files beside the listed ones that are in no list, relative to the root.
        strays: labels of no listed image: (image, where, why).
    """

    images: tuple[SourceImage, ...]
    categories: Mapping[int, str]
    unlisted: tuple[str, ...] = ()
    strays: tuple[tuple[str, str, str], ...] = ()


def faulty_image(image_id: str, split: str | None, file: object, fault: str) -> SourceImage:
    """An image that goes into quarantine; `file` as its annotation has it, whatever that is."""
    name = file if isinstance(file, str) and _is_name(file) else shown(file)
    return SourceImage(image_id, split, name, None, (), fault=fault)


def check_image_id(image_id: str, where: str) -> str:
    """The id itself.

    Raises:
        InputError: it cannot serve as a file name on every system.
    """
    if not IMAGE_ID.fullmatch(image_id) or len(image_id) > LONGEST_ID:
        expected = f"only letters, digits, '.', '_' and '-', {LONGEST_ID} at most"
        raise InputError(f"{where}: image id {shown(image_id)}: expected {expected}")
    return image_id


def check_unique(images: Sequence[SourceImage], where: str) -> None:
    """Every id of a faultless image occurs once.

    Raises:
        InputError: two images share an id.
    """
    seen: dict[str, str] = {}
    for image in images:
        if image.fault is not None:
            continue
        if image.image_id in seen:
            both = f"{seen[image.image_id]} and {image.file}"
            raise InputError(f"{where}: duplicate image id {image.image_id!r}: {both}")
        seen[image.image_id] = image.file


def check_inside(root: Path, file: str, where: str) -> str:
    """A file name that stays below the root, with '/' between its parts.

    Raises:
        InputError: absolute, or leads out of the root by '..' or by a symbolic link, or no name
            that a file can have.
    """
    name = PurePosixPath(file.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or re.match(r"[A-Za-z]:", file) or not name.parts:
        raise InputError(f"{where}: file name {shown(file)}: expected a path inside {root}")
    if not _is_name(file):
        expected = f"expected printable characters, at most {LONGEST_NAME} bytes between two '/'"
        raise InputError(f"{where}: file name {shown(file)}: {expected}")
    try:
        path = (root / name).resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: what a loop raises before Python 3.13
        raise InputError(f"{where}: file name {shown(file)}: a link without an end") from error
    if not path.is_relative_to(root.resolve()):
        raise InputError(f"{where}: file name {shown(file)}: a link leads out of {root}")
    return str(name)


def _is_name(file: str) -> bool:
    """Whether a file can have this name, and a table can hold it."""
    parts = file.encode(errors="replace").replace(b"\\", b"/").split(b"/")
    short = len(file) <= LONGEST_PATH and all(len(part) <= LONGEST_NAME for part in parts)
    return short and file.isprintable()


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


def check_category_names(names: Sequence[str], where: str) -> None:
    """Names of 1 to 254 categories, beside background and unknown, each of another.

    Raises:
        InputError: more or none, two of one name, one called background, or an unprintable one.
    """
    if not 1 <= len(names) <= LAST_CATEGORY:
        raise InputError(f"{where}: {len(names)} categories; expected 1 to {LAST_CATEGORY}")
    seen: set[str] = set()
    for name in names:
        if not name.strip() or not name.isprintable():
            raise InputError(f"{where}: category name {shown(name)}: expected printable text")
        if name.strip().casefold() == "background":
            expected = "expected none of this name: it is what no category covers"
            raise InputError(f"{where}: category name {name!r}: {expected}")
        if name.strip() in seen:
            raise InputError(f"{where}: category name {shown(name)}: stands twice")
        seen.add(name.strip())


def unlisted_images(
    root: Path,
    folders: Sequence[str],
    images: Sequence[SourceImage],
    *,
    without: Sequence[str] = (),
) -> tuple[str, ...]:
    """Image files that no list names, sorted; links to folders are not followed.

    Args:
        root: of the data set.
        folders: where to look, with all below, relative to the root.
        images: the listed ones.
        without: folders that hold no images of the data set, such as masks.
    """
    listed = {image.file for image in images}
    left_out = {root / name for name in without}
    paths = set()
    for start in folders:
        for folder, below, names in os.walk(root / start):
            directory = Path(folder)
            below[:] = [n for n in below if n[0] != "." and directory / n not in left_out]
            for name in names:
                if name[0] != "." and name.lower().endswith(IMAGE_SUFFIXES):
                    paths.add((directory / name).relative_to(root).as_posix())
    return tuple(sorted(paths - listed))


def held_out(image_id: str, one_in: int) -> bool:
    """Whether an image without a stated split is for validation, by its id's hash.

    The answer depends on the id alone, so adding images moves no other image.

    Args:
        image_id: of the image.
        one_in: one image in so many is; 0: none.
    """
    return one_in > 0 and int(md5_of(image_id.encode())[:8], 16) % one_in == 0
