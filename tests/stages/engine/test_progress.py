import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pipelines.run.progress import running_stages
from stages.engine import progress
from stages.engine.progress import FOLDER, Count, Progress, announced, counted, in_words

#: Counts to TOTAL; told to stop after so many, it waits to be killed.
STAGE = """
import sys, time
from stages.engine.progress import announced, counted
total, stop = int(sys.argv[1]), int(sys.argv[2])
with announced("walk_label"):
    print("begun", flush=True)
    for number in counted(range(total), "walk_label", "images"):
        if number == stop:
            print("stopped", flush=True)
            time.sleep(60)
print("ended", flush=True)
"""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    monkeypatch.delenv("DVC_STAGE", raising=False)


def command(total: int, stop: int = -1) -> list[str]:
    return [sys.executable, "-c", STAGE, str(total), str(stop)]


def environment(more: Mapping[str, str] = {}) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(progress.__file__).parents[2]), **more}


@pytest.fixture
def stopped() -> Iterator[subprocess.Popen[str]]:
    """A stage of 40 that is at work on its 30th."""
    process = subprocess.Popen(
        command(40, 29), env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while "stopped" not in process.stdout.readline():
        assert process.poll() is None
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("seed", range(4))
def test_a_stage_without_a_terminal_says_a_line_per_tenth(
    seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    total = random.Random(seed).randint(10, 400)
    assert list(counted(range(total), "a", "images")) == list(range(total))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    counts = [int(line.split()[1]) for line in lines]
    assert counts == [-(-total * tenth // 10) for tenth in range(1, 11)]
    assert all(progress.is_progress_line(line) for line in lines)
    assert all(f" of {total} images" in line for line in lines)


def test_lines_are_not_closer_than_a_pause_and_the_last_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 4))  # a call of the clock per step, and one to begin
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock) / 10)
    monkeypatch.setattr(progress, "PAUSE", 1.0)
    list(counted(range(10), "a", "images"))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["3", "6", "9", "10"]
    assert lines[0] == "a: 3 of 10 images, 2.5/s, 3 s left"
    assert lines[-1] == "a: 10 of 10 images in 4 s"


def test_what_an_earlier_run_has_done_makes_the_rate_no_better() -> None:
    with announced("a"):
        count = Count("a", 100, "batches", done=90)
        time.sleep(0.05)
        count.step()
        (found,) = running_stages(Path()).values()
    assert (found.done, found.total) == (91, 100)
    assert 1 < found.rate < 25
    assert found.seconds_left == pytest.approx(9 / found.rate)


def test_a_running_stage_is_found_with_how_far_it_is(stopped: subprocess.Popen[str]) -> None:
    (found,) = running_stages(Path()).values()
    assert (found.stage, found.total, found.unit) == ("walk_label", 40, "images")
    assert found.done <= 29, "written once a second, so it may lag"


def test_a_killed_stage_is_not_running_though_its_file_stays(
    stopped: subprocess.Popen[str],
) -> None:
    stopped.send_signal(signal.SIGKILL)
    while Path(f"/proc/{stopped.pid}/stat").read_text().split()[2] != "Z":
        time.sleep(0.01)
    assert (FOLDER / "walk_label.json").exists()
    assert running_stages(Path()) == {}


def test_another_process_of_the_same_number_is_not_the_stage() -> None:
    with announced("a"):
        path = FOLDER / "a.json"
        content = json.loads(path.read_text())
        assert list(running_stages(Path())) == ["a"]
        path.write_text(json.dumps(content | {"started": content["started"] - 1}))
        assert running_stages(Path()) == {}


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"process": "x"}', '{"process": 1}'])
def test_a_file_of_another_kind_is_no_running_stage(content: str) -> None:
    FOLDER.mkdir(parents=True)
    (FOLDER / "a.json").write_text(content)
    assert running_stages(Path()) == {}


def test_a_stage_goes_by_the_name_that_dvc_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "crf_refine@walk")
    with announced("crf_refine"):
        assert list(running_stages(Path())) == ["crf_refine@walk"]
    with announced("a2gnn_label"):  # the variable is another's
        assert list(running_stages(Path())) == ["a2gnn_label"]
    assert list(FOLDER.iterdir()) == []


def test_only_the_first_of_several_processes_tells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank in ({"LOCAL_RANK": "1"}, {"RANK": "2", "LOCAL_RANK": "0"}):
        with monkeypatch.context() as patch:
            for name, value in rank.items():
                patch.setenv(name, value)
            with announced("a"):
                list(counted(range(20), "a", "batches"))
                assert running_stages(Path()) == {}
    assert capsys.readouterr().err == ""


def test_no_stage_fails_because_it_cannot_tell() -> None:
    Path(".seedmask").write_text("a file")
    with announced("a"):
        assert list(counted(range(3), "a", "images")) == [0, 1, 2]


def test_nothing_is_left_when_a_stage_fails() -> None:
    with pytest.raises(RuntimeError), announced("a"):
        raise RuntimeError
    assert list(FOLDER.iterdir()) == []


def test_on_a_terminal_a_stage_shows_a_bar_and_no_lines() -> None:
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 100))
    process = subprocess.Popen(
        command(25), env=environment({"TERM": "xterm"}), stdout=end, stderr=end
    )
    os.close(end)
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # its other end is closed
            break
    assert process.wait() == 0
    text = shown.decode()
    assert re.search(r"walk_label: 100%.*25/25 .* images/s", text)
    assert "of 25 images" not in text


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (99, "99 s"), (850, "14 min"), (12010, "3 h 20 min")]
)
def test_times_are_said_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_a_progress_says_what_it_knows() -> None:
    assert str(Progress("a")) == "running"
    assert str(Progress("a", 0, 437, "images")) == "0 of 437 images"
    assert str(Progress("a", 120, 437, "images", 0.377)) == (
        "120 of 437 images, 0.38/s, 14 min left"
    )
