import json
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.graph.journal import (
    FOLDER,
    KEPT,
    Code,
    Entry,
    keep_run,
    last_failure,
    last_seconds,
    read_code,
    read_runs,
)
from pipelines.graph.result import Ending, Result
from pipelines.graph.revisions import read_revision
from tests.pipelines.made_repository import commit_all
from tests.pipelines.mini_repository import MiniRepository

MD5 = "0123456789abcdef0123456789abcdef"
LOCK = f"""\
schema: '2.0'
stages:
  walk@a:
    cmd: walk
    outs:
    - path: data/walk/a
      hash: md5
      md5: {MD5}.dir
      size: 3
    - path: data/walk/a.json
      hash: md5
      md5: {MD5}
      size: 3
"""
OUTS = ["data/walk/a", "data/walk/a.json"]
CODE = Code("c" * 40, True)


def keep(root: Path, seconds: float, ending: Ending = Ending.COMPLETED) -> None:
    keep_run(root, Result("walk@a", ending, seconds), OUTS, CODE)


def test_a_run_is_noted_with_its_hashes_and_its_code(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(LOCK)
    keep(tmp_path, 12.345)
    (entry,) = read_runs(tmp_path, "walk@a")
    assert entry.seconds == 12.35
    assert entry.ending is Ending.COMPLETED
    assert (entry.commit, entry.modified) == ("c" * 40, True)
    assert entry.outs == {"data/walk/a": f"{MD5}.dir", "data/walk/a.json": MD5}
    began = datetime.fromisoformat(entry.began)
    assert began.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - began - timedelta(seconds=12.345)) < timedelta(seconds=5)


def test_a_lock_file_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "dvc.lock"
    path.write_text(LOCK[: LOCK.index("    - path: data/walk/a.json")])  # sound, but not all

    def finish() -> None:
        time.sleep(0.2)
        path.write_text(LOCK[: LOCK.rindex("cdef")])
        time.sleep(0.2)
        path.write_text(LOCK)

    writer = threading.Thread(target=finish)
    writer.start()
    keep(tmp_path, 1)
    writer.join()
    assert read_runs(tmp_path, "walk@a")[0].outs["data/walk/a.json"] == MD5


def test_without_hashes_a_run_is_noted_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.graph.journal.PATIENCE", 0)
    keep(tmp_path, 1)
    assert read_runs(tmp_path, "walk@a")[0].outs == {}


def test_the_last_runs_are_kept_and_the_last_making_among_them(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(LOCK)
    for number in range(3):
        keep(tmp_path, number + 1)
    for number in range(KEPT + 5):
        keep(tmp_path, 100 + number, Ending.RESTORED)
    runs = read_runs(tmp_path, "walk@a")
    assert len(runs) == KEPT
    assert [run.seconds for run in runs[1:]] == list(range(106, 125))
    assert runs[0].seconds == 3
    assert last_seconds(tmp_path, "walk@a") == 3
    keep(tmp_path, 50)
    assert last_seconds(tmp_path, "walk@a") == 50


def test_lines_that_are_no_entry_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(LOCK)
    assert read_runs(tmp_path, "walk@a") == []
    assert last_seconds(tmp_path, "walk@a") is None
    keep(tmp_path, 1)
    path = tmp_path / FOLDER / "walk@a.jsonl"
    good = path.read_text()
    sound = json.loads(good)
    bad = [
        "",
        "{",
        "[]",
        "3",
        json.dumps(sound | {"ending": "Nonsense"}),
        json.dumps(sound | {"began": "2026-11-20T10:00:00"}),
        json.dumps(sound | {"began": 5}),
        json.dumps(sound | {"seconds": float("nan")}),
        json.dumps(sound | {"seconds": "1"}),
        json.dumps(sound | {"outs": []}),
        json.dumps(sound | {"more": 1}),
    ]
    path.write_text("\n".join([*bad, good]))
    assert read_runs(tmp_path, "walk@a") == [Entry(**(sound | {"ending": Ending.COMPLETED}))]
    keep(tmp_path, 2)
    assert len(path.read_text().splitlines()) == 2


def test_only_changes_of_what_a_run_does_not_write_count(mini: MiniRepository) -> None:
    root = mini.root
    assert read_code(root) == Code(None, False)
    (root / ".gitignore").write_text("/.seedmask/\n__pycache__/\n")
    for name in ("user.name", "user.email"):
        subprocess.run(["git", "config", name, "nobody"], cwd=root, check=True)
    (root / "dvc.lock").write_text(LOCK)
    (root / "data").mkdir()
    (root / "data/metrics.json").write_text("{}")
    commit = commit_all(root, "all")
    assert read_code(root) == Code(commit, False)
    (root / "dvc.lock").write_text(LOCK + "\n")
    (root / "data/metrics.json").write_text("{1}")
    (root / "untracked").write_text("")
    assert read_code(root) == Code(commit, False)
    mini.set("first", "value", 2)
    assert read_code(root) == Code(commit, True)


def test_outside_of_git_there_is_no_commit(tmp_path: Path) -> None:
    assert read_code(tmp_path) == Code(None, False)


def test_runs_note_what_they_made_what_they_restored_and_what_failed(mini: MiniRepository) -> None:
    assert mini.run("run", "left", "--local")[0] == 0
    first = read_revision(mini.root).stages["left"].outs
    mini.set("left", "value", 2)
    assert mini.run("run", "left", "--local")[0] == 0
    second = read_revision(mini.root).stages["left"].outs
    mini.set("left", "value", 1)
    assert mini.run("run", "left", "--local")[0] == 0
    runs = read_runs(mini.root, "left")
    assert [run.ending for run in runs] == [
        Ending.COMPLETED, Ending.COMPLETED, Ending.RESTORED,
    ]  # fmt: skip
    assert [run.outs for run in runs] == [first, second, first]
    assert sorted(runs, key=lambda run: run.began) == runs
    assert len(read_runs(mini.root, "first")) == 1
    assert read_runs(mini.root, "right") == []
    assert last_seconds(mini.root, "left") == runs[1].seconds
    mini.set("left", "fail", "true")
    assert mini.run("run", "left", "--local")[0] == 1
    *before, failed = read_runs(mini.root, "left")
    assert before == runs
    assert (failed.ending, failed.reason, failed.outs) == (Ending.FAILED, "exit code 255", {})
    assert any("left was told to fail" in line for line in failed.tail)
    assert last_failure(mini.root, "left") == failed
    assert last_seconds(mini.root, "left") == runs[1].seconds
