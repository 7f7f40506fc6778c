"""What a stage reads, as it was when it began: DVC hashes it only when the stage has ended.

An input that was edited in between would be recorded beside outputs made without the edit, and
every later run would call them up to date.
"""

import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from stages.engine.files import write_bytes

#: A params file, a dotted key in it, and the value there as JSON; None where there is none.
Value = tuple[str, str, str | None]

#: Nanoseconds; a file modified less than this before it was looked at may change once more and
#: keep its time, where the file system's clock is coarse (FAT: 2 s).
GRAIN = 2_000_000_000
#: Bytes hashed at the start, the smallest files first, so that code and tables may be touched.
BUDGET = 16 << 20
#: Bytes; a young file beyond that goes by its look alone: it may be a terabyte of nothing.
LARGEST = 2**28


class Look(NamedTuple):
    """A file as it was.

    Attributes:
        size: bytes.
        modified: nanoseconds since 1970.
        inode: its number.
        digest: of its content; None where the budget was spent, or it cannot be read.
        is_young: it was modified so shortly before that its time says nothing.
    """

    size: int
    modified: int
    inode: int
    digest: str | None
    is_young: bool


@dataclass(frozen=True)
class Inputs:
    """Files and parameters at one moment.

    Attributes:
        paths: the files and folders that were asked for.
        files: how each file looked, by path.
        values: of parameters.
    """

    paths: Sequence[str]
    files: dict[str, Look]
    values: Sequence[Value]

    def changed(self, values: Sequence[Value]) -> list[str]:
        """What is no longer the same, as messages name it: "params.yaml: key", and paths.

        A file that was only touched is the same if its content was hashed.

        Args:
            values: those of the same keys now, in the same order.
        """
        pairs = zip(self.values, values, strict=True)
        names = [f"{before[0]}: {before[1]}" for before, now in pairs if before != now]
        found = dict(_walk(self.paths))
        for path in sorted(self.files.keys() | found.keys()):
            if path not in found or path not in self.files or not self._is_same(path, found[path]):
                names.append(path)
        return names

    def _is_same(self, path: str, now: os.stat_result) -> bool:
        before = self.files[path]
        looks_same = (now.st_size, now.st_mtime_ns, now.st_ino) == before[:3]
        if before.digest is None or (looks_same and not before.is_young):
            return looks_same
        return now.st_size == before.size and _digest(path, now) == before.digest

    def save(self, path: Path) -> None:
        """Write them as JSON."""
        content = {"paths": self.paths, "files": self.files, "values": self.values}
        write_bytes(path, json.dumps(content).encode())


def look_at(paths: Iterable[Path], values: Sequence[Value]) -> Inputs:
    """Look at files and folders with all below them; one that is not there may appear later."""
    names = [str(path) for path in paths]
    now = time.time_ns()
    files: dict[str, Look] = {}
    left = BUDGET
    for path, status in sorted(_walk(names), key=lambda found: found[1].st_size):
        is_young = status.st_mtime_ns > now - GRAIN
        left -= status.st_size
        is_hashed = left >= 0 or (is_young and status.st_size <= LARGEST)
        digest = _digest(path, status) if is_hashed else None
        files[path] = Look(status.st_size, status.st_mtime_ns, status.st_ino, digest, is_young)
    return Inputs(names, files, values)


def read_inputs(path: Path) -> Inputs:
    """What `Inputs.save` wrote.

    Raises:
        OSError, ValueError, KeyError, TypeError: it is not there or is not whole.
    """
    content = json.loads(path.read_bytes())
    files = {name: Look(*look) for name, look in content["files"].items()}
    return Inputs(content["paths"], files, [(file, key, v) for file, key, v in content["values"]])


def explain(changed: Sequence[str], doing: str) -> str:
    """One line for what `Inputs.changed` found; `doing` is such as "dataset ran"."""
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    first = "".join(letter if letter.isprintable() else "?" for letter in changed[0])
    return f"{first}{more} changed while {doing}; run again"


def is_edited_since_start(file: Path) -> bool:
    """Whether a file of code may hold another text than the one this process has imported."""
    status = file.stat()
    # what was moved here keeps its time, but not the time of its inode's change
    return max(status.st_mtime, status.st_ctime) > _process_start()


def _process_start() -> float:
    """Seconds since 1970, as os.stat has them; to 0.01 s on Linux."""
    if sys.platform != "linux":
        return _IMPORTED
    after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = int(after_name[19]) / os.sysconf("SC_CLK_TCK")  # since the machine was
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - started)


_IMPORTED = time.time()


def _walk(paths: Iterable[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Every file at or below the places, once; no folder twice.

    A link inside a place to a folder outside of it is not followed: it may lead anywhere.
    """
    seen: set[tuple[int, int]] = set()
    pending = [(Path(path), Path(os.path.realpath(path))) for path in paths]
    while pending:
        path, base = pending.pop()
        with suppress(OSError):  # not there, or a link to nothing
            status = path.stat()
            if not stat.S_ISDIR(status.st_mode):
                yield str(path), status
                continue
            leads_away = path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(base)
            if (status.st_dev, status.st_ino) not in seen and not leads_away:
                seen.add((status.st_dev, status.st_ino))
                pending += [(inner, base) for inner in path.iterdir()]


def _digest(path: str, status: os.stat_result) -> str | None:
    """None for what cannot be read, and for a pipe, which would wait for ever."""
    if not stat.S_ISREG(status.st_mode):
        return None
    with suppress(OSError), Path(path).open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
    return None
