import hashlib
import json
import random
from pathlib import Path

import pytest

from pipelines.graph.damage import (
    drop_damaged,
    is_inside,
    listing,
    object_path,
    objects_of,
    problem_of,
)
from tests.damaged_files import damage


def put(cache: Path, content: bytes, end: str = "") -> str:
    """An object as DVC would name it; its hash."""
    md5 = hashlib.md5(content).hexdigest() + end
    path = object_path(cache, md5)
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(content)
    return md5


def put_folder(cache: Path, files: dict[str, str]) -> str:
    entries = [{"md5": md5, "relpath": name} for name, md5 in files.items()]
    return put(cache, json.dumps(entries).encode(), ".dir")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """The hash of a folder of five files in the cache at tmp_path."""
    return put_folder(
        tmp_path, {f"{number}.png": put(tmp_path, bytes([number] * 99)) for number in range(5)}
    )


def test_no_damage_to_an_object_is_overlooked_and_nothing_else_is_dropped(
    tmp_path: Path, folder: str
) -> None:
    chance = random.Random(0)
    whole = {path: path.read_bytes() for path in tmp_path.glob("*/*")}
    assert len(whole) == 6
    assert list(drop_damaged(tmp_path, folder)) == []
    for _ in range(200):
        path = chance.choice(list(whole))
        path.write_bytes(damage(whole[path], chance))
        (line,) = drop_damaged(tmp_path, folder)
        assert line.startswith(f"{path}: expected md5 {path.parent.name}{path.name}, found ")
        assert not path.exists()
        path.write_bytes(whole[path])
    assert {path: path.read_bytes() for path in tmp_path.glob("*/*")} == whole


def test_the_files_of_a_folder_are_those_of_a_sound_list(tmp_path: Path, folder: str) -> None:
    assert list(listing(tmp_path, folder) or {}) == [f"{number}.png" for number in range(5)]
    assert len(objects_of(tmp_path, folder)) == 6
    object_path(tmp_path, folder).write_bytes(b"[]")
    assert listing(tmp_path, folder) is None
    assert objects_of(tmp_path, folder) == [folder]


def test_a_list_leads_to_no_place_outside(tmp_path: Path) -> None:
    sound = "0" * 32
    files = {"a/b.png": sound, "../c": sound, "/d": sound, "a/../../e": sound, "f": "/etc/f"}
    assert listing(tmp_path, put_folder(tmp_path, files)) == {"a/b.png": sound}
    assert not is_inside("..")
    assert is_inside("..a/b")


def test_what_is_missing_is_not_damaged_and_what_cannot_be_read_is(tmp_path: Path) -> None:
    assert problem_of(tmp_path / "none", "0" * 32) == ""
    assert problem_of(tmp_path, "0" * 32) == "Is a directory"
