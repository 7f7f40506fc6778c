"""A plain folder: images anywhere below the root, and boxes.csv beside them.

boxes.csv has the columns file, split, category, x0, y0, x1, y1: one row per box, in pixels,
0-based, half open; a row whose last five fields are empty lists an image without boxes. The column
split may be missing.
categories.txt (one name per line) fixes the label values 1, 2, ...; without it they follow the
alphabet. Ground truth is optional: masks/<image_id>.png, label maps in those values, 255 where
unknown.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from stages.engine.errors import InputError, shown
from stages.io.user_files import read_user_text
from stages.sources.source import (
    IMAGE_SUFFIXES,
    Source,
    SourceBox,
    SourceImage,
    check_category_names,
    check_corners,
    check_image_id,
    check_inside,
    check_unique,
    faulty_image,
    unlisted_images,
)

COLUMNS = ("file", "split", "category", "x0", "y0", "x1", "y1")
_BOX = COLUMNS[2:]
_HEADERS = (COLUMNS, ("file", *_BOX))
#: A line of boxes.csv and its fields by column; split is missing where its column is.
_Row = tuple[int, dict[str, str]]


def read_folder(root: Path) -> Source:
    """Read boxes.csv; the id of an image is its path without suffix, '/' written as '__'.

    What is wrong with one image or one of its rows becomes the fault of that image.

    Raises:
        InputError: a missing or broken file, bad categories, or two images of one id.
    """
    table = root / "boxes.csv"
    rows = _read_csv(table)
    values = _categories(root / "categories.txt", rows, table)
    rows_of: dict[str, list[_Row]] = {}
    for number, row in rows:
        rows_of.setdefault(_normal(row["file"]), []).append((number, row))
    images = []
    for file, own in rows_of.items():
        try:
            images.append(_read_image(root, table, own, values))
        except InputError as error:
            images.append(faulty_image(file, own[0][1].get("split"), file, str(error)))
    check_unique(images, str(table))
    unlisted = unlisted_images(root, ["."], images, without=["masks"])
    return Source(tuple(images), {value: name for name, value in values.items()}, unlisted)


def _normal(file: str) -> str:
    """One spelling of a file's name: that of `check_inside`."""
    return str(PurePosixPath(file.replace("\\", "/")))


def _read_csv(table: Path) -> list[_Row]:
    expected = ",".join(COLUMNS)
    if not table.exists():
        raise InputError(f"{table}: no such file; expected columns {expected}")
    text = io.StringIO(read_user_text(table), newline="")
    try:
        reader = csv.DictReader(text, strict=True)
        header = tuple(name.strip() for name in reader.fieldnames or ())
        if header not in _HEADERS:
            found = f"{table}: line 1: header {shown(','.join(header))}"
            raise InputError(f"{found}; expected {expected!r}, or that without split")
        reader.fieldnames = list(header)
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise InputError(f"{table}: line {reader.line_num}: expected {len(header)} fields")
            rows.append((reader.line_num, {key: row[key].strip() for key in header}))
        return rows
    except csv.Error as error:
        raise InputError(f"{table}: not readable as CSV: {error}") from error


def _categories(listing: Path, rows: Sequence[_Row], table: Path) -> dict[str, int]:
    if listing.exists() or listing.is_symlink():
        names = [line.strip() for line in read_user_text(listing).splitlines() if line.strip()]
        check_category_names(names, str(listing))
    else:
        names = sorted({row["category"] for _, row in rows if row["category"]})
        check_category_names(names, f"{table}: category")
    return {name: value for value, name in enumerate(names, start=1)}


def _read_image(
    root: Path, table: Path, rows: Sequence[_Row], values: Mapping[str, int]
) -> SourceImage:
    where = f"{table}: line {rows[0][0]}"
    file = check_inside(root, rows[0][1]["file"], where)
    if PurePosixPath(file).suffix.lower() not in IMAGE_SUFFIXES:
        expected = ", ".join(IMAGE_SUFFIXES)
        raise InputError(f"{where}: file {shown(file)}: expected one of {expected}")
    image_id = check_image_id("__".join(PurePosixPath(file).with_suffix("").parts), where)
    boxes = []
    split = rows[0][1].get("split")
    for number, row in rows:
        where = f"{table}: line {number}"
        if row.get("split") not in (None, "train", "val"):
            raise InputError(f"{where}: split {shown(row['split'])}: expected train or val")
        if row.get("split") != split:
            raise InputError(f"{where}: split {row['split']!r}: {file} was {split} above")
        if any(row[column] for column in _BOX):
            boxes.append(_read_box(row, values, where))
    mask = f"masks/{image_id}.png"
    semantic = check_inside(root, mask, str(table)) if (root / mask).exists() else None
    return SourceImage(image_id, split, file, None, tuple(boxes), semantic=semantic)


def _read_box(row: Mapping[str, str], values: Mapping[str, int], where: str) -> SourceBox:
    name = row["category"]
    if name not in values:
        known = ", ".join(map(shown, list(values)[:8]))
        raise InputError(f"{where}: unknown category {shown(name)}; expected one of {known}")
    corners = []
    for column in _BOX[1:]:
        try:
            corners.append(float(row[column]))
        except ValueError as error:
            found = f"{where}: {column} {shown(row[column])}"
            raise InputError(f"{found}: expected a number of pixels") from error
    x0, y0, x1, y1 = corners
    return SourceBox(values[name], check_corners((x0, y0, x1, y1), where), False, None, where)
