"""COCO json: annotations/instances_train*.json and instances_val*.json, images in folders beside.

One json alone states no split. The images of instances_<name>.json are looked for in <name>/,
images/<name>/, images/ and the root itself.

An annotation without bbox, as of keypoints or of tags, is no box: its visible keypoints are points
of its category, its category is a tag, its segmentation is ground truth as that of a box.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from stages.engine.errors import InputError, shown
from stages.io.user_files import read_user_text
from stages.sources.beside import check_place
from stages.sources.source import (
    Source,
    SourceBox,
    SourceImage,
    SourcePoint,
    check_category_names,
    check_corners,
    check_image_id,
    check_inside,
    check_unique,
    faulty_image,
    unlisted_images,
)

#: Pixels along all outlines of one object; pycocotools takes 100 bytes for each.
LONGEST_OUTLINE = 2_000_000
#: Bits of a run in compressed run lengths that are worth reading; no image has so many pixels.
_LONGEST_RUN = 40
_Content = dict[str, list[dict[str, Any]]]


def read_coco(root: Path) -> Source:
    """Read one or two json files; label values are 1, 2, ... in the order of COCO's ids.

    What is wrong with one image, or with one of its annotations, becomes the fault of that image.

    Raises:
        InputError: a missing or broken file, bad categories, ids that are missing or stand twice,
            or an annotation of no image.
    """
    files = _split_files(root / "annotations")
    images: list[SourceImage] = []
    folders: list[str] = []
    names: dict[int, str] = {}
    for split, path in files:
        content = read_json(path, ("images", "annotations", "categories"))
        categories = _categories(content, path)
        if names and categories != names:
            raise InputError(f"{path}: categories differ from those of {files[0][1].name}")
        names = categories
        beside = _image_folders(root, path)
        folders += beside
        images += _read_images(root, path, content, list(names), beside, split)
    check_unique(images, str(root / "annotations"))
    unlisted = unlisted_images(root, folders, images)
    return Source(tuple(images), dict(enumerate(names.values(), start=1)), unlisted)


def decode_segmentation(
    segmentation: object, size: tuple[int, int], where: str
) -> npt.NDArray[np.bool_]:
    """The mask of COCO polygons or run lengths, both checked: pycocotools crashes where they lie.

    Args:
        segmentation: as in the json: a list of polygons x, y, x, y, ... or {size, counts}.
        size: (W, H) of the image.
        where: how messages name the annotation.

    Returns:
        bool [H, W].

    Raises:
        InputError: not a segmentation of an image of this size.
    """
    where = f"{where}: segmentation"
    if isinstance(segmentation, dict):
        return _decode_runs(segmentation, size, where)
    width, height = size
    polygons = _checked_polygons(segmentation, size, where)
    if not polygons:
        return np.zeros((height, width), dtype=bool)
    runs = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return np.asarray(coco_mask.decode(runs), dtype=bool)


def _checked_polygons(segmentation: object, size: tuple[int, int], where: str) -> list[list[float]]:
    """The polygons that have an inside; with fewer than three corners they have none."""
    if not isinstance(segmentation, list):
        raise InputError(f"{where}: {shown(segmentation)}: not polygons or run lengths")
    polygons, length = [], 0.0
    limits = np.array(size, dtype=np.float64)
    for part in segmentation:
        if not isinstance(part, list) or not set(map(type, part)) <= {int, float} or len(part) % 2:
            expected = "not polygons or run lengths; expected lists of x, y, x, y, ..."
            raise InputError(f"{where}: {shown(part)}: {expected}")
        corners = _corners(part, where)
        far = (corners < -limits) | (corners > 2 * limits)
        if far.any():
            corner = corners[far.any(axis=1)][0].tolist()
            raise InputError(f"{where}: corner {corner}: far outside its {size[0]}x{size[1]} image")
        length += float(np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum())
        if length > LONGEST_OUTLINE:
            raise InputError(f"{where}: outline longer than {LONGEST_OUTLINE} pixels")
        if len(part) >= 6:  # pycocotools would take four numbers for a box
            polygons.append(part)
    return polygons


def _corners(part: list[float], where: str) -> npt.NDArray[np.float64]:
    """Of a polygon x, y, x, y, ... as [N, 2]."""
    try:
        corners = np.array(part, dtype=np.float64).reshape(-1, 2)
    except OverflowError as error:
        raise InputError(f"{where}: {shown(part)}: expected finite coordinates") from error
    if not np.isfinite(corners).all():
        raise InputError(f"{where}: {shown(part)}: expected finite coordinates")
    return corners


def _decode_runs(
    segmentation: Mapping[str, Any], size: tuple[int, int], where: str
) -> npt.NDArray[np.bool_]:
    width, height = size
    stated, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(counts, list | str):
        found = f"counts {shown(counts)}: not polygons or run lengths"
        raise InputError(f"{where}: {found}; expected a list or text")
    if stated != [height, width]:
        raise InputError(f"{where}: size {shown(stated)}; expected {[height, width]}")
    runs = _expand(counts, where) if isinstance(counts, str) else counts
    if not set(map(type, runs)) <= {int} or min(runs, default=0) < 0:
        raise InputError(f"{where}: counts {shown(counts)}: expected whole numbers from 0")
    if sum(runs) != width * height:
        found = f"{where}: counts cover {shown(sum(runs))} pixels"
        raise InputError(f"{found}; expected {width * height}, those of its image")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def _expand(text: str, where: str) -> list[int]:
    """The run lengths of COCO's compressed form.

    A run is a number in groups of five bits, the lowest first, a sixth bit on all but the last
    group; each group is a character from '0' on. From the fourth run on, the number is the
    difference from the run before the last.
    """
    runs: list[int] = []
    value = shift = 0
    for code in (ord(character) - 48 for character in text):
        if not 0 <= code < 64 or shift > _LONGEST_RUN:
            raise InputError(f"{where}: counts {shown(text)}: not compressed run lengths")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:  # the sign
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise InputError(f"{where}: counts {shown(text)}: not compressed run lengths")
    return runs


def _split_files(folder: Path) -> list[tuple[str | None, Path]]:
    train, val = (sorted(folder.glob(f"instances_{split}*.json")) for split in ("train", "val"))
    if len(train) == 1 and len(val) == 1:
        return [("train", train[0]), ("val", val[0])]
    others = (path for path in folder.glob("*.json") if not path.name.startswith("fixations"))
    both = train + val or sorted(others)
    if len(both) == 1:
        return [(None, both[0])]
    expected = "expected one instances_train*.json and one instances_val*.json, or one json alone"
    found = ", ".join(shown(path.name) for path in both[:8]) or "none"
    raise InputError(f"{folder}: no such annotation files; {expected}; found {found}")


def read_json(path: Path, keys: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The content of a json file that has a list of objects under each key.

    Raises:
        InputError: it has not, or cannot be read.
    """
    text = read_user_text(path)
    try:
        content: _Content = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: not readable as json: {error}") from error
    except RecursionError as error:
        raise InputError(f"{path}: not readable as json: nested too deeply") from error
    for key in keys:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise InputError(f"{path}: {key}: expected a list")
        if not all(isinstance(entry, dict) for entry in content[key]):
            raise InputError(f"{path}: {key}: expected a list of objects")
    return content


def _categories(content: _Content, path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for number, entry in enumerate(content["categories"]):
        where = f"{path}: categories[{number}]"
        key, name = _field(entry, "id", where, int), _field(entry, "name", where, str)
        if key in names:
            raise InputError(f"{where}: id {shown(key)}: a category of this id stands above")
        names[key] = name
    check_category_names(list(names.values()), f"{path}: categories")
    return dict(sorted(names.items()))


def _image_folders(root: Path, path: Path) -> list[str]:
    name = path.stem.removeprefix("instances_")
    return [folder for folder in (name, f"images/{name}", "images") if (root / folder).is_dir()]


def _read_images(
    root: Path,
    path: Path,
    content: _Content,
    category_ids: Sequence[int],
    folders: Sequence[str],
    split: str | None,
) -> list[SourceImage]:
    found, faults = _read_annotations(path, content, category_ids)
    outlined = any(box.segmentation is not None for each in found.values() for box in each.boxes)
    images: dict[int, SourceImage] = {}
    for number, entry in enumerate(content["images"]):
        where = f"{path}: images[{number}]"
        key = _field(entry, "id", where, int)
        if key in images:
            raise InputError(f"{where}: duplicate image id {shown(key)}")
        own, fault = found.pop(key, _Annotations()), faults.pop(key, None)
        file = entry.get("file_name")
        try:
            file = _find_file(root, entry, where, folders)
            if fault is not None:
                raise InputError(fault)
            image_id = check_image_id(PurePosixPath(file).stem, where)
            size = _stated_size(entry, where)
            images[key] = SourceImage(
                image_id,
                split,
                file,
                size,
                tuple(own.boxes),
                outlined=outlined,
                tags=tuple(box.category for box in own.boxes if box.corners is None),
                points=tuple(own.points),
            )
        except InputError as error:
            images[key] = faulty_image(str(number), split, file, str(error))
    for key, own in found.items():
        raise InputError(f"{own.boxes[0].where}: image_id {shown(key)}: no image has this id")
    for key, fault in faults.items():
        raise InputError(f"{fault}; and image_id {shown(key)}: no image has this id")
    return list(images.values())


def _find_file(root: Path, entry: Mapping[str, Any], where: str, folders: Sequence[str]) -> str:
    stated = check_inside(root, _field(entry, "file_name", where, str), where)
    files = [check_inside(root, f"{folder}/{stated}", where) for folder in (*folders, ".")]
    return next((file for file in files if (root / file).exists()), files[0])


def _stated_size(entry: Mapping[str, Any], where: str) -> tuple[int, int] | None:
    if entry.get("width") is None and entry.get("height") is None:
        return None
    return _field(entry, "width", where, int), _field(entry, "height", where, int)


@dataclass
class _Annotations:
    """Those of one image."""

    boxes: list[SourceBox] = field(default_factory=list)
    points: list[SourcePoint] = field(default_factory=list)


def _read_annotations(
    path: Path, content: _Content, category_ids: Sequence[int]
) -> tuple[dict[int, _Annotations], dict[int, str]]:
    """Annotations by image id, and what is wrong with the first bad one of an image."""
    values = {key: value for value, key in enumerate(category_ids, start=1)}
    found: dict[int, _Annotations] = defaultdict(_Annotations)
    faults: dict[int, str] = {}
    for number, entry in enumerate(content["annotations"]):
        where = f"{path}: annotations[{number}]"
        key = _field(entry, "image_id", where, int)
        try:
            box = _read_box(entry, values, where)
            found[key].points += _read_keypoints(entry, box.category, where)
            found[key].boxes.append(box)
        except InputError as error:
            faults.setdefault(key, str(error))
    return {key: own for key, own in found.items() if own.boxes}, faults


def _read_box(entry: Mapping[str, Any], values: Mapping[int, int], where: str) -> SourceBox:
    category = _field(entry, "category_id", where, int)
    if category not in values:
        raise InputError(f"{where}: category_id {shown(category)}: unknown category")
    crowd = entry.get("iscrowd", 0)
    if type(crowd) not in (int, bool) or crowd not in (0, 1):
        raise InputError(f"{where}: iscrowd {shown(crowd)}: expected 0, 1, true or false")
    segmentation = entry.get("segmentation")
    return SourceBox(
        category=values[category],
        corners=_corners_of(entry, where, required=bool(crowd)),
        is_crowd=bool(crowd),
        segmentation=None if segmentation == [] else segmentation,
        where=where,
        number=entry["id"] if type(entry.get("id")) is int else None,
    )


def _corners_of(
    entry: Mapping[str, Any], where: str, *, required: bool
) -> tuple[float, float, float, float] | None:
    box = entry.get("bbox")
    if box is None and not required:
        return None
    if not isinstance(box, list) or len(box) != 4 or not set(map(type, box)) <= {int, float}:
        raise InputError(f"{where}: bbox {shown(box)}: expected [x, y, width, height]")
    try:
        x, y, width, height = (float(value) for value in box)
    except OverflowError as error:
        raise InputError(f"{where}: bbox {shown(box)}: expected finite coordinates") from error
    return check_corners((x, y, x + width, y + height), where)


def _read_keypoints(entry: Mapping[str, Any], category: int, where: str) -> list[SourcePoint]:
    """The visible ones (v = 2): what is labelled and hidden (1) lies on something else."""
    numbers = entry.get("keypoints")
    if numbers is None:
        return []
    if (
        not isinstance(numbers, list)
        or len(numbers) % 3
        or not set(map(type, numbers))
        <= {
            int,
            float,
        }
    ):
        raise InputError(f"{where}: keypoints {shown(numbers)}: expected x, y, v, x, y, v, ...")
    try:
        values = [float(number) for number in numbers]
    except OverflowError as error:
        raise InputError(f"{where}: keypoints {shown(numbers)}: expected finite numbers") from error
    triples = zip(values[::3], values[1::3], values[2::3], strict=True)
    return [
        SourcePoint(category, check_place((x, y), where), where) for x, y, v in triples if v == 2
    ]


def _field(entry: Mapping[str, Any], name: str, where: str, kind: type[Any]) -> Any:
    value = entry.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        expected = {int: "a whole number", str: "text"}[kind]
        raise InputError(f"{where}: {name} {shown(value)}: expected {expected}")
    return value
