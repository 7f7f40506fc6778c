"""COCO json: annotations/instances_train*.json and instances_val*.json, images in folders beside.

With one json alone, one image in five is held out for validation by the hash of its id
(stages.io.sources.held_out). The images of instances_<name>.json are looked for in <name>/,
images/<name>/, images/ and the root itself.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from stages.io.errors import InputError
from stages.io.sources import (
    Segmentation,
    Source,
    SourceBox,
    SourceImage,
    check_category_count,
    check_corners,
    check_image_id,
    check_inside,
    check_unique,
    held_out,
)


def read_coco(root: Path) -> Source:
    """Read one or two json files; label values are 1, 2, ... in the order of COCO's ids.

    Raises:
        InputError: a missing or broken file, an unknown category, a bad id or coordinate.
    """
    files = _split_files(root / "annotations")
    images: list[SourceImage] = []
    names: dict[int, str] = {}
    for split, path in files:
        content = _read_json(path)
        found = _categories(content, path)
        if names and found != names:
            raise InputError(f"{path}: categories differ from those of {files[0][1].name}")
        names = found
        images += _read_images(root, path, content, list(names), split)
    check_unique(images, str(root / "annotations"))
    return Source(tuple(images), dict(enumerate(names.values(), start=1)))


def decode_segmentation(
    segmentation: Segmentation, size: tuple[int, int], where: str
) -> npt.NDArray[np.bool_]:
    """The mask of COCO polygons or run lengths.

    Args:
        segmentation: as in the json.
        size: (W, H) of the image.
        where: how messages name the annotation.

    Returns:
        bool [H, W].

    Raises:
        InputError: not a segmentation of an image of this size.
    """
    width, height = size
    try:
        if isinstance(segmentation, dict):
            stated = [int(side) for side in segmentation["size"]]
            if stated != [height, width]:
                found = f"{where}: segmentation: size {stated}"
                raise InputError(f"{found}; expected {[height, width]}")
            runs: Any = segmentation
            if isinstance(segmentation["counts"], list):
                runs = coco_mask.frPyObjects(segmentation, height, width)
        else:
            # fewer than three corners have no inside; pycocotools would take four numbers for a box
            polygons = [list(part) for part in segmentation if len(part) >= 6]
            if not np.isfinite(np.concatenate([[0.0], *polygons])).all():
                raise InputError(f"{where}: segmentation: expected finite coordinates")
            if not polygons:
                return np.zeros((height, width), dtype=bool)
            runs = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        return np.asarray(coco_mask.decode(runs), dtype=bool)
    except (TypeError, KeyError, AttributeError, IndexError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: segmentation: not polygons or run lengths: {error}") from error


def _split_files(folder: Path) -> list[tuple[str | None, Path]]:
    train, val = (sorted(folder.glob(f"instances_{split}*.json")) for split in ("train", "val"))
    if len(train) == 1 and len(val) == 1:
        return [("train", train[0]), ("val", val[0])]
    both = train + val or sorted(folder.glob("*.json"))
    if len(both) == 1:
        return [(None, both[0])]
    expected = "expected one instances_train*.json and one instances_val*.json, or one json alone"
    found = ", ".join(path.name for path in both) or "none"
    raise InputError(f"{folder}: no such annotation files; {expected}; found {found}")


def _read_json(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content: dict[str, list[dict[str, Any]]] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as json: {error}") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise InputError(f"{path}: {key}: expected a list")
        if not all(isinstance(entry, dict) for entry in content[key]):
            raise InputError(f"{path}: {key}: expected a list of objects")
    return content


def _categories(content: dict[str, list[dict[str, Any]]], path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for number, entry in enumerate(content["categories"]):
        where = f"{path}: categories[{number}]"
        key, name = _field(entry, "id", where, int), _field(entry, "name", where, str)
        if key in names:
            raise InputError(f"{where}: id {key}: a category of this id stands above")
        names[key] = name
    check_category_count(len(names), f"{path}: categories")
    return dict(sorted(names.items()))


def _read_images(
    root: Path,
    path: Path,
    content: dict[str, list[dict[str, Any]]],
    category_ids: Sequence[int],
    split: str | None,
) -> list[SourceImage]:
    name = path.stem.removeprefix("instances_")
    folders = [folder for folder in (name, f"images/{name}", "images") if (root / folder).is_dir()]
    boxes = _read_boxes(path, content, category_ids)
    outlined = any(box.segmentation for found in boxes.values() for box in found)
    images: dict[int, SourceImage] = {}
    for number, entry in enumerate(content["images"]):
        where = f"{path}: images[{number}]"
        key = _field(entry, "id", where, int)
        if key in images:
            raise InputError(f"{where}: duplicate image id {key}")
        stated = _field(entry, "file_name", where, str)
        image_id = check_image_id(PurePosixPath(check_inside(root, stated, where)).stem, where)
        files = [check_inside(root, f"{folder}/{stated}", where) for folder in (*folders, ".")]
        size = None
        if entry.get("width") is not None or entry.get("height") is not None:
            size = (_field(entry, "width", where, int), _field(entry, "height", where, int))
        images[key] = SourceImage(
            image_id=image_id,
            split=split or ("val" if held_out(image_id) else "train"),
            file=next((file for file in files if (root / file).exists()), files[0]),
            size=size,
            boxes=tuple(boxes.pop(key, ())),
            outlined=outlined,
        )
    for key, orphans in boxes.items():
        raise InputError(f"{orphans[0].where}: image_id {key}: no image has this id")
    return list(images.values())


def _read_boxes(
    path: Path, content: dict[str, list[dict[str, Any]]], category_ids: Sequence[int]
) -> dict[int, list[SourceBox]]:
    values = {key: value for value, key in enumerate(category_ids, start=1)}
    boxes: dict[int, list[SourceBox]] = defaultdict(list)
    for number, entry in enumerate(content["annotations"]):
        where = f"{path}: annotations[{number}]"
        category = _field(entry, "category_id", where, int)
        if category not in values:
            raise InputError(f"{where}: category_id {category}: unknown category")
        box = entry.get("bbox")
        numbers = isinstance(box, list) and all(type(v) in (int, float) for v in box)
        if not isinstance(box, list) or len(box) != 4 or not numbers:
            raise InputError(f"{where}: bbox {box!r}: expected [x, y, width, height]")
        x, y, width, height = (float(value) for value in box)
        corners = check_corners((x, y, x + width, y + height), where)
        found = SourceBox(
            category=values[category],
            corners=corners,
            is_crowd=bool(entry.get("iscrowd", 0)),
            segmentation=entry.get("segmentation") or None,
            where=where,
        )
        boxes[_field(entry, "image_id", where, int)].append(found)
    return boxes


def _field(entry: dict[str, Any], name: str, where: str, kind: type[Any]) -> Any:
    value = entry.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        expected = {int: "a whole number", str: "text"}[kind]
        raise InputError(f"{where}: {name} {value!r}: expected {expected}")
    return value
