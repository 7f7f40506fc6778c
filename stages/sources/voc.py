"""PASCAL VOC devkits: JPEGImages, Annotations/<id>.xml, ImageSets/Segmentation/{train,val}.txt."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from stages.engine.errors import InputError, shown
from stages.engine.progress import counted
from stages.io.user_files import read_user_bytes, read_user_text
from stages.sources.source import (
    Source,
    SourceBox,
    SourceImage,
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
        InputError: a missing or unreadable list of images, or an image that stands twice.
    """
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
                images.append(_read_image(root, image_id, split, file, semantic))
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


def _read_image(
    root: Path, image_id: str, split: str, file: str, semantic: Path | None
) -> SourceImage:
    annotation = check_inside(root, f"Annotations/{image_id}.xml", str(root / "Annotations"))
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
