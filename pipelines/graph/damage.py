"""Objects of DVC's cache whose bytes are not what their names say.

An object is named after its md5; that of a folder (".dir") lists its files with theirs.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath

from stages.engine.files import md5_of

#: What DVC writes as the hash of a file or, with ".dir", of a folder. A dvc.lock may have come with
#: a fetched commit, and a hash becomes part of a path.
HASH = re.compile(r"[0-9a-f]{32}(\.dir)?")


def object_path(cache: Path, md5: str) -> Path:
    """Where `cache`, the folder with 00 to ff, keeps what has this hash."""
    return cache / md5[:2] / md5[2:]


def problem_of(path: Path, md5: str) -> str:
    """What is wrong with a file that should have this hash; empty for a sound one or none."""
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(
                file, lambda: hashlib.md5(usedforsecurity=False)
            ).hexdigest()
    except FileNotFoundError:
        return ""
    except OSError as error:  # a sector that cannot be read
        return str(error.strerror)
    return "" if actual == md5.removesuffix(".dir") else f"expected md5 {md5}, found {actual}"


def listing(cache: Path, md5: str) -> dict[str, str] | None:
    """The hash of every file of a folder, by its path in it; None without a sound list."""
    path = object_path(cache, md5)
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if md5_of(content) != md5.removesuffix(".dir"):
        return None
    return {
        entry["relpath"]: entry["md5"]
        for entry in json.loads(content)
        if HASH.fullmatch(entry["md5"]) and is_inside(entry["relpath"])
    }


def is_inside(path: str) -> bool:
    """Whether a path, by its words alone, stays below the folder that it is relative to."""
    parts = PurePosixPath(path).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts and "\0" not in path


def objects_of(cache: Path, md5: str) -> list[str]:
    """The hash of an output and, of a folder with a sound list, those of its files."""
    files = listing(cache, md5) if md5.endswith(".dir") else None
    return [md5, *(files or {}).values()]


def drop_damaged(cache: Path, md5: str) -> Iterator[str]:
    """Remove what is damaged of an output's objects; a line for each, also where that fails."""
    objects = {object_path(cache, object_md5): object_md5 for object_md5 in objects_of(cache, md5)}
    with ThreadPoolExecutor() as pool:
        problems = pool.map(problem_of, objects.keys(), objects.values())
        for path, problem in zip(objects, problems, strict=True):
            if problem:
                with suppress(OSError):  # another's, in a shared cache
                    path.unlink(missing_ok=True)
                yield f"{path}: {problem}; {'not to be removed' if path.exists() else 'dropped'}"
