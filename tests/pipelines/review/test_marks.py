from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from pipelines.review.marks import MARKS, Marks, Verdict
from stages.engine.errors import InputError


def set_one(root: Path, image_id: str) -> None:
    Marks(root).set(image_id, Verdict.BAD, "0" * 32)


def test_a_mark_is_read_again_with_what_was_seen(tmp_path: Path) -> None:
    marks = Marks(tmp_path)
    assert marks.read() == {}
    marks.set("b", Verdict.TO_CORRECT, "f" * 32)
    marks.set("a", Verdict.GOOD)
    found = Marks(tmp_path).read()
    assert list(found) == ["a", "b"]
    assert found["b"].verdict is Verdict.TO_CORRECT
    assert found["b"].when.tzinfo is not None
    assert abs(datetime.now(UTC) - found["b"].when) < timedelta(minutes=1)
    assert found["b"].is_stale("e" * 32)
    assert not found["b"].is_stale("f" * 32)
    assert not found["a"].is_stale("e" * 32), "nobody knows what was seen"


def test_a_mark_is_replaced_and_removed(tmp_path: Path) -> None:
    marks = Marks(tmp_path)
    marks.set("a", Verdict.GOOD)
    marks.set("a", Verdict.BAD)
    assert marks.read()["a"].verdict is Verdict.BAD
    marks.set("a", None)
    marks.set("never", None)
    assert marks.read() == {}


def test_two_processes_lose_no_mark(tmp_path: Path) -> None:
    names = [f"image_{number}" for number in range(40)]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        list(pool.map(partial(set_one, tmp_path), names))
    assert sorted(Marks(tmp_path).read()) == sorted(names)


def test_the_saved_csv_is_the_same_table(tmp_path: Path) -> None:
    marks = Marks(tmp_path)
    marks.set("a", Verdict.GOOD, "f" * 32)
    assert marks.save_csv(tmp_path / "saved.csv") == 1
    assert (tmp_path / "saved.csv").read_bytes() == (tmp_path / MARKS).read_bytes()
    header, row = (tmp_path / "saved.csv").read_text().splitlines()
    assert header == "image_id,mark,when,labels"
    assert row.startswith("a,good,20")
    assert row.endswith(f"+00:00,{'f' * 32}")


@pytest.mark.parametrize("image_id", ["", "../a", "a,good", "a\nb", "é"])
def test_a_name_that_is_no_image_id_is_refused(tmp_path: Path, image_id: str) -> None:
    with pytest.raises(InputError, match="image id"):
        Marks(tmp_path).set(image_id, Verdict.GOOD)
    assert not (tmp_path / MARKS).exists()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a,good,2026-01-01T00:00:00+00:00", r"line 2: 3 columns; expected 4"),
        ("a,fine,2026-01-01T00:00:00+00:00,", r"line 2: mark 'fine'; expected one of good, bad"),
        ("a,good,yesterday,", r"line 2: when 'yesterday'"),
        ("../a,good,2026-01-01T00:00:00+00:00,", r"line 2: image id '../a'"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, expected: str) -> None:
    path = tmp_path / MARKS
    path.parent.mkdir(parents=True)
    path.write_text(f"image_id,mark,when,labels\n{line}\n")
    with pytest.raises(InputError, match=expected):
        Marks(tmp_path).read()
    with pytest.raises(InputError, match=expected):
        Marks(tmp_path).set("b", Verdict.GOOD)
    assert path.read_text().endswith(f"{line}\n"), "what a person wrote is not lost"
