import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stages.engine.origins import FOLDER, keep_origins, read_origins

OUT = Path("data/crf_refine/walk")


@pytest.fixture(autouse=True)
def _in_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_what_was_noted_is_read_back(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    keep_origins(OUT, ["a", "b.1"])
    found = read_origins(tmp_path, OUT)
    assert found is not None
    assert found.computed == {"a", "b.1"}
    assert abs((found.ended - before).total_seconds()) < 10
    assert (tmp_path / ".seedmask/origins/data/crf_refine/walk.json").is_file()
    keep_origins(tmp_path / OUT, [])
    again = read_origins(tmp_path, OUT)
    assert again is not None
    assert again.computed == set()


def test_a_folder_elsewhere_leaves_nothing(tmp_path: Path) -> None:
    keep_origins(tmp_path.parent / "elsewhere", ["a"])
    keep_origins(Path("../elsewhere"), ["a"])
    assert not (tmp_path / FOLDER).exists()
    assert read_origins(tmp_path, Path("../elsewhere")) is None


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"ended": 3, "computed": []}', '{"ended": "2026-11-20", "computed": 1}'],
)
def test_what_cannot_be_read_counts_as_nothing(tmp_path: Path, content: str) -> None:
    assert read_origins(tmp_path, OUT) is None
    keep_origins(OUT, ["a"])
    (tmp_path / FOLDER / "data/crf_refine/walk.json").write_text(content)
    assert read_origins(tmp_path, OUT) is None


def test_ten_thousand_images_take_no_time(tmp_path: Path) -> None:
    ids = [f"image_{number:06}" for number in range(10_000)]
    began = time.process_time()
    keep_origins(OUT, ids)
    assert time.process_time() - began < 0.5
    assert json.loads((tmp_path / FOLDER / "data/crf_refine/walk.json").read_text())["computed"]
