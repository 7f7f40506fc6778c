"""Files appear whole or not at all."""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

#: What is wrong with the machine, not with the code: a full or closed disk, a file for a folder.
MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EIO),
}


def md5_of(content: bytes) -> str:
    """The hash by which DVC and our tables know a content; no secret rests on it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically: to a temporary name beside it, then os.replace.

    The parent folder is made when missing.

    Raises:
        OSError: it cannot be written; `filename` says which.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in MACHINE and error.filename is None:
            error.filename = str(path)
        raise


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write `content` as indented JSON with a final newline, atomically."""
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def explain_machine_error(error: OSError) -> str:
    """Which file the machine refused and why, in one line; of a full disk, how much is free."""
    where = Path(error.filename) if isinstance(error.filename, str) else Path()
    text = f"{where}: {error.strerror}"
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return text
    there = next(folder for folder in where.resolve().parents if folder.exists())
    return f"{text}; {shutil.disk_usage(there).free / 1e6:.1f} MB are free in {there}"
