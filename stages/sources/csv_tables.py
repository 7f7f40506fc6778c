"""CSV files that people write: rows with the line they stand on."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from stages.engine.errors import InputError, shown
from stages.io.user_files import read_user_text

#: A line of the file and its fields by column; split is missing where its column is.
Row = tuple[int, dict[str, str]]


def read_csv(table: Path, columns: Sequence[str]) -> list[Row]:
    """All rows of a table with the columns file, split and `columns`; split may be missing.

    Raises:
        InputError: missing, unreadable, with another header, or a row of another length.
    """
    expected = ",".join(("file", "split", *columns))
    if not table.exists():
        raise InputError(f"{table}: no such file; expected columns {expected}")
    text = io.StringIO(read_user_text(table), newline="")
    try:
        reader = csv.DictReader(text, strict=True)
        header = tuple(name.strip() for name in reader.fieldnames or ())
        if header not in (("file", "split", *columns), ("file", *columns)):
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


def normal_name(file: str) -> str:
    """One spelling of a file's name: that of `check_inside`."""
    return str(PurePosixPath(file.replace("\\", "/")))


def category_of(row: Mapping[str, str], values: Mapping[str, int], where: str) -> int:
    """The label value of a row's category.

    Raises:
        InputError: it has no such category.
    """
    name = row["category"]
    if name not in values:
        known = ", ".join(map(shown, list(values)[:8]))
        raise InputError(f"{where}: unknown category {shown(name)}; expected one of {known}")
    return values[name]


def pixels_of(row: Mapping[str, str], column: str, where: str) -> float:
    """The number in a column.

    Raises:
        InputError: it is none.
    """
    try:
        return float(row[column])
    except ValueError as error:
        found = f"{where}: {column} {shown(row[column])}"
        raise InputError(f"{found}: expected a number of pixels") from error
