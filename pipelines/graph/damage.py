"""Objects of DVC's cache whose bytes are not what their names say.

An object is named after its md5; that of a folder (".dir") lists its files with theirs.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

#: The only names that objects have.
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


def place_of(cache: Path, md5: str) -> Path:
    """Where `cache`, the folder with 00 to ff, keeps what has this hash."""
    return cache / md5[:2] / md5[2:]


def problem_of(path: Path, md5: str) -> str:
    """What is wrong with a file that should have this hash; empty for a sound one or none."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, _md5).hexdigest()
    except FileNotFoundError:
        return ""
    except OSError as error:  # a sector that cannot be read
        return str(error.strerror)
    return "" if found == md5.removesuffix(".dir") else f"expected md5 {md5}, found {found}"


def listing(cache: Path, md5: str) -> dict[str, str] | None:
    """The hash of every file of a folder, by its path in it; None without a sound list."""
    path = place_of(cache, md5)
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if _md5(content).hexdigest() != md5.removesuffix(".dir"):
        return None
    return {
        entry["relpath"]: entry["md5"]
        for entry in json.loads(content)
        if MD5.fullmatch(entry["md5"]) and is_inside(entry["relpath"])
    }


def is_inside(path: str) -> bool:
    """Whether a relative path stays below where it starts, whoever wrote it."""
    return not Path(path).is_absolute() and Path(os.path.normpath(path)).parts[:1] != ("..",)


def objects_of(cache: Path, md5: str) -> list[str]:
    """The hash of an output and, of a folder with a sound list, those of its files."""
    files = listing(cache, md5) if md5.endswith(".dir") else None
    return [md5, *(files or {}).values()]


def drop_damaged(cache: Path, md5: str) -> Iterator[str]:
    """Remove what is damaged of an output's objects; a line for each, also where that fails."""
    places = {place_of(cache, found): found for found in objects_of(cache, md5)}
    with ThreadPoolExecutor() as pool:
        problems = pool.map(problem_of, places.keys(), places.values())
        for path, problem in zip(places, problems, strict=True):
            if problem:
                with suppress(OSError):  # another's, in a shared cache
                    path.unlink(missing_ok=True)
                yield f"{path}: {problem}; {'not to be removed' if path.exists() else 'dropped'}"


def _md5(content: bytes = b"") -> "hashlib._Hash":
    return hashlib.md5(content, usedforsecurity=False)
