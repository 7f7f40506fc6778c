"""What one clone has made another need not make: DVC's run cache is the way between them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.graph.plan import State, make_plan
from tests.pipelines.mini_repository import MiniRepository


def shell(folder: Path, *words: str) -> None:
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def dvc(folder: Path, *words: str) -> None:
    shell(folder, sys.executable, "-m", "dvc", *words)


@pytest.fixture
def clones(tmp_path: Path) -> tuple[MiniRepository, MiniRepository]:
    """Two repositories with the same graph and no outputs; neither has a dvc.lock."""
    made = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        made.append(MiniRepository(tmp_path / name))
    return made[0], made[1]


def test_a_shared_cache_restores_what_the_other_clone_made(
    clones: tuple[MiniRepository, MiniRepository], tmp_path: Path
) -> None:
    here, there = clones
    for clone in clones:
        dvc(clone.root, "cache", "dir", "--local", str(tmp_path / "cache"))
    assert there.run("run", "left", "--local")[0] == 0
    plan = make_plan(here.root)
    assert {step.name: step.state for step in plan.steps} == {
        "first": State.RESTORABLE,
        "left": State.RESTORABLE,
        "right": State.MUST_RUN,
        "last": State.MUST_RUN,
    }
    code, text = here.run("run", "--local")
    assert code == 0
    assert "[left] Restored" in text
    assert "[last] Completed" in text
    assert "left starts in" not in text
    assert here.outputs()["data/last.txt"] == "first 1\nleft 1\nlast 1\n"


def test_a_remote_gives_what_the_other_clone_pushed(
    clones: tuple[MiniRepository, MiniRepository], tmp_path: Path
) -> None:
    here, there = clones
    for clone in clones:
        dvc(clone.root, "remote", "add", "-d", "store", str(tmp_path / "store"))
    assert there.run("run", "left", "--local")[0] == 0
    dvc(there.root, "push", "--run-cache")
    code, text = here.run("run", "--local", "--pull")
    assert code == 0
    assert "[first] Restored" in text
    assert "[left] Restored" in text
    assert "left starts in" not in text
    assert "[right] Completed" in text
    assert here.outputs()["data/last.txt"] == "first 1\nleft 1\nlast 1\n"
