"""What a person thinks of the labels of single images, in .seedmask/review/marks.csv."""

import csv
import fcntl
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.sources.source import check_image_id

MARKS = Path(".seedmask/review/marks.csv")
COLUMNS = ["image_id", "mark", "when", "labels"]


class Verdict(StrEnum):
    """What a person thinks of the labels of an image."""

    GOOD = "good"
    BAD = "bad"
    TO_CORRECT = "to-correct"


@dataclass(frozen=True)
class Mark:
    """One row of the file.

    Attributes:
        image_id: of the image.
        verdict: the column `mark`.
        when: it was set.
        labels: DVC's hash of the label file that the person saw; "" when it is not known.
    """

    image_id: str
    verdict: Verdict
    when: datetime
    labels: str

    def is_stale(self, labels: str) -> bool:
        """Whether the label file is another now than the one that the person saw."""
        return self.labels not in ("", labels)


class Marks:
    """The marks of one repository; several processes may set them at once."""

    def __init__(self, root: Path) -> None:
        """Of the repository at `root`; nothing is read yet."""
        self.path = root / MARKS

    def read(self) -> dict[str, Mark]:
        """All marks by image id, alphabetically; none when the file is not there.

        Raises:
            InputError: it is not what `set` writes.
        """
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.path}: cannot be read: {error}") from error
        header, *rows = list(csv.reader(io.StringIO(text))) or [[]]
        if header != COLUMNS:
            raise InputError(f"{self.path}: columns {header}; expected {COLUMNS}")
        marks = [self._parse(number, row) for number, row in enumerate(rows, start=2)]
        return {mark.image_id: mark for mark in marks}

    def set(self, image_id: str, verdict: Verdict | None, labels: str = "") -> None:
        """Set the mark of one image, or remove it.

        Args:
            image_id: of the image.
            verdict: None removes the mark.
            labels: DVC's hash of the label file that was looked at.

        Raises:
            InputError: a bad image id, or the file is not what this function writes.
        """
        check_image_id(image_id, str(self.path))
        with self._holding():
            marks = self.read()
            marks.pop(image_id, None)
            if verdict is not None:
                marks[image_id] = Mark(image_id, verdict, datetime.now(UTC), labels)
            write_bytes(self.path, _text(marks).encode())

    def text(self) -> str:
        """All marks as CSV; errors as `read`."""
        return _text(self.read())

    def save_csv(self, path: Path) -> int:
        """Write all marks to a file of the same columns; returns how many.

        Raises:
            InputError: the file of the marks cannot be read, or `path` not be written.
        """
        marks = self.read()
        try:
            write_bytes(path, _text(marks).encode())
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from error
        return len(marks)

    def _parse(self, number: int, row: list[str]) -> Mark:
        where = f"{self.path}: line {number}"
        if len(row) != len(COLUMNS):
            raise InputError(f"{where}: {len(row)} columns; expected {len(COLUMNS)}")
        image_id, verdict, when, labels = row
        if verdict not in list(Verdict):
            raise InputError(f"{where}: mark {verdict!r}; expected one of {', '.join(Verdict)}")
        try:
            moment = datetime.fromisoformat(when)
        except ValueError as error:
            raise InputError(f"{where}: when {when!r}; expected a time in ISO form") from error
        return Mark(check_image_id(image_id, where), Verdict(verdict), moment, labels)

    @contextmanager
    def _holding(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _text(marks: dict[str, Mark]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for image_id in sorted(marks):
        mark = marks[image_id]
        when = mark.when.isoformat(timespec="seconds")
        writer.writerow([image_id, mark.verdict, when, mark.labels])
    return text.getvalue()
