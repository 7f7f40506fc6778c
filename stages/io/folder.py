"""A plain folder: images anywhere below the root, and boxes.csv beside them.

boxes.csv has the columns file, split, category, x0, y0, x1, y1: one row per box, in pixels,
0-based, half open; a row whose last five fields are empty lists an image without boxes.
categories.txt (one name per line) fixes the label values 1, 2, ...; without it they follow the
alphabet. Ground truth is optional: masks/<image_id>.png, label maps in those values, 255 where
unknown.
"""

import csv
from pathlib import Path, PurePosixPath

from stages.io.errors import InputError
from stages.io.sources import (
    IMAGE_SUFFIXES,
    Source,
    SourceBox,
    SourceImage,
    check_category_count,
    check_corners,
    check_image_id,
    check_inside,
    check_unique,
)

COLUMNS = ("file", "split", "category", "x0", "y0", "x1", "y1")


def read_folder(root: Path) -> Source:
    """Read boxes.csv; the id of an image is its path without suffix, '/' written as '__'.

    Raises:
        InputError: a missing or broken file, an unknown category, a bad id or coordinate.
    """
    table = root / "boxes.csv"
    rows = _read_csv(table)
    values = _categories(root / "categories.txt", rows, table)
    splits: dict[str, str] = {}
    boxes: dict[str, list[SourceBox]] = {}
    for number, row in rows:
        where = f"{table}: line {number}"
        file = check_inside(root, row["file"], where)
        if PurePosixPath(file).suffix.lower() not in IMAGE_SUFFIXES:
            expected = ", ".join(IMAGE_SUFFIXES)
            raise InputError(f"{where}: file {file!r}: expected one of {expected}")
        if row["split"] not in ("train", "val"):
            raise InputError(f"{where}: split {row['split']!r}: expected train or val")
        if splits.setdefault(file, row["split"]) != row["split"]:
            raise InputError(f"{where}: split {row['split']!r}: {file} was {splits[file]} above")
        found = boxes.setdefault(file, [])
        if any(row[column] for column in COLUMNS[2:]):
            found.append(_read_box(row, values, where))
    images = [_image(root, file, splits[file], tuple(boxes[file]), table) for file in splits]
    check_unique(images, str(table))
    return Source(tuple(images), {value: name for name, value in values.items()})


def _read_csv(table: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            header = tuple(name.strip() for name in reader.fieldnames or ())
            if header != COLUMNS:
                expected, found = ",".join(COLUMNS), ",".join(header)
                raise InputError(f"{table}: line 1: header {found!r}; expected {expected!r}")
            reader.fieldnames = list(COLUMNS)
            rows = []
            for row in reader:
                if None in row or None in row.values():
                    where = f"{table}: line {reader.line_num}"
                    raise InputError(f"{where}: expected {len(COLUMNS)} fields")
                rows.append((reader.line_num, {key: row[key].strip() for key in COLUMNS}))
            return rows
    except FileNotFoundError as error:
        expected = ",".join(COLUMNS)
        raise InputError(f"{table}: no such file; expected columns {expected}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: not readable as CSV: {error}") from error


def _categories(
    listing: Path, rows: list[tuple[int, dict[str, str]]], table: Path
) -> dict[str, int]:
    if listing.exists():
        names = [line.strip() for line in listing.read_text().splitlines() if line.strip()]
        if len(set(names)) < len(names):
            raise InputError(f"{listing}: a name stands twice")
        check_category_count(len(names), str(listing))
    else:
        names = sorted({row["category"] for _, row in rows if row["category"]})
        check_category_count(len(names), f"{table}: category")
    return {name: value for value, name in enumerate(names, start=1)}


def _read_box(row: dict[str, str], values: dict[str, int], where: str) -> SourceBox:
    name = row["category"]
    if name not in values:
        known = ", ".join(list(values)[:8])
        raise InputError(f"{where}: unknown category {name!r}; expected one of {known}")
    corners = []
    for column in COLUMNS[3:]:
        try:
            corners.append(float(row[column]))
        except ValueError as error:
            found = f"{where}: {column} {row[column]!r}"
            raise InputError(f"{found}: expected a number of pixels") from error
    x0, y0, x1, y1 = corners
    return SourceBox(values[name], check_corners((x0, y0, x1, y1), where), False, None, where)


def _image(
    root: Path, file: str, split: str, boxes: tuple[SourceBox, ...], table: Path
) -> SourceImage:
    image_id = "__".join(PurePosixPath(file).with_suffix("").parts)
    check_image_id(image_id, str(table))
    mask = f"masks/{image_id}.png"
    semantic = check_inside(root, mask, str(table)) if (root / mask).exists() else None
    return SourceImage(image_id, split, file, None, boxes, semantic=semantic)
