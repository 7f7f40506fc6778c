import errno
import json
import os
import pickle
from pathlib import Path

import pytest

from stages.engine.files import explain_machine_error, write_bytes, write_json


def test_folders_are_made_and_files_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.bin"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["c.bin"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.bin"
    write_bytes(path, b"old")

    def refuse(source: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_indented_and_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "m.json", {"b": 1, "a": [1.5]})
    text = (tmp_path / "m.json").read_text()
    assert text.endswith("}\n")
    assert text.splitlines()[1] == '  "b": 1,'
    assert json.loads(text) == {"a": [1.5], "b": 1}


def test_a_full_disk_names_the_file_and_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, content: bytes) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(OSError, match="No space left") as caught:
        write_bytes(tmp_path / "new" / "a.bin", b"a")
    text = explain_machine_error(pickle.loads(pickle.dumps(caught.value)))  # as from a worker
    assert text.startswith(f"{tmp_path / 'new' / 'a.bin'}: No space left on device; ")
    assert text.endswith(f" MB are free in {tmp_path / 'new'}")
    assert not list((tmp_path / "new").iterdir())
