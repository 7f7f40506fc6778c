"""Labels out to an annotation tool, and what a person corrected there back in.

The folder is that of CVAT's "Segmentation mask 1.1", which Datumaro calls "voc":

    JPEGImages/<image_id>.jpg           the photograph; .png if it is no JPEG, or one to be turned
    SegmentationClass/<image_id>.png    labels in VOC's colours
    SegmentationObject/<image_id>.png   one object per class
    ImageSets/Segmentation/default.txt  the image ids
    labelmap.txt                        name:r,g,b:: of every class; unknown pixels are "ignored"
    .exported/<image_id>.png            the labels as they were, to tell what was edited

Datumaro's reader makes a mask of every object and none of the background, which without
SegmentationObject would be a mask too. It reads the palette's colours, not its numbers.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.look import drawing
from pipelines.look.layers import Catalogue, Kind, Layer
from pipelines.review.corrections import CORRECTIONS, check_known, keep_corrections
from pipelines.review.doubt import final_layer
from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.io.coloured import (
    ColourTable,
    encode_colour_table,
    read_colour_table,
    read_coloured,
    voc_colours,
)
from stages.io.label_maps import UNKNOWN, LabelMap, encode_label_map, read_label_map
from stages.io.pictures import encode_png
from stages.sources.orientation import stored_layout
from stages.sources.source import check_image_id

IMAGES, CLASSES, OBJECTS = "JPEGImages", "SegmentationClass", "SegmentationObject"
LISTING, COLOURS = "ImageSets/Segmentation/default.txt", "labelmap.txt"
EXPORTED = ".exported"
#: VOC's name of label 255.
IGNORED = "ignored"


@dataclass(frozen=True)
class Correction:
    """One image whose labels a person has corrected.

    Attributes:
        image_id: of the image.
        path: the new file, relative to the repository.
        pixels: that differ from the label that was exported.
        share: of all pixels, in percent.
    """

    image_id: str
    path: Path
    pixels: int
    share: float


def export_folder(
    catalogue: Catalogue, image_ids: Sequence[str], layer: Layer, folder: Path
) -> None:
    """Write photographs and labels of some images to a folder, or add them to one of ours.

    Args:
        catalogue: of the revision.
        image_ids: of images of `layer`.
        layer: of labels.
        folder: new, empty, or written by this function before; what it has of other images stays.

    Raises:
        InputError: an image without labels; a layer of something else; class names that
            labelmap.txt cannot hold; a folder of somebody else, with a link in it, or with edits
            of one of these images that were not imported. Nothing is written then.
        MissingObject: a file is in no cache.
    """
    if layer.kind is not Kind.LABELS:
        raise InputError(f"layer {layer.name!r}: holds no label maps; export a layer of labels")
    for image_id in image_ids:
        check_known(image_id, layer.files, f"layer {layer.name!r}")
    table = _table(catalogue, folder)
    _check_ours(folder, encode_colour_table(table))
    for image_id in image_ids:
        _check_unedited(folder, table, image_id)
    (folder / EXPORTED).mkdir(parents=True, exist_ok=True)  # so that a killed export can go on
    write_bytes(folder / COLOURS, encode_colour_table(table))
    for image_id in image_ids:
        _write_image(catalogue, image_id, layer, folder)
    listing = "".join(f"{path.stem}\n" for path in sorted((folder / CLASSES).glob("*.png")))
    write_bytes(folder / LISTING, listing.encode())


def import_folder(
    root: Path, catalogue: Catalogue, folder: Path, *, wait: bool = False
) -> list[Correction]:
    """Make a correction of every label map that was edited since the export.

    SegmentationClass/*.png is read: colours by the folder's labelmap.txt (VOC's where there is
    none), grey pixels as label values. What .exported has of an image is compared with it, or the
    final labels of `catalogue` for an image that is not there. The corrections go to
    data/corrections, kept by DVC.

    Args:
        root: the repository.
        catalogue: of the workspace.
        folder: an exported one, or one of the same form.
        wait: for a run that holds the workspace.

    Returns:
        What was corrected, by image id.

    Raises:
        InputError: a link or a pipe in the folder; a file that is no label map of a training
            image, or a colour or value that is no class: nothing is written then. A run holds the
            workspace, or DVC failed.
        MissingObject: a label to compare with is in no cache.
    """
    if not (folder / CLASSES).is_dir():
        raise InputError(f"{folder}: has no folder {CLASSES}; expected an exported folder")
    _check_plain(folder)
    table = _table(catalogue, folder)
    if (folder / COLOURS).exists():
        table = read_colour_table(folder / COLOURS, table.labels)
    corrections: list[Correction] = []
    contents: dict[str, bytes] = {}
    for path in sorted((folder / CLASSES).iterdir()):
        if path.name.startswith(".") and path.stem not in catalogue.images:
            continue  # such as .DS_Store
        image_id = _image_of(path, catalogue)
        if _is_untouched(path, folder / EXPORTED / path.name):
            continue
        labels = read_coloured(path, table, catalogue.images[image_id].size)
        pixels = int((labels != _exported(catalogue, folder, image_id)).sum())
        if pixels:
            target = CORRECTIONS / f"{image_id}.png"
            corrections.append(Correction(image_id, target, pixels, 100 * pixels / labels.size))
            contents[image_id] = encode_label_map(labels)
    keep_corrections(root, contents, wait=wait)
    if (folder / EXPORTED).is_dir():
        for image_id, content in contents.items():
            write_bytes(folder / EXPORTED / f"{image_id}.png", content)
    return corrections


def _table(catalogue: Catalogue, folder: Path) -> ColourTable:
    names: Mapping[int, str] = {**catalogue.names, UNKNOWN: IGNORED}
    return voc_colours(names, folder / COLOURS)


def _check_ours(folder: Path, colours: bytes) -> None:
    """The folder is new, empty, or one that `export_folder` has written with these colours."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder")
    if not any(folder.iterdir()):
        return
    if not (folder / EXPORTED).is_dir():
        raise InputError(f"{folder}: holds other files; expected a new folder, or an exported one")
    _check_plain(folder)
    path = folder / COLOURS
    if path.exists() and path.read_bytes() != colours:
        raise InputError(f"{path}: has other classes or colours; expected a new folder")


def _check_plain(folder: Path) -> None:
    """Nothing below the folder leads elsewhere, where we would write, or waits when it is read."""
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            kind = path.lstat().st_mode
            if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
                what = "a link" if stat.S_ISLNK(kind) else "no plain file"
                raise InputError(f"{path}: {what}; expected only files and folders in {folder}")


def _check_unedited(folder: Path, table: ColourTable, image_id: str) -> None:
    """What the folder has of an image was not edited, or was imported."""
    mask, exported = (folder / name / f"{image_id}.png" for name in (CLASSES, EXPORTED))
    if not mask.exists() or not exported.exists():
        return
    before = read_label_map(exported)
    height, width = before.shape
    if (read_coloured(mask, table, (height, width)) != before).any():
        expected = f"`review import {folder}` first, or export to another folder"
        raise InputError(f"{mask}: edited and not imported; {expected}")


def _write_image(catalogue: Catalogue, image_id: str, layer: Layer, folder: Path) -> None:
    path = catalogue.path_of(layer, image_id)
    if path is None:
        raise InputError(f"layer {layer.name!r}: no image {image_id!r}")
    labels = read_label_map(path)
    content = encode_label_map(labels)
    name = f"{image_id}.png"
    (folder / CLASSES / name).unlink(missing_ok=True)  # or it looks edited if we are killed
    _write_photograph(catalogue, image_id, folder / IMAGES)
    write_bytes(folder / OBJECTS / name, encode_label_map(_objects(labels)))
    write_bytes(folder / EXPORTED / name, content)
    write_bytes(folder / CLASSES / name, content)


def _write_photograph(catalogue: Catalogue, image_id: str, folder: Path) -> None:
    """A JPEG that is stored upright as it is; others as PNG, because some tools do not turn."""
    content = catalogue.photograph(image_id).read_bytes()
    if content.startswith(b"\xff\xd8") and _is_upright(content):
        write_bytes(folder / f"{image_id}.jpg", content)
    else:
        picture = drawing.photograph(catalogue, image_id)
        write_bytes(folder / f"{image_id}.png", encode_png(picture))


def _is_upright(content: bytes) -> bool:
    try:
        return stored_layout(content)[1] == 1
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False  # drawing.photograph says what is wrong


def _objects(labels: LabelMap) -> LabelMap:
    """The labels of an image numbered 1..; 0 stays the background, which is nobody's object."""
    present = [label for label in np.unique(labels).tolist() if label != 0]
    numbers = np.zeros(256, dtype=np.uint8)
    numbers[present] = range(1, len(present) + 1)
    return np.asarray(numbers[labels])


def _image_of(path: Path, catalogue: Catalogue) -> str:
    """The training image that a file in SegmentationClass is of."""
    if path.suffix != ".png" or not path.is_file():
        raise InputError(f"{path}: expected only <image_id>.png in this folder")
    image_id = check_image_id(path.stem, str(path))
    check_known(image_id, catalogue.images, str(path))
    if catalogue.splits[image_id] != "train":
        raise InputError(f"{path}: a validation image; only training images can be corrected")
    return image_id


def _is_untouched(mask: Path, exported: Path) -> bool:
    """The same bytes; a mask that was left in our colours beside a new labelmap.txt is as well."""
    return exported.exists() and mask.read_bytes() == exported.read_bytes()


def _exported(catalogue: Catalogue, folder: Path, image_id: str) -> LabelMap:
    """The labels that an image had before a person edited them."""
    exported = folder / EXPORTED / f"{image_id}.png"
    size = catalogue.images[image_id].size
    before = (
        read_label_map(exported)
        if exported.exists()
        else catalogue.labels(final_layer(catalogue), image_id)
    )
    if before is None or before.shape != size:  # nothing to compare with
        return np.full(size, UNKNOWN, dtype=np.uint8)
    return before
