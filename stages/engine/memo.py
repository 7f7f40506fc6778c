"""Per-image results by content: .seedmask/memo/<stage>/<k[:2]>/<key>, safe to delete at any time.

The key hashes everything a result depends on: the fields of the item (files by their bytes), the
stage's code with all it imports, and the libraries' versions. So a rerun after a kill, or after
one image changed, computes only what is missing.
"""

import dataclasses
import hashlib
import io
import json
import os
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stages.engine.closure import stage_libraries, stage_modules
from stages.engine.errors import InputError
from stages.engine.inputs import is_edited_since_start
from stages.engine.sealed import read_sealed, write_sealed

FOLDER = Path(".seedmask/memo")
#: Where the code lies that runs here.
ROOT = Path(__file__).resolve().parents[2]
#: Nanoseconds; the coarsest step in which a file system tells time. A file younger than that may
#: change once more without a trace.
GRAIN = 2_000_000_000


@dataclass(frozen=True)
class Outcome:
    """What a stage made of one image.

    Attributes:
        files: content by path relative to the stage's output folder.
        stats: numbers to count, averaged or summed by the stage; or what it gathers into one
            table, as values of JSON.
    """

    files: Mapping[str, bytes]
    stats: Mapping[str, Any] = field(default_factory=dict)


def code_digest(stage: str) -> str:
    """Hash of all code that the stage runs: our modules, and the libraries as installed."""
    return _digest_of(stage, stage_modules(stage, ROOT))


def _digest_of(stage: str, modules: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for path, module in modules.items():
        digest.update(f"{path} {module}\n".encode())
    for library in stage_libraries(stage, ROOT):
        with suppress(PackageNotFoundError):  # optional, and nobody installed it
            digest.update(f"{library}=={version(library)}\n".encode())
    return digest.hexdigest()


def memo_key(code: str, item: object) -> str:
    """Hash of `code` and of everything the item holds; a Path counts by the bytes of its file.

    Raises:
        InputError: a file is missing.
    """
    digest = hashlib.sha256(code.encode())
    _feed(digest, item)
    return digest.hexdigest()


def _feed(digest: "hashlib._Hash", value: object) -> None:
    if isinstance(value, Path):
        digest.update(_file_digest(value).encode())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for entry in dataclasses.fields(value):
            digest.update(entry.name.encode() + b"=")
            _feed(digest, getattr(value, entry.name))
    elif isinstance(value, (tuple, list)):
        digest.update(f"[{len(value)}]".encode())
        for part in value:
            _feed(digest, part)
    elif value is None or isinstance(value, (str, int, float, bool)):
        digest.update(repr(value).encode() + b";")
    else:
        raise TypeError(f"an item holds {type(value).__name__}; expected paths and plain values")


def files_of(item: object) -> Iterator[Path]:
    """Every file that the item names."""
    if isinstance(item, Path):
        yield item
    elif dataclasses.is_dataclass(item) and not isinstance(item, type):
        for entry in dataclasses.fields(item):
            yield from files_of(getattr(item, entry.name))
    elif isinstance(item, (tuple, list)):
        for part in item:
            yield from files_of(part)


def look_of(path: Path) -> tuple[int, int, int] | None:
    """Inode, size and time of change, which another file in its place does not have."""
    with suppress(OSError):
        status = path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns
    return None


def _file_digest(path: Path) -> str:
    """Read again only when the file may have changed."""
    try:
        status = path.stat()
        is_young = time.time_ns() - status.st_ctime_ns < GRAIN
        look = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return _read_digest(path) if is_young else _kept_digest(path, look)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


@lru_cache(maxsize=1024)
def _kept_digest(path: Path, look: tuple[int, ...]) -> str:
    return _read_digest(path)


def _read_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, _md5).hexdigest()


def _md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)


class Memo:
    """The store of one stage."""

    def __init__(self, stage: str, folder: Path = FOLDER) -> None:
        """Name the store.

        Raises:
            InputError: code was edited since this process began, which runs what it was before.
        """
        self.folder = folder / stage
        self._stage = stage
        self._modules = stage_modules(stage, ROOT)
        self.code = _digest_of(stage, self._modules)
        if not self.has_same_code():
            raise InputError(f"{stage}: its code was edited after it had started; run again")

    def path(self, item: object) -> Path:
        """Where the outcome of `item` is kept, whether or not it is there yet."""
        key = memo_key(self.code, item)
        return self.folder / key[:2] / key

    def has_same_code(self) -> bool:
        """Whether the code that this process runs is what the keys are made of.

        A worker asks too: one that began before an edit still runs what it was before.
        """
        sources = (ROOT / path for path in self._modules)
        if any(is_edited_since_start(source) for source in sources):
            return False
        return stage_modules(self._stage, ROOT) == self._modules


def read_outcome(path: Path) -> Outcome | None:
    """The outcome kept at `path`; None when there is none or it is damaged.

    Marks it as used now, which is what `./seedmask memo gc` goes by.
    """
    content = read_sealed(path)
    if content is None:
        return None
    with suppress(OSError):  # swept just now
        os.utime(path)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        stats = json.loads(archive.read("stats.json"))
        files = {name[6:]: archive.read(name) for name in names if name.startswith("files/")}
    return Outcome(files, stats)


def keep_outcome(path: Path, outcome: Outcome) -> None:
    """Keep `outcome` at `path`, atomically."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("stats.json"), json.dumps(dict(outcome.stats)))
        for name, content in outcome.files.items():
            archive.writestr(zipfile.ZipInfo(f"files/{name}"), content)
    write_sealed(path, buffer.getvalue())
