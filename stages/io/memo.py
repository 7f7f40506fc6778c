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
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from stages.io.closure import stage_libraries, stage_modules
from stages.io.errors import InputError
from stages.io.files import write_bytes

FOLDER = Path(".seedmask/memo")
#: Where the code lies that runs here.
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """What a stage made of one image.

    Attributes:
        files: content by path relative to the stage's output folder.
        stats: numbers to count, averaged or summed by the stage.
    """

    files: Mapping[str, bytes]
    stats: Mapping[str, float] = field(default_factory=dict)


def code_digest(stage: str) -> str:
    """Hash of all code that the stage runs: our modules, and the libraries as installed."""
    digest = hashlib.sha256()
    for path, module in stage_modules(stage, ROOT).items():
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
        try:
            status = value.stat()
        except OSError as error:
            raise InputError(f"{value}: cannot be read: {error.strerror}") from error
        digest.update(_file_digest(value, status.st_mtime_ns, status.st_size).encode())
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


@lru_cache(maxsize=1024)
def _file_digest(path: Path, modified: int, size: int) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


class Memo:
    """The store of one stage."""

    def __init__(self, stage: str, folder: Path = FOLDER) -> None:
        self.folder = folder / stage
        self.code = code_digest(stage)

    def path(self, item: object) -> Path:
        """Where the outcome of `item` is kept, whether or not it is there yet."""
        key = memo_key(self.code, item)
        return self.folder / key[:2] / key


def read_outcome(path: Path) -> Outcome | None:
    """The outcome kept at `path`; None when there is none or it cannot be read.

    Marks it as used now, which is what `python -m pipelines memo gc` goes by.
    """
    try:
        os.utime(path)
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            stats = json.loads(archive.read("stats.json"))
            files = {name[6:]: archive.read(name) for name in names if name.startswith("files/")}
    except (OSError, zipfile.BadZipFile, KeyError, json.JSONDecodeError):
        return None
    return Outcome(files, stats)


def keep_outcome(path: Path, outcome: Outcome) -> None:
    """Keep `outcome` at `path`, atomically."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("stats.json"), json.dumps(dict(outcome.stats)))
        for name, content in outcome.files.items():
            archive.writestr(zipfile.ZipInfo(f"files/{name}"), content)
    write_bytes(path, buffer.getvalue())
