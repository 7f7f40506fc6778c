import os
import time
from pathlib import Path

import pytest

from pipelines.run.memo import Swept, sweep


@pytest.fixture
def kept(tmp_path: Path) -> dict[int, Path]:
    """A result of 1000 bytes for each age in days."""
    files = {}
    for age in (0, 10, 20, 40):
        path = tmp_path / ".seedmask/memo/walk_label" / f"{age:02}" / "key"
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(1000))
        os.utime(path, (time.time() - age * 86400,) * 2)
        files[age] = path
    return files


def test_what_was_not_used_for_long_goes(tmp_path: Path, kept: dict[int, Path]) -> None:
    assert sweep(tmp_path, days=15) == Swept(2, 2000, 2, 2000)
    assert [age for age, path in kept.items() if path.exists()] == [0, 10]


def test_the_longest_unused_go_first_when_there_is_too_much(
    tmp_path: Path, kept: dict[int, Path]
) -> None:
    assert sweep(tmp_path, days=1000, gigabytes=3e-6) == Swept(1, 1000, 3, 3000)
    assert not kept[40].exists()


def test_an_empty_store_is_no_error(tmp_path: Path) -> None:
    assert sweep(tmp_path, days=0) == Swept(0, 0, 0, 0)
