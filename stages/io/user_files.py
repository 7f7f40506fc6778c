"""Reading what a user brings, which may be anything: a pipe, a folder, a terabyte of nothing."""

import stat
from pathlib import Path

from stages.engine.errors import InputError

#: Bytes of an image, a mask or the annotation of one image.
LARGEST = 2**30
#: Bytes of an annotation file of a whole data set; COCO's largest has half a gigabyte.
LARGEST_LISTING = 2**34


def read_user_bytes(path: Path) -> bytes:
    """The content of a regular file of at most `LARGEST` bytes.

    Raises:
        InputError: missing, unreadable or larger; or a folder, pipe, socket or device, which might
            never end.
    """
    try:
        _check_kind(path, LARGEST)
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def read_user_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark, of at most `LARGEST_LISTING`.

    Raises:
        InputError: as `read_user_bytes`, or in another encoding.
    """
    expected = f"{path}: cannot be read: expected text in UTF-8"
    try:
        _check_kind(path, LARGEST_LISTING)
        with path.open("rb") as file:
            if b"\0" in file.read(4096):  # a broken download may be gigabytes of zeros
                raise InputError(f"{expected}, found zero bytes")
            file.seek(0)
            return file.read().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{expected}: {error}") from error


def _check_kind(path: Path, largest: int) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise InputError(f"{path}: cannot be read: is {kind}; expected a file")
    if status.st_size > largest:
        found = f"{path}: cannot be read: has {status.st_size} bytes"
        raise InputError(f"{found}; expected at most {largest}")
