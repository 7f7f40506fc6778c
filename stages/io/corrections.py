"""Label maps that a person has corrected, and the table that says which labels these are.

A correction is <image_id>.png in a folder of its own. DVC may keep it: <image_id>.png.dvc beside it
then stands for it. Other files in the folder mean nothing.
"""

import csv
import io
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.io.label_maps import UNKNOWN, LabelMap, palette, read_label_map

HUMAN, AUTOMATIC = "human", "automatic"
COLUMNS = ["image_id", "origin"]


def correction_files(folder: Path) -> dict[str, Path]:
    """The corrections in `folder` by image id, in alphabetical order.

    Raises:
        InputError: no such folder, or DVC keeps a correction that is not on the disk.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one, of corrections or empty")
    for pointer in sorted(folder.glob("*.png.dvc")):
        if not pointer.with_suffix("").exists():
            how = f"expected what DVC keeps: dvc pull {pointer}, or dvc remove it"
            raise InputError(f"{pointer.with_suffix('')}: no such file; {how}")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png")
    return {path.stem: path for path in files}


def read_correction(path: Path, size: tuple[int, int], categories: Collection[int]) -> LabelMap:
    """Read a correction as uint8 [H, W] of label values.

    Args:
        path: a palette PNG with VOC's colours, or a grey one.
        size: (H, W) of its image.
        categories: the label values that it may hold besides 0 (background) and 255 (unknown).

    Raises:
        InputError: unreadable, in colours, of another size, with another palette (then a program
            has renumbered the values), or with a value that is none of those.
    """
    labels = read_label_map(path, size)
    values = [int(value) for value in np.unique(labels)]
    _check_colours(path, values)
    for value in values:
        if value not in (0, UNKNOWN, *categories):
            known = ", ".join(str(category) for category in sorted(categories))
            expected = f"expected a category ({known}), 0 (background) or {UNKNOWN} (unknown)"
            raise InputError(f"{path}: value {value}; {expected}")
    return labels


def _check_colours(path: Path, values: Collection[int]) -> None:
    with Image.open(path, formats=["PNG"]) as image:
        colours = image.getpalette("RGB")  # None when grey
    if colours is None:
        return
    for value in values:
        found = tuple(colours[3 * value : 3 * value + 3])
        expected = tuple(palette()[3 * value : 3 * value + 3])
        if found != expected:
            text = f"value {value} has colour {found}; expected {expected}, as in VOC's palette"
            raise InputError(f"{path}: {text}")


def write_origins(path: Path, origins: Mapping[str, str]) -> None:
    """Write origins.csv: HUMAN or AUTOMATIC by image id, in the given order."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(origins.items())
    write_bytes(path, text.getvalue().encode())


def read_human(path: Path) -> set[str]:
    """The image ids whose labels a person has made, from origins.csv.

    Raises:
        InputError: missing file, other columns, or an unknown origin.
    """
    try:
        header, *rows = csv.reader(path.read_text().splitlines())
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if header != COLUMNS:
        raise InputError(f"{path}: columns {header}; expected {COLUMNS}")
    for row in rows:
        if len(row) != 2 or row[1] not in (HUMAN, AUTOMATIC):
            raise InputError(f"{path}: row {row}; expected an image id and {HUMAN} or {AUTOMATIC}")
    return {image_id for image_id, origin in rows if origin == HUMAN}
