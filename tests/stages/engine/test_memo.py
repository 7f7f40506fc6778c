import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from stages.engine import memo
from stages.engine.errors import InputError
from stages.engine.memo import Outcome, keep_outcome, memo_key, read_outcome


@dataclass(frozen=True)
class Inner:
    beta: float


@dataclass(frozen=True)
class Item:
    image_id: str
    file: Path
    inner: Inner
    boxes: tuple[tuple[float, float], ...] = ()


def test_outcome_round_trip(tmp_path: Path) -> None:
    outcome = Outcome({"labels/a.png": b"\0\1", "maps/a.npz": b""}, {"pixels": 3.5})
    keep_outcome(tmp_path / "k", outcome)
    assert read_outcome(tmp_path / "k") == outcome


@pytest.mark.parametrize("damage", [b"", b"PK\3\4 half a zip"])
def test_what_has_no_checksum_is_not_used(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "k").write_bytes(damage)
    assert read_outcome(tmp_path / "k") is None
    assert read_outcome(tmp_path / "missing") is None


def test_key_is_of_the_content_and_not_of_the_path(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (memo_key("code", Item("x", tmp_path / n, Inner(1.0))) for n in "abc")
    assert a == b
    assert a != c


def test_key_sees_every_field_and_the_code(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"1")
    keys = {
        memo_key("code", Item("x", file, Inner(1.0))),
        memo_key("other", Item("x", file, Inner(1.0))),
        memo_key("code", Item("y", file, Inner(1.0))),
        memo_key("code", Item("x", file, Inner(2.0))),
        memo_key("code", Item("x", file, Inner(1.0), ((0.0, 1.0),))),
        memo_key("code", Item("x", file, Inner(1.0), ((0.0,), (1.0,)))),  # type: ignore[arg-type]
    }
    assert len(keys) == 6


def test_a_rewritten_file_gives_another_key(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"1")
    before = memo_key("code", Item("x", file, Inner(1.0)))
    file.write_bytes(b"22")
    assert memo_key("code", Item("x", file, Inner(1.0))) != before


def test_a_file_rewritten_within_the_clocks_grain_gives_another_key(tmp_path: Path) -> None:
    file = tmp_path / "a"
    keys = set()
    for content in (b"1", b"2", b"3"):
        file.write_bytes(content)
        os.utime(file, ns=(0, 0))
        keys.add(memo_key("code", file))
    assert len(keys) == 3


def test_an_old_file_is_read_once_until_another_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    file, other = tmp_path / "a", tmp_path / "b"
    for path, content in ((file, b"1"), (other, b"2")):
        path.write_bytes(content)
        os.utime(path, ns=(0, 0))
    monkeypatch.setattr("stages.engine.memo.GRAIN", 0)
    read = memo._read_digest
    monkeypatch.setattr(memo, "_read_digest", lambda path: reads.append(path) or read(path))
    first = memo_key("code", file)
    assert memo_key("code", file) == first
    assert reads == [file]
    os.replace(other, file)
    assert memo_key("code", file) != first


def test_a_field_that_cannot_be_hashed_is_refused() -> None:
    with pytest.raises(TypeError, match="an item holds set"):
        memo_key("code", {1, 2})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone: cannot be read: No such file or directory"):
        memo_key("code", Item("x", tmp_path / "gone", Inner(1.0)))
