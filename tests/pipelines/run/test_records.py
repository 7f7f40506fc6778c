"""Inputs that are edited while a stage runs, and while DVC records it."""

import fcntl
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from pipelines.run.workspace import drop_dead_locks, holding_workspace
from tests.pipelines.mini_repository import MiniRepository
from tests.pipelines.run.test_runner import await_line


@pytest.fixture
def slow(mini: MiniRepository) -> MiniRepository:
    """`first` reads data/brought.txt and takes a second."""
    path = mini.root / "dvc.yaml"
    path.write_text(
        path.read_text().replace(
            "    cmd: python -m stages.first --out data/first\n",
            "    cmd: python -m stages.first --source data/brought.txt --out data/first\n"
            "    deps: [data/brought.txt, stages/first.py]\n",
        )
    )
    (mini.root / "data").mkdir()
    (mini.root / "data/brought.txt").write_text("before\n")
    mini.set("first", "seconds", 1.0)
    return mini


def edit_input(mini: MiniRepository) -> str:
    (mini.root / "data/brought.txt").write_text("after!\n")
    return "data/brought.txt"


def edit_params(mini: MiniRepository) -> str:
    mini.set("first", "value", 7)
    return "params.yaml: first"


def edit_code(mini: MiniRepository) -> str:
    path = mini.root / "stages/first.py"
    path.write_text(path.read_text().replace("first {params", "First {params"))
    return "stages/first.py"


EDITS = [edit_input, edit_params, edit_code]
MADE = {
    edit_input: "after!\nfirst 1\n",
    edit_params: "before\nfirst 7\n",
    edit_code: "before\nFirst 1\n",
}


def repro(mini: MiniRepository, *words: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", *words],
        cwd=mini.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ
        | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"},
    )
    mini.started.append(process)
    return process


@pytest.mark.parametrize("edit", EDITS)
def test_plain_dvc_repro_does_not_record_a_stage_whose_input_was_edited(
    slow: MiniRepository, edit: Callable[[MiniRepository], str]
) -> None:
    process = repro(slow, "first")
    assert process.stdout is not None
    for line in process.stdout:
        if "first starts in" in line:
            break
    name = edit(slow)
    rest = process.stdout.read()
    assert process.wait(60) != 0
    assert f"first: {name} changed while first ran; run again" in rest
    assert "Traceback" not in rest
    again = repro(slow, "first")
    text, _ = again.communicate(timeout=60)
    assert again.returncode == 0, text
    assert (slow.root / "data/first.txt").read_text() == MADE[edit]


def test_a_run_says_what_was_edited_and_the_next_one_makes_it(slow: MiniRepository) -> None:
    process = slow.start("run", "first", "--local")
    await_line(slow, "starts in", "first")
    name = edit_input(slow)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"{name} changed while first ran; run again" in text
    code, text = slow.run("run", "--local")
    assert code == 0, text
    assert (slow.root / "data/first.txt").read_text() == MADE[edit_input]
    assert slow.run("run", "--local")[1].startswith("Everything is up to date")


def test_another_stages_section_may_be_edited(slow: MiniRepository) -> None:
    process = slow.start("run", "first", "--local")
    await_line(slow, "starts in", "first")
    slow.set("left", "value", 9)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0, text


def test_what_is_edited_before_a_stage_looks_is_what_it_reads(slow: MiniRepository) -> None:
    """Between DVC's decision and the stage's start; DVC hashes again when it has ended."""
    process = slow.start("run", "first", "--local")
    await_note(slow)
    with dvc_kept_waiting(slow):
        edit_input(slow)
        edit_params(slow)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0, text
    assert (slow.root / "data/first.txt").read_text() == "after!\nfirst 7\n"
    assert slow.run("run", "first", "--local")[1].startswith("Everything is up to date")


@contextmanager
def dvc_kept_waiting(mini: MiniRepository) -> Iterator[None]:
    """Hold DVC's lock, as another stage's commit of many files does."""
    path = mini.root / ".dvc/tmp/lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def await_note(mini: MiniRepository) -> None:
    path = mini.root / ".seedmask/inputs/first.json"
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.02)


def await_made(mini: MiniRepository) -> None:
    """Until the stage's process has ended; DVC's waits for its lock."""
    end = time.monotonic() + 60
    while not (mini.root / "data/first.txt").exists() or any(map(is_stage, mini.processes())):
        assert time.monotonic() < end
        time.sleep(0.02)


def is_stage(process: psutil.Process) -> bool:
    """Whether it is the stage itself; not one that has ended meanwhile."""
    try:
        words = " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
    return "stages.first" in words and "dvc" not in words


def test_an_edit_before_dvc_hashes_is_not_recorded(slow: MiniRepository) -> None:
    process = slow.start("run", "first", "--local")
    await_line(slow, "starts in", "first")
    with dvc_kept_waiting(slow):
        await_made(slow)
        name = edit_params(slow)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 1, text
    assert f"{name} changed while first was recorded; run again" in text
    assert not list((slow.root / ".dvc/cache/runs").glob("*/*")), "nor in DVC's run cache"
    code, text = slow.run("run", "first", "--local")
    assert code == 0, text
    assert "1 completed" in text
    assert (slow.root / "data/first.txt").read_text() == MADE[edit_params]


def test_what_a_killed_run_recorded_is_looked_at_by_the_next(slow: MiniRepository) -> None:
    process = slow.start("run", "first", "--local")
    await_line(slow, "starts in", "first")
    with dvc_kept_waiting(slow):
        await_made(slow)
        kept = (slow.root / ".seedmask/inputs/first.json").read_bytes()
        edit_params(slow)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        psutil.wait_procs(slow.processes(), timeout=60)
    drop_dead_locks(slow.root / ".dvc/tmp/rwlock")  # a container may keep the numbers of the dead
    again = repro(slow, "first")  # as if DVC had still come so far
    said, _ = again.communicate(timeout=60)
    assert again.returncode == 0, said
    lock = slow.root / "dvc.lock"
    wrong = lock.read_text()
    assert "value: 7" in wrong
    (slow.root / "data/first.txt").write_text("before\nfirst 1\n")
    (slow.root / ".seedmask/inputs/first.json").write_bytes(kept)
    code, text = slow.run("run", "first", "--local")
    assert code == 0, text
    assert "1 completed" in text
    assert (slow.root / "data/first.txt").read_text() == MADE[edit_params]


def test_an_edit_while_dvc_restores_is_not_recorded(slow: MiniRepository) -> None:
    assert slow.run("run", "first", "--local")[0] == 0
    (slow.root / "data/first.txt").unlink()
    process = slow.start("run", "first", "--local")
    assert process.stdout is not None
    for line in process.stdout:
        if "is cached - skipping run" in line:
            break
    name = edit_params(slow)
    rest = process.stdout.read()
    assert process.wait(60) == 1, rest
    assert f"{name} changed while first was recorded; run again" in rest
    code, text = slow.run("run", "first", "--local")
    assert code == 0, text
    assert (slow.root / "data/first.txt").read_text() == MADE[edit_params]


def check_out(mini: MiniRepository) -> str:
    """Another commit, with another input and another number."""
    subprocess.run(["git", "checkout", "-q", "other"], cwd=mini.root, check=True)
    return ""


@pytest.mark.parametrize("edit", [*EDITS, check_out])
def test_after_an_edit_at_a_random_moment_all_is_made_from_it(
    slow: MiniRepository, edit: Callable[[MiniRepository], str]
) -> None:
    """The short form of benchmarks/edits_under_run.py."""

    def git(*words: str) -> None:
        who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
        subprocess.run(["git", *who, *words], cwd=slow.root, check=True)

    git("add", "-A")
    git("commit", "-qm", "base")
    git("checkout", "-qb", "other")
    edit_input(slow)
    edit_params(slow)
    git("commit", "-qam", "other")
    git("checkout", "-q", "-")
    process = slow.start("run", "last", "--local")
    time.sleep(random.Random(edit.__name__).uniform(1, 8))
    edit(slow)
    process.communicate(timeout=120)
    for _ in range(4):
        _, text = slow.run("run", "last", "--local")
        if text.startswith("Everything is up to date"):
            break
    else:
        raise AssertionError(text)
    first = (MADE | {check_out: "after!\nfirst 7\n"})[edit]
    assert (slow.root / "data/last.txt").read_text() == f"{first}left 1\nlast 1\n"


@pytest.mark.parametrize(
    "command",
    [
        ("use", "slow"),
        ("freeze", "left"),
        ("unfreeze", "left"),
    ],
)
def test_what_writes_params_or_the_graph_says_which_run_holds_the_workspace(
    mini: MiniRepository, command: tuple[str, ...]
) -> None:
    files = [mini.root / "params.yaml", mini.root / "dvc.yaml"]
    before = [file.read_bytes() for file in files]
    with holding_workspace(mini.root):
        code, text = mini.run(*command)
        assert code == 1
        assert f"another run holds this workspace (process {os.getpid()}" in text
        assert text.count("\n") == 1
        assert [file.read_bytes() for file in files] == before
        assert mini.run("status")[0] == 0, "who only reads needs no lock"
        waiting = mini.start(*command, "--wait")
        assert waiting.stdout is not None
        assert "waiting for its end" in waiting.stdout.readline()
    assert waiting.wait(60) == 0
