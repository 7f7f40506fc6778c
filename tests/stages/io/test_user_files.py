from pathlib import Path

import pytest

from stages.engine.errors import InputError
from stages.io.user_files import read_user_bytes, read_user_text


def test_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffcaf\u00e9".encode())
    assert read_user_text(path) == "caf\u00e9"
    assert read_user_bytes(path) == path.read_bytes()


@pytest.mark.parametrize("size", [2**31, 2**40])
def test_gigabytes_of_zeros_are_told_without_reading_them(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(size)
    with pytest.raises(InputError, match=r"found zero bytes|expected at most"):
        read_user_text(path)
    with pytest.raises(InputError, match="bytes; expected at most"):
        read_user_bytes(path)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings_are_told(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("caf\u00e9".encode(encoding))
    with pytest.raises(InputError, match=r"a\.txt: cannot be read: expected text in UTF-8"):
        read_user_text(path)
