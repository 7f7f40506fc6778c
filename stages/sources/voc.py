"""PASCAL VOC devkits: JPEGImages, Annotations/<id>.xml, ImageSets/Segmentation/{train,val}.txt.

Tags are those of the boxes and of ImageSets/Main/<class>_<split>.txt, where there are any.
points_*.json, where there are any, hold points in pixels from 0 by image id, as
{"<id>": [{"x": 12.5, "y": 80, "cls": 8}, ...]}; cls 0 is background. An image that these know, or
that has a map beside it, needs no XML file.
"""

import json
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.engine.errors import InputError, shown
from stages.engine.progress import counted
from stages.io.user_files import read_user_bytes, read_user_text
from stages.sources.beside import check_place, has_map
from stages.sources.source import (
    Source,
    SourceBox,
    SourceImage,
    SourcePoint,
    check_corners,
    check_image_id,
    check_inside,
    check_unique,
    faulty_image,
)

#: In alphabetical order; the label value of the first is 1.
VOC_NAMES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
_VALUES = {name: value for value, name in enumerate(VOC_NAMES, start=1)}


def read_voc(root: Path) -> Source:
    """Read a devkit. Boxes are 1-based with both ends inside in the files; not in the answer.

    Ground truth, where there is any: SegmentationClassAug (else SegmentationClass) for label maps
    and SegmentationObject for instances, whose k-th object is the k-th of the XML file.

    What is wrong with one image or its annotation becomes the fault of that image.

    Raises:
        InputError: a missing or unreadable list of images or file of points, or an image that
            stands twice.
    """
    tags, points = _read_tags(root / "ImageSets" / "Main"), _read_points(root)
    folders = (root / "SegmentationClassAug", root / "SegmentationClass")
    semantic = next((folder for folder in folders if folder.is_dir()), None)
    images = []
    for split in ("train", "val"):
        listing = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        for number, image_id in counted(_read_ids(listing), "dataset", "annotations"):
            where = f"{listing}: line {number}"
            file = image_id
            try:
                check_image_id(image_id, where)
                file = check_inside(root, _image_file(root, image_id), where)
                is_known = image_id in tags or image_id in points or has_map(root, image_id)
                image = _read_image(root, image_id, split, file, semantic, is_known)
                of_image = tuple(sorted(tags.get(image_id, ())))
                own = tuple(_read_point(entry, at) for at, entry in points.get(image_id, ()))
                images.append(replace(image, tags=of_image, points=own))
            except InputError as error:
                images.append(faulty_image(image_id, split, file, str(error)))
    check_unique(images, str(root / "ImageSets" / "Segmentation"))
    return Source(tuple(images), dict(enumerate(VOC_NAMES, start=1)))


def _read_ids(listing: Path) -> list[tuple[int, str]]:
    if not listing.exists():
        raise InputError(f"{listing}: no such file; expected one image id per line")
    lines = read_user_text(listing).splitlines()
    numbered = ((number, line.strip()) for number, line in enumerate(lines, start=1))
    return [(number, line) for number, line in numbered if line]


def _read_tags(folder: Path) -> dict[str, set[int]]:
    """Label values by image id, from <class>_<split>.txt; of an image without any class none.

    Raises:
        InputError: an unreadable list, or a line that is no id and 1, 0 (difficult) or -1.
    """
    found: dict[str, set[int]] = defaultdict(set)
    for name, value in _VALUES.items():
        for split in ("train", "val"):
            listing = folder / f"{name}_{split}.txt"
            if not listing.exists():
                continue
            for number, line in _read_ids(listing):
                image_id, _, state = line.partition(" ")
                if state.strip() not in ("1", "0", "-1"):
                    where = f"{listing}: line {number}"
                    raise InputError(f"{where}: {shown(line)}: expected an image id and 1, 0 or -1")
                found[image_id] |= {value} if state.strip() == "1" else set()
    return found


def _read_points(root: Path) -> dict[str, list[tuple[str, Any]]]:
    """The entries of points_*.json by image id, each with where it stands.

    Raises:
        InputError: a file that is no lists by image id.
    """
    found: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    for path in sorted(root.glob("points_*.json")):
        try:
            content = json.loads(read_user_text(path))
        except (ValueError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}: not readable as json: {error}") from error
        if not isinstance(content, dict) or not all(isinstance(v, list) for v in content.values()):
            raise InputError(f"{path}: expected a list of points by image id")
        for image_id, entries in content.items():
            where = f"{path}: {shown(image_id)}"
            found[image_id] += [(f"{where}: [{n}]", entry) for n, entry in enumerate(entries)]
    return found


def _read_point(entry: Any, where: str) -> SourcePoint:
    if not isinstance(entry, Mapping):
        raise InputError(f"{where}: {shown(entry)}: expected x, y and cls")
    category = entry.get("cls")
    if type(category) is not int or not 0 <= category <= len(VOC_NAMES):
        raise InputError(f"{where}: cls {shown(category)}: expected 0 to {len(VOC_NAMES)}")
    x, y = (_coordinate(entry.get(side), f"{where}: {side}") for side in ("x", "y"))
    return SourcePoint(category, check_place((x, y), where), where)


def _coordinate(value: Any, where: str) -> float:
    if type(value) not in (int, float):
        raise InputError(f"{where} {shown(value)}: expected a number of pixels")
    try:
        return float(value)
    except OverflowError as error:
        raise InputError(f"{where} {shown(value)}: expected a finite number") from error


def _read_image(
    root: Path, image_id: str, split: str, file: str, semantic: Path | None, is_known: bool
) -> SourceImage:
    annotation = check_inside(root, f"Annotations/{image_id}.xml", str(root / "Annotations"))
    size: tuple[int, int] | None = None
    boxes: tuple[SourceBox, ...] = ()
    if (root / annotation).exists() or not is_known:
        size, boxes = _read_annotation(root / annotation)
    return SourceImage(
        image_id=image_id,
        split=split,
        file=file,
        size=size,
        boxes=boxes,
        semantic=_truth_file(root, semantic, image_id),
        objects=_truth_file(root, root / "SegmentationObject", image_id),
    )


def _image_file(root: Path, image_id: str) -> str:
    names = [f"JPEGImages/{image_id}{suffix}" for suffix in (".jpg", ".jpeg", ".png")]
    return next((name for name in names if (root / name).exists()), names[0])


def _truth_file(root: Path, folder: Path | None, image_id: str) -> str | None:
    if folder is None or not (folder / f"{image_id}.png").exists():
        return None
    return check_inside(root, f"{folder.name}/{image_id}.png", str(folder))


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses what may define entities, which a kilobyte can make grow to gigabytes."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError(f"a document type, {shown(name)}; expected none")


def _read_annotation(path: Path) -> tuple[tuple[int, int] | None, tuple[SourceBox, ...]]:
    content = read_user_bytes(path)
    try:
        tree = ElementTree.fromstring(content, ElementTree.XMLParser(target=_NoDoctype()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: encodings
        raise InputError(f"{path}: not readable XML: {error}") from error
    stated = None
    if (size := tree.find("size")) is not None:
        width, height = (int(_number(size, side, f"{path}: size")) for side in ("width", "height"))
        stated = (width, height)
    boxes = tuple(
        _read_object(entry, f"{path}: object {number}")
        for number, entry in enumerate(tree.iter("object"), start=1)
    )
    return stated, boxes


def _read_object(entry: ElementTree.Element, where: str) -> SourceBox:
    name = (entry.findtext("name") or "").strip()
    if name not in _VALUES:
        raise InputError(f"{where}: unknown category {shown(name)}; expected a name of VOC's 20")
    box = entry.find("bndbox")
    if box is None:
        raise InputError(f"{where}: bndbox is missing")
    x0, y0, x1, y1 = (_number(box, side, where) for side in ("xmin", "ymin", "xmax", "ymax"))
    corners = check_corners((x0 - 1, y0 - 1, x1, y1), where)
    return SourceBox(_VALUES[name], corners, False, None, where)


def _number(element: ElementTree.Element, tag: str, where: str) -> float:
    text = element.findtext(tag)
    try:
        value = float(text or "")
    except ValueError as error:
        raise InputError(f"{where}: {tag}: {shown(text)}; expected a number") from error
    check_corners((value, 0, 0, 0), f"{where}: {tag}")
    return value
