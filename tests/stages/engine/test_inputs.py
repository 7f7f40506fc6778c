import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.engine import inputs
from stages.engine.inputs import explain, is_edited_since_start, look_at, read_inputs

OLD = 1_000_000_000.0  # seconds: long before any test


def grow_old(folder: Path) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (OLD, OLD))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / "boxes.csv").write_text("a,1\n")
    (folder / "deep/photo.jpg").write_bytes(b"photo")
    (folder / "link.jpg").symlink_to("deep/photo.jpg")
    (folder / "deep/round").symlink_to("..")
    (folder / "lost.jpg").symlink_to("nowhere")
    grow_old(folder / "deep")
    os.utime(folder / "boxes.csv", (OLD, OLD))
    return folder


def rewrite(path: Path) -> None:
    path.write_text("a,2\n")


def rewrite_and_hide(path: Path) -> None:
    """The same size and time in another file, as `cp -p` leaves it."""
    other = path.with_name("other")
    other.write_text("a,2\n")
    os.utime(other, (OLD, OLD))
    other.replace(path)


def lengthen(path: Path) -> None:
    path.write_text("a,1\nb,1\n")
    os.utime(path, (OLD, OLD))


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("edit", [rewrite, rewrite_and_hide, lengthen, remove])
@pytest.mark.parametrize("is_named", [True, False])
def test_an_edit_is_seen_and_its_file_named(
    data: Path, edit: Callable[[Path], None], is_named: bool
) -> None:
    boxes = data / "boxes.csv"
    before = look_at([boxes if is_named else data], [])
    assert before.changed([]) == []
    edit(boxes)
    assert before.changed([]) == [str(boxes)]


def test_a_file_that_appears_is_seen(data: Path) -> None:
    before = look_at([data, data.parent / "later.csv"], [])
    new, later = data / "deep/new.jpg", data.parent / "later.csv"
    new.touch()
    later.touch()
    assert before.changed([]) == [str(new), str(later)]


def test_what_was_only_touched_is_the_same(data: Path) -> None:
    before = look_at([data], [])
    content = (data / "boxes.csv").read_bytes()
    (data / "boxes.csv").unlink()
    (data / "boxes.csv").write_bytes(content)
    assert before.changed([]) == []


def test_beyond_the_budget_a_touch_counts_as_an_edit(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "BUDGET", 4)
    before = look_at([data], [])
    hashed = {Path(name).name for name, look in before.files.items() if look.digest}
    assert hashed == {"boxes.csv"}, "the smallest first"
    os.utime(data / "deep/photo.jpg")
    assert str(data / "deep/photo.jpg") in before.changed([])


def test_a_young_file_that_keeps_its_time_is_compared_by_content(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "BUDGET", 0)
    boxes = data / "boxes.csv"
    moment = time.time_ns()
    os.utime(boxes, ns=(moment, moment))
    before = look_at([data], [])
    boxes.write_text("a,2\n")  # in place, within one tick of a coarse clock
    os.utime(boxes, ns=(moment, moment))
    assert before.changed([]) == [str(boxes)]


def test_a_pipe_is_not_opened(data: Path) -> None:
    os.mkfifo(data / "pipe.jpg")
    (data / "later.jpg").touch()
    before = look_at([data], [])
    assert before.changed([]) == []
    (data / "later.jpg").unlink()
    os.mkfifo(data / "later.jpg")
    assert before.changed([]) == [str(data / "later.jpg")]


def test_parameters_are_compared_by_value() -> None:
    values = [("params.yaml", "dataset", '{"root": "a"}'), ("params.yaml", "scenes.seed", "0")]
    before = look_at([], values)
    assert before.changed(list(values)) == []
    now = [values[0], ("params.yaml", "scenes.seed", None)]
    assert before.changed(now) == ["params.yaml: scenes.seed"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["", "x", "y", "zz"])), st.data())
def test_what_is_named_is_what_differs(
    tmp_path: Path, before: dict[str, str], draw: st.DataObject
) -> None:
    after = draw.draw(
        st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["", "x", "y", "zz"]))
    )
    for path in tmp_path.iterdir():
        path.unlink()
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    found = look_at([tmp_path], [])
    for name in before.keys() - after.keys():
        (tmp_path / name).unlink()
    for name, text in after.items():
        (tmp_path / name).write_text(text)
    differing = {n for n in before.keys() | after.keys() if before.get(n) != after.get(n)}
    assert {Path(name).name for name in found.changed([])} == differing


def test_they_are_the_same_after_a_round_trip(data: Path, tmp_path: Path) -> None:
    values = [("params.yaml", "dataset", None)]
    before = look_at([data], values)
    before.save(tmp_path / "kept.json")
    after = read_inputs(tmp_path / "kept.json")
    assert after == before
    (data / "boxes.csv").write_text("a,2\n")
    assert after.changed(values) == [str(data / "boxes.csv")]


def test_code_that_this_process_may_not_have_imported_is_known(tmp_path: Path) -> None:
    assert not is_edited_since_start(Path(os.__file__))
    file = tmp_path / "new.py"
    file.touch()
    os.utime(file, (OLD, OLD))  # as what was moved here
    assert is_edited_since_start(file)


def test_the_line_names_the_first_and_counts_the_rest() -> None:
    assert explain(["a"], "dataset ran") == "a changed while dataset ran; run again"
    assert explain(["a\n\udcff"], "x ran") == "a?? changed while x ran; run again"
    assert explain(["a", "b", "c"], "x ran") == "a and 2 more changed while x ran; run again"


def test_a_terabyte_of_nothing_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(2**40)
    inputs = look_at([tmp_path], [])
    assert inputs.changed([]) == []
    (tmp_path / "a.json").write_bytes(b"{}")
    assert inputs.changed([]) == [str(tmp_path / "a.json")]


def test_a_link_out_of_a_place_is_not_followed_and_one_inside_it_is(tmp_path: Path) -> None:
    away, place = tmp_path / "away", tmp_path / "place"
    for path in (away / "far.txt", place / "kept/near.txt"):
        path.parent.mkdir(parents=True)
        path.write_text("before")
    (place / "out").symlink_to(away)
    (place / "root").symlink_to("/")
    (tmp_path / "link").symlink_to(place)
    inputs = look_at([tmp_path / "link"], [])
    assert [Path(name).name for name in inputs.files] == ["near.txt"]
    (away / "far.txt").write_text("after")
    assert inputs.changed([]) == []
    (place / "kept/near.txt").write_text("after!")
    assert [Path(name).name for name in inputs.changed([])] == ["near.txt"]
