"""Where people looked, and what they picked: recordings that stand beside the images of a data set.

    fixations.csv       file, subject, x, y, t: pixels from 0, milliseconds; t may be missing
    fixations*.json     in the root or annotations/: SALICON's lists of images and annotations, rows
                        and columns from 1; or a list per image of [row, column, subject] from 1
                        (PASCAL-S); or a list per image of a list per subject of [x, y, duration]
                        from 0 (OSIE)
    fixations/**/*.mat  one per image: SALICON's struct gaze, x and y from 1
    votes.csv           file, subject, object, reason: a row per object that a subject finds
                        salient, or, without object, why the image is inappropriate: missing (a
                        salient object has no mask), segmentation (a mask is wrong), number (too
                        many, too few, nothing stands out); neither: the subject saw the image
    ground_truth/ranks.csv   file, object, rank: 1 = most salient; objects of one rank are tied

`file` is the image's path below the root, its name, or its id; an object is called by its number:
COCO's annotation id, elsewhere its place in the annotation of its image, from 1. Gaze is on the
upright image, as screens show it. A sample without a finite place is a track that was lost.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.engine.errors import InputError, shown
from stages.io.user_files import read_user_bytes, read_user_text
from stages.sources.csv_tables import normal_name, read_csv

Floats = npt.NDArray[np.float32]
#: Why a subject calls an image inappropriate.
REASONS = ("missing", "segmentation", "number")
VOTES, RANKS = "votes.csv", "ground_truth/ranks.csv"
_COLUMNS = ("file", "subject", "x", "y", "t")


@dataclass(frozen=True)
class Gaze:
    """Fixations on one image.

    Attributes:
        subjects: their names; one may have no fixation.
        whose: int64 [N], index into `subjects`.
        places: float32 [N, 2], x and y in pixels from 0, as recorded.
        times: float32 [N], milliseconds, NaN where none is stated.
    """

    subjects: tuple[str, ...]
    whose: npt.NDArray[np.int64]
    places: Floats
    times: Floats


@dataclass(frozen=True)
class Vote:
    """One row of votes.csv; `number` and `reason` None where its field is empty."""

    subject: str
    number: int | None
    reason: str | None
    where: str


def has_gaze(root: Path) -> bool:
    """Whether recordings of fixations stand there."""
    return (root / "fixations.csv").exists() or bool(_listings(root)) or bool(_matrices(root))


def read_gaze(root: Path) -> dict[str, Gaze]:
    """The fixations by image, as their files call it; later files replace earlier ones.

    Raises:
        InputError: an unreadable file, or a row that is no fixation.
    """
    found: dict[str, Gaze] = {}
    if (root / "fixations.csv").exists():
        found |= _read_table(root / "fixations.csv")
    for path in _listings(root):
        found |= _read_listing(path)
    for path in _matrices(root):
        found[path.stem] = _read_matrix(path)
    return found


def read_votes(root: Path) -> Iterator[tuple[str, Vote | InputError, str]]:
    """(file, vote or what is wrong with its row, where) of each row of votes.csv."""
    for table, number, row in _rows(root / VOTES, ("subject", "object", "reason")):
        where = f"{table}: line {number}"
        try:
            if row["reason"] and row["reason"] not in REASONS:
                expected = f"expected one of {', '.join(REASONS)}, or nothing"
                raise InputError(f"{where}: reason {shown(row['reason'])}: {expected}")
            if row["reason"] and row["object"]:
                raise InputError(f"{where}: object and reason: expected one of them")
            if not row["subject"]:
                raise InputError(f"{where}: subject is empty; expected a name")
            wanted = _whole(row, "object", where) if row["object"] else None
            yield row["file"], Vote(row["subject"], wanted, row["reason"] or None, where), where
        except InputError as error:
            yield row["file"], error, where


def read_ranks(root: Path) -> Iterator[tuple[str, tuple[int, int] | InputError, str]]:
    """(file, (object, rank) or what is wrong with its row, where) of each row of ranks.csv."""
    for table, number, row in _rows(root / RANKS, ("object", "rank")):
        where = f"{table}: line {number}"
        try:
            pair = _whole(row, "object", where), _whole(row, "rank", where)
            if pair[1] < 1:
                raise InputError(f"{where}: rank {pair[1]}: expected 1 (most salient) or more")
            yield row["file"], pair, where
        except InputError as error:
            yield row["file"], error, where


def _rows(table: Path, columns: Sequence[str]) -> Iterator[tuple[Path, int, dict[str, str]]]:
    if table.exists() or table.is_symlink():
        yield from ((table, number, row) for number, row in read_csv(table, columns))


def _whole(row: Mapping[str, str], column: str, where: str) -> int:
    try:
        return int(row[column])
    except ValueError as error:
        raise InputError(f"{where}: {column} {shown(row[column])}: expected a number") from error


def _listings(root: Path) -> list[Path]:
    return sorted([*root.glob("fixations*.json"), *(root / "annotations").glob("fixations*.json")])


def _matrices(root: Path) -> list[Path]:
    return sorted((root / "fixations").rglob("*.mat"))


def _gaze(by_subject: Mapping[str, Sequence[Floats]], subjects: Sequence[str]) -> Gaze:
    """Of samples (x, y, t) [n, 3] by subject."""
    names = tuple(subjects)
    parts = [np.concatenate([np.empty((0, 3), np.float32), *by_subject[name]]) for name in names]
    whose = np.repeat(np.arange(len(names)), [len(part) for part in parts])
    samples = np.concatenate([np.empty((0, 3), np.float32), *parts]).astype(np.float32)
    return Gaze(names, whose, samples[:, :2], samples[:, 2])


# --- fixations.csv ---------------------------------------------------------------------------


def _read_table(path: Path) -> dict[str, Gaze]:
    """A sample per row; millions are usual, so no dict is made of each."""
    reader = csv.reader(io.StringIO(read_user_text(path), newline=""), strict=True)
    samples: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    try:
        header = tuple(name.strip() for name in next(reader, []))
        if header not in (_COLUMNS, _COLUMNS[:-1]):
            found = f"{path}: line 1: header {shown(','.join(header))}"
            raise InputError(f"{found}; expected {','.join(_COLUMNS)!r}, or that without t")
        for row in reader:
            if len(row) != len(header):
                raise InputError(f"{path}: line {reader.line_num}: expected {len(header)} fields")
            x, y = _number(row[2], path, reader.line_num), _number(row[3], path, reader.line_num)
            stated = len(row) > 4 and bool(row[4].strip())
            time = _number(row[4], path, reader.line_num) if stated else float("nan")
            of_image = samples.setdefault(normal_name(row[0].strip()), {})
            of_image.setdefault(row[1].strip(), []).append((x, y, time))
    except csv.Error as error:
        raise InputError(f"{path}: not readable as CSV: {error}") from error
    return {
        file: _gaze({s: [np.array(v, np.float32)] for s, v in own.items()}, list(own))
        for file, own in samples.items()
    }


def _number(text: str, path: Path, line: int) -> float:
    try:
        return float(text) if text.strip() else float("nan")
    except ValueError as error:
        raise InputError(f"{path}: line {line}: {shown(text)}: expected a number") from error


# --- json --------------------------------------------------------------------------------------


def _read_listing(path: Path) -> dict[str, Gaze]:
    try:
        content = json.loads(read_user_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not readable as json: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: {shown(content)}: expected fixations by image")
    try:
        if "annotations" in content:
            return _read_salicon(content)
        return {image: _read_lists(entries) for image, entries in content.items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        reason = " ".join(str(error).split())
        expected = "expected SALICON's annotations, [row, column, subject] or lists by subject"
        raise InputError(f"{path}: {type(error).__name__}: {reason}: {expected}") from error


def _read_salicon(content: Mapping[str, Any]) -> dict[str, Gaze]:
    names = {int(entry["id"]): str(entry["file_name"]) for entry in content["images"]}
    samples: dict[str, dict[str, list[Floats]]] = {name: {} for name in names.values()}
    for entry in content["annotations"]:
        own = samples[names[int(entry["image_id"])]]
        own.setdefault(str(entry["worker_id"]), []).append(_from_rows(entry["fixations"]))
    return {name: _gaze(own, list(own)) for name, own in samples.items()}


def _read_lists(entries: Sequence[Any]) -> Gaze:
    if entries and isinstance(entries[0], list) and any(isinstance(e, list) for e in entries[0]):
        by_subject = {str(number): [_from_xy(each)] for number, each in enumerate(entries, 1)}
        return _gaze(by_subject, list(by_subject))
    table = np.array(entries, dtype=np.float32).reshape(-1, 3)
    names = sorted({int(subject) for subject in table[:, 2]})
    chosen = {str(name): [_from_rows(table[table[:, 2] == name, :2])] for name in names}
    return _gaze(chosen, list(chosen))


def _from_rows(pairs: Any) -> Floats:
    """(row, column) from 1 as (x, y, no time) of the pixel's middle."""
    found = np.array(pairs, dtype=np.float32).reshape(-1, 2)
    return np.column_stack([found[:, ::-1] - 0.5, np.full(len(found), np.nan)]).astype(np.float32)


def _from_xy(triples: Any) -> Floats:
    """(x, y, duration) in order as (x, y, start)."""
    found = np.array(triples, dtype=np.float32).reshape(-1, 3)
    starts = np.cumsum(found[:, 2]) - found[:, 2]
    return np.column_stack([found[:, :2], starts]).astype(np.float32)


# --- SALICON's matrices ------------------------------------------------------------------------


def _read_matrix(path: Path) -> Gaze:
    from scipy.io import loadmat  # 0.2 s, which a data set without such files need not pay

    try:
        content = loadmat(io.BytesIO(read_user_bytes(path)))  # type: ignore[arg-type]
        recorded = content["gaze"].ravel()
        lists = [np.array(each["fixations"], np.float32).reshape(-1, 2) for each in recorded]
    except InputError:
        raise
    except Exception as error:  # whatever a broken file makes the decoder raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: expected SALICON's struct gaze: {reason}") from error
    return _gaze(
        {
            str(number): [np.column_stack([xy - 0.5, np.full(len(xy), np.nan, np.float32)])]
            for number, xy in enumerate(lists, 1)
        },
        [str(number) for number in range(1, len(lists) + 1)],
    )


def names_of(file: str) -> tuple[str, ...]:
    """What a recording may call an image: its path, its name, and these without the suffix."""
    path = PurePosixPath(file)
    return str(path), path.name, path.stem
