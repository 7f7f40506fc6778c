"""Files that carry a SHA-256 of their content before it, so that a damaged one is known as such."""

import hashlib
import sys
from pathlib import Path

from stages.engine.files import write_bytes

LENGTH = hashlib.sha256().digest_size


def write_sealed(path: Path, content: bytes | memoryview) -> None:
    """Write the checksum and `content` to `path`, atomically."""
    write_bytes(path, b"".join((hashlib.sha256(content).digest(), content)))


def read_sealed(path: Path) -> bytes | None:
    """What was written; None when there is no such file, or one that is damaged, which is said."""
    try:
        with path.open("rb") as file:
            seal, content = file.read(LENGTH), file.read()
    except FileNotFoundError:
        return None
    except OSError as error:  # a sector that cannot be read
        print(f"{path}: {error.strerror}; counts as none", file=sys.stderr)
        return None
    if hashlib.sha256(content).digest() != seal:
        print(f"{path}: damaged, its checksum differs; counts as none", file=sys.stderr)
        return None
    return content


def is_sound(path: Path) -> bool:
    """Whether the content has its checksum; reads in pieces.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        seal = file.read(LENGTH)
        return hashlib.file_digest(file, "sha256").digest() == seal
