"""Folders that DVC has hashed before are not asked about again while none of their files changed.

DVC takes about 0.3 s to see that a folder of 10,000 files is as recorded; listing it takes a tenth
of that. .seedmask/fingerprints.json, safe to delete.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.engine.errors import InputError
from stages.engine.files import write_bytes

KEPT = Path(".seedmask/fingerprints.json")


class Fingerprints:
    """What folders looked like when DVC last gave their hash."""

    def __init__(self, root: Path, cache: Path) -> None:
        """Read what is kept in `root`; `cache` is DVC's, the folder with 00 to ff."""
        self.root = root
        self.cache = cache
        self._seen: dict[Path, str] = {}  # by this plan, which may ask for a folder several times
        try:
            entry = json.loads((root / KEPT).read_text())
            self._kept = {str(path): (str(seen), str(md5)) for path, (seen, md5) in entry}
        except (OSError, ValueError, TypeError):
            self._kept = {}
        self._before = dict(self._kept)

    def hash_of(self, path: Path) -> str | None:
        """DVC's hash of a folder, if it is as it was when DVC gave it; else None."""
        entry = self._kept.get(str(path))
        return entry[1] if entry and path.is_dir() and entry[0] == self._look(path) else None

    def is_cached(self, value: str) -> bool:
        """Whether DVC's cache has the folder of this hash with all its files."""
        try:
            listed = json.loads((self.cache / value[:2] / value[2:]).read_text())
            return self._objects.issuperset(entry["md5"] for entry in listed)
        except (OSError, ValueError, TypeError, KeyError):
            return False

    def status(self, out: Any) -> dict[str, str]:
        """DVC's status of an output or dependency; empty when it is as recorded.

        Raises:
            InputError: a folder holds what DVC would wait for or follow without end.
        """
        value = out.hash_info.value if out.hash_info else None
        path = Path(out.fs_path)
        if path.is_dir():
            self._look(path)
        if not isinstance(value, str) or not value.endswith(".dir") or not path.is_dir():
            return dict(out.status())
        is_cached = not out.use_cache or self.is_cached(value)
        if is_cached and self.hash_of(path) == value:
            return {}
        seen = self._look(path)
        changes: dict[str, str] = out.status()
        if not changes:
            self._kept[str(path)] = (seen, value)
        return changes

    def save(self) -> None:
        """Keep what was learned for the next plan."""
        if self._kept != self._before:
            with suppress(OSError):  # on a full disk the next plan takes longer
                write_bytes(self.root / KEPT, json.dumps(list(self._kept.items())).encode())

    def _look(self, path: Path) -> str:
        if path not in self._seen:
            digest = hashlib.blake2b(self._ignored, digest_size=16)
            for line in _files(str(path), ""):
                digest.update(line.encode(errors="surrogateescape"))
            self._seen[path] = digest.hexdigest()
        return self._seen[path]

    @cached_property
    def _ignored(self) -> bytes:
        """DVC leaves out what .dvcignore names, so that is a part of how a folder looks."""
        try:
            return (self.root / ".dvcignore").read_bytes()
        except OSError:
            return b""

    @cached_property
    def _objects(self) -> set[str]:
        """The md5 of all that is in DVC's cache."""
        paths: set[str] = set()
        for first in range(256):
            prefix = f"{first:02x}"
            with suppress(FileNotFoundError), os.scandir(self.cache / prefix) as entries:
                paths.update(prefix + entry.name for entry in entries)
        return paths


def _files(folder: str, below: str, above: tuple[tuple[int, int], ...] = ()) -> Iterator[str]:
    """Name, inode, size and time of every file, as DVC's own state has them, in a fixed order.

    `above` holds device and inode of the folders that this one lies in.
    """
    own = Path(folder).stat()
    above = (*above, (own.st_dev, own.st_ino))
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = f"{below}{entry.name}"
            try:
                status = entry.stat()
            except FileNotFoundError:  # a link whose file the cache has lost
                yield f"{name}\0lost\n"
                continue
            except OSError as error:  # a link to itself
                raise InputError(f"{entry.path}: {error.strerror}; remove it") from error
            if stat.S_ISDIR(status.st_mode):
                if (status.st_dev, status.st_ino) in above:
                    found = "a link to a folder that it lies in, which DVC would follow"
                    raise InputError(f"{entry.path}: {found}; remove it")
                yield from _files(entry.path, f"{name}/", above)
            elif not stat.S_ISREG(status.st_mode):
                found = "a pipe, socket or device, which DVC would wait for"
                raise InputError(f"{entry.path}: {found}; remove it")
            else:
                yield f"{name}\0{status.st_ino}\0{status.st_size}\0{status.st_mtime_ns}\n"
