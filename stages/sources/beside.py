"""Labels that stand beside the images of a data set of any format, below its root.

    points.csv     file, category, x, y: pixels from 0; category "background" for what is none
    tags.csv       file, category: a row per category that an image shows
    counts.csv     file, count: how many salient things an image shows
    scribbles/     <image_id>.png: label values where a stroke is, 255 elsewhere
    masks/         <image_id>.png: label values of the whole image, 255 where unknown
    regions/       <image_id>.png: 0 and one other value: what is salient
    saliency/      <image_id>.png: 0 to 255: how salient it is

Each may be missing, and so may any image in it. `file` is the image's path below the root, its name
or its id; the tables may have a column split after it, as boxes.csv. Whole masks here are labels,
and the line learns from them: ground truth is never read from these folders.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from stages.engine.errors import InputError, shown
from stages.io.data_set import BACKGROUND
from stages.sources.csv_tables import Row, category_of, normal_name, pixels_of, read_csv
from stages.sources.source import (
    IMAGE_SUFFIXES,
    Source,
    SourceImage,
    SourcePoint,
    check_inside,
)

#: Columns after file and split of the tables that may stand beside the images.
TABLES = {"points": ("category", "x", "y"), "tags": ("category",), "counts": ("count",)}
#: Of salient things: nobody counts further.
MOST = 1000
#: The field of SourceImage that takes the maps of a folder.
FOLDERS = {
    "scribbles": "scribbles",
    "masks": "mask",
    "regions": "regions",
    "saliency": "saliency",
}


@dataclass
class _Found:
    """What stands beside one image; `fault` is the first thing wrong with it."""

    tags: list[int] = field(default_factory=list)
    points: list[SourcePoint] = field(default_factory=list)
    count: int | None = None
    files: dict[str, str] = field(default_factory=dict)
    fault: str | None = None


def with_labels_beside(root: Path, source: Source) -> Source:
    """The data set with what stands beside its images.

    A row that is no good is the fault of its image. What names no listed image is a stray.

    Raises:
        InputError: an unreadable table, or one without the columns.
    """
    values = {name: value for value, name in source.categories.items()}
    ids = {name: image.image_id for image in source.images for name in (image.file, image.image_id)}
    found: dict[str, _Found] = {}
    strays: dict[tuple[str, str], tuple[str, str, str]] = {}
    for table, number, row in _rows(root):
        where = f"{table}: line {number}"
        image_id = ids.get(normal_name(row["file"])) or ids.get(id_of(row["file"]))
        if image_id is None:
            stray = (row["file"], where, "names no listed image")
            strays.setdefault((row["file"], table.name), stray)
            continue
        beside = found.setdefault(image_id, _Found())
        try:
            _add_row(beside, row, values, where)
        except InputError as error:
            beside.fault = beside.fault or str(error)
    for folder, attribute in FOLDERS.items():
        for path in map_files(root / folder):
            if path.stem not in ids or ids[path.stem] != path.stem:
                strays[path.stem, folder] = (path.name, str(path), "names no listed image")
                continue
            beside = found.setdefault(path.stem, _Found())
            try:
                file = check_inside(root, f"{folder}/{path.name}", str(root / folder))
                beside.files[attribute] = file
            except InputError as error:
                beside.fault = beside.fault or str(error)
    images = tuple(_with(image, found.get(image.image_id)) for image in source.images)
    return replace(source, images=images, strays=tuple(strays.values()))


def map_files(folder: Path) -> list[Path]:
    """The PNG files of a folder by name; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix == ".png")


def has_map(root: Path, image_id: str) -> bool:
    """Whether a map of the image stands beside it."""
    return any((root / folder / f"{image_id}.png").exists() for folder in FOLDERS)


def id_of(file: str) -> str:
    """The id that an image of this name has in a plain folder: '/' written as '__', no suffix."""
    name = PurePosixPath(file.replace("\\", "/"))
    bare = name.with_suffix("") if name.suffix.lower() in IMAGE_SUFFIXES else name
    return "__".join(bare.parts)


def _rows(root: Path) -> Iterator[tuple[Path, int, Mapping[str, str]]]:
    for name, columns in TABLES.items():
        table = root / f"{name}.csv"
        if table.exists() or table.is_symlink():
            rows: Sequence[Row] = read_csv(table, columns)
            yield from ((table, number, row) for number, row in rows)


def _add_row(beside: _Found, row: Mapping[str, str], values: Mapping[str, int], where: str) -> None:
    if not any(row[column] for column in row if column not in ("file", "split")):
        return  # it lists an image, which shows nothing
    if "count" in row:
        beside.count = _count_of(row["count"], beside.count, where)
        return
    if "x" not in row:
        beside.tags.append(category_of(row, values, where))
        return
    category = category_of(row, {BACKGROUND: 0, **values}, where)
    place = pixels_of(row, "x", where), pixels_of(row, "y", where)
    beside.points.append(SourcePoint(category, check_place(place, where), where))


def _count_of(text: str, before: int | None, where: str) -> int:
    """The number of a row.

    Raises:
        InputError: no whole number from 0 to `MOST`, or another than stood above.
    """
    if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) > MOST:
        raise InputError(f"{where}: count {shown(text)}: expected a whole number, 0 to {MOST}")
    if before not in (None, int(text)):
        raise InputError(f"{where}: count {text}: {before} stands above; expected one number")
    return int(text)


def check_place(place: tuple[float, float], where: str) -> tuple[float, float]:
    """The point itself.

    Raises:
        InputError: not finite.
    """
    if not all(math.isfinite(value) for value in place):
        raise InputError(f"{where}: point {shown(list(place))}: expected finite coordinates")
    return place


def _with(image: SourceImage, beside: _Found | None) -> SourceImage:
    if beside is None or image.fault is not None:
        return image
    return replace(
        image,
        tags=tuple(sorted({*image.tags, *beside.tags})),
        points=(*image.points, *beside.points),
        count=beside.count,
        scribbles=beside.files.get("scribbles"),
        mask=beside.files.get("mask"),
        regions=beside.files.get("regions"),
        saliency=beside.files.get("saliency"),
        fault=beside.fault,
    )
