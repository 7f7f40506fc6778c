"""A plain folder: images anywhere below the root, and what is known of them beside them.

boxes.csv has the columns file, split, category, x0, y0, x1, y1: one row per box, in pixels,
0-based, half open; a row whose last five fields are empty lists an image without boxes. The column
split may be missing. Other labels stand beside it (stages/sources/beside.py), and boxes.csv itself
may be missing: an image is listed by a row in any of the tables, or by a map of its id.
categories.txt (one name per line) fixes the label values 1, 2, ...; without it they follow the
alphabet. An image may be listed by a recording of gaze, too. Ground truth is optional:
ground_truth/<image_id>.png, label maps in those values, 255 where unknown.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from stages.engine.errors import InputError, shown
from stages.io.data_set import BACKGROUND
from stages.io.user_files import read_user_text
from stages.sources.beside import FOLDERS, TABLES, id_of, map_files
from stages.sources.csv_tables import Row, category_of, normal_name, pixels_of, read_csv
from stages.sources.gaze import has_gaze
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

TRUTH = "ground_truth"
_BOX = ("category", "x0", "y0", "x1", "y1")
#: A row, and the table it stands in.
_Listed = tuple[Path, Row]


def read_folder(root: Path) -> Source:
    """Read boxes.csv and list the images; an id is a path without suffix, '/' written as '__'.

    What is wrong with one image or one of its rows becomes the fault of that image.

    Raises:
        InputError: a missing or broken file, bad categories, or two images of one id.
    """
    tables = _tables(root)
    values = _categories(root, tables)
    rows_of: dict[str, list[_Listed]] = {}
    for table, rows in tables.items():
        for row in rows:
            rows_of.setdefault(normal_name(row[1]["file"]), []).append((table, row))
    images = []
    for file, own in rows_of.items():
        try:
            images.append(_read_image(root, own, values))
        except InputError as error:
            images.append(faulty_image(file, _split_of(own), file, str(error)))
    check_unique(images, str(next(iter(tables), root)))
    others = unlisted_images(root, ["."], images, without=[*FOLDERS, TRUTH])
    mapped = {path.stem for folder in FOLDERS for path in map_files(root / folder)}
    for file in others:
        if id_of(file) in mapped:
            images.append(
                SourceImage(id_of(file), None, file, None, (), semantic=_truth(root, file))
            )
    listed = {image.file for image in images}
    unlisted = tuple(file for file in others if file not in listed)
    return Source(tuple(images), {value: name for name, value in values.items()}, unlisted)


def _tables(root: Path) -> dict[Path, list[Row]]:
    """The rows of every table that stands there.

    Raises:
        InputError: nothing there says anything of an image; or as `read_csv`.
    """
    known = {"boxes": _BOX, **TABLES}
    found = {root / f"{name}.csv": columns for name, columns in known.items()}
    there = {path: cols for path, cols in found.items() if path.exists() or path.is_symlink()}
    if not there and not any(map_files(root / folder) for folder in FOLDERS) and not has_gaze(root):
        columns = ",".join(("file", "split", *_BOX))
        expected = f"expected columns {columns}; or {', '.join(f'{name}.csv' for name in TABLES)}"
        folders = ", ".join(f"{folder}/" for folder in FOLDERS)
        raise InputError(f"{root / 'boxes.csv'}: no such file; {expected}, {folders} beside it")
    return {path: read_csv(path, columns) for path, columns in there.items()}


def _categories(root: Path, tables: Mapping[Path, Sequence[Row]]) -> dict[str, int]:
    listing = root / "categories.txt"
    if listing.exists() or listing.is_symlink():
        names = [line.strip() for line in read_user_text(listing).splitlines() if line.strip()]
        check_category_names(names, str(listing))
    else:
        rows = [row for of_table in tables.values() for _, row in of_table]
        written = {row["category"] for row in rows if row.get("category")}
        names = sorted(written - {BACKGROUND} if root / "points.csv" in tables else written)
        names = names or (["object"] if has_gaze(root) else [])  # gaze needs no category
        where = next(iter(tables), listing)
        check_category_names(names, f"{where}: category")
    return {name: value for value, name in enumerate(names, start=1)}


def _split_of(rows: Sequence[_Listed]) -> str | None:
    """The split that the rows of an image state, the first of them."""
    return next((row["split"] for _, (_, row) in rows if "split" in row), None)


def _truth(root: Path, file: str) -> str | None:
    path = f"{TRUTH}/{id_of(file)}.png"
    return check_inside(root, path, str(root)) if (root / path).exists() else None


def _read_image(root: Path, rows: Sequence[_Listed], values: Mapping[str, int]) -> SourceImage:
    table, (number, first) = rows[0]
    where = f"{table}: line {number}"
    file = check_inside(root, first["file"], where)
    if PurePosixPath(file).suffix.lower() not in IMAGE_SUFFIXES:
        expected = ", ".join(IMAGE_SUFFIXES)
        raise InputError(f"{where}: file {shown(file)}: expected one of {expected}")
    image_id = check_image_id(id_of(file), where)
    boxes = []
    split = _split_of(rows)
    for table, (number, row) in rows:
        where = f"{table}: line {number}"
        if row.get("split") not in (None, "train", "val"):
            raise InputError(f"{where}: split {shown(row['split'])}: expected train or val")
        if row.get("split", split) != split:
            raise InputError(f"{where}: split {row['split']!r}: {file} was {split} above")
        if "x0" in row and any(row[column] for column in _BOX):
            boxes.append(_read_box(row, values, where))
    return SourceImage(image_id, split, file, None, tuple(boxes), semantic=_truth(root, file))


def _read_box(row: Mapping[str, str], values: Mapping[str, int], where: str) -> SourceBox:
    category = category_of(row, values, where)
    x0, y0, x1, y1 = (pixels_of(row, column, where) for column in _BOX[1:])
    return SourceBox(category, check_corners((x0, y0, x1, y1), where), False, None, where)
