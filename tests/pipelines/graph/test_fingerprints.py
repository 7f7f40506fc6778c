import os
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.output import Output

from pipelines.graph.fingerprints import KEPT
from pipelines.graph.plan import State, make_plan
from stages.engine.errors import InputError
from tests.pipelines.mini_repository import MiniRepository


@pytest.fixture
def planned(mini: MiniRepository) -> MiniRepository:
    """All is made, and planned once, so that fingerprints are kept."""
    assert mini.run("run", "--local")[0] == 0
    assert not make_plan(mini.root).pending
    assert (mini.root / KEPT).is_file()
    return mini


def state_of(mini: MiniRepository, name: str) -> State:
    return make_plan(mini.root).by_name[name].state


def test_an_unchanged_folder_is_not_hashed_again(
    planned: MiniRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    status = Output.status

    def spy(out: Output) -> dict[str, str]:
        asked.append(Path(out.fs_path).name)
        return status(out)

    monkeypatch.setattr(Output, "status", spy)
    assert not make_plan(planned.root).pending
    assert "first" not in asked
    assert "first.txt" in asked
    (planned.root / "data/first/0.txt").touch()
    assert not make_plan(planned.root).pending
    assert "first" in asked


def test_a_file_of_the_same_length_and_other_content_is_seen(planned: MiniRepository) -> None:
    path = planned.root / "data/first/0.txt"
    text = path.read_text()
    path.chmod(0o644)
    path.write_text(text.replace("0", "9"))
    assert state_of(planned, "first") is not State.UNCHANGED


def test_a_removed_and_an_added_file_are_seen(planned: MiniRepository) -> None:
    folder = planned.root / "data/first"
    extra = folder / "extra.txt"
    extra.write_text("mine")
    assert state_of(planned, "first") is not State.UNCHANGED
    extra.unlink()
    assert state_of(planned, "first") is State.UNCHANGED
    (folder / "0.txt").unlink()
    assert state_of(planned, "first") is not State.UNCHANGED


def test_a_file_that_the_cache_has_lost_is_seen(planned: MiniRepository) -> None:
    lost = [
        path
        for path in (planned.root / ".dvc/cache/files/md5").rglob("*")
        if path.is_file() and path.read_bytes() == (planned.root / "data/first/0.txt").read_bytes()
    ]
    assert len(lost) == 1
    lost[0].unlink()
    assert state_of(planned, "first") is not State.UNCHANGED


def test_another_dvcignore_makes_dvc_look_again(planned: MiniRepository) -> None:
    (planned.root / ".dvcignore").write_text("0.txt\n")
    assert state_of(planned, "first") is not State.UNCHANGED


def test_broken_fingerprints_are_as_none(planned: MiniRepository) -> None:
    for text in ("", "[1]", '{"a": 1}', '[["data/first", [1, 2, 3]]]'):
        (planned.root / KEPT).write_text(text)
        assert not make_plan(planned.root).pending


@pytest.mark.parametrize(
    ("put", "message"),
    [
        (os.mkfifo, "a pipe, socket or device, which DVC would wait for"),
        (lambda path: path.symlink_to("/dev/zero"), "a pipe, socket or device"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (lambda path: path.symlink_to("."), "a link to a folder that it lies in"),
    ],
)
def test_what_dvc_would_hang_on_is_refused(
    mini: MiniRepository, put: Callable[[Path], None], message: str
) -> None:
    """Before anything has run, and so before DVC is asked."""
    path = mini.root / "data/first/odd"
    path.parent.mkdir(parents=True, exist_ok=True)
    put(path)
    with pytest.raises(InputError, match=f"odd: {message}.*; remove it"):
        make_plan(mini.root)
