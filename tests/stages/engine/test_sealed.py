import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.engine.sealed import is_sound, read_sealed, write_sealed
from tests.damaged_files import damage


def test_what_is_written_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in (b"", b"abc", bytes(100_000)):
        write_sealed(tmp_path / "a", content)
        assert read_sealed(tmp_path / "a") == content
        assert is_sound(tmp_path / "a")
    assert read_sealed(tmp_path / "none") is None
    assert capsys.readouterr().err == ""


@given(content=st.binary(max_size=300), seed=st.integers(0, 2**32))
def test_no_damage_passes(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, seed: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "sealed"
    write_sealed(path, content)
    path.write_bytes(damage(path.read_bytes(), random.Random(seed)))
    assert read_sealed(path) is None
    assert not is_sound(path)


def test_damage_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").write_bytes(b"as versions without checksums wrote it, so that it is long")
    assert read_sealed(tmp_path / "a") is None
    said = capsys.readouterr().err
    assert said == f"{tmp_path}/a: damaged, its checksum differs; counts as none\n"
    assert read_sealed(tmp_path) is None
    assert capsys.readouterr().err == f"{tmp_path}: Is a directory; counts as none\n"
