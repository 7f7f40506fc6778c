import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pipelines.run.workspace import (
    drop_dead_locks,
    drop_unfinished_records,
    holding_workspace,
    lend_params,
)
from tests.pipelines.mini_repository import MiniRepository

EXPECTED = "first 1\nleft 1\nlast 1\n"


def await_line(mini: MiniRepository, text: str, log: str, seconds: float = 60) -> None:
    """Until a stage has printed `text`."""
    path = mini.root / ".seedmask/logs" / f"{log}.log"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"{log} did not print {text!r} within {seconds} s")


def assert_no_process_within(mini: MiniRepository, seconds: float) -> None:
    end = time.monotonic() + seconds
    while alive := mini.processes():
        assert time.monotonic() < end, f"still at work: {alive}"
        time.sleep(0.05)


def test_a_run_makes_everything_and_a_second_run_does_nothing(mini: MiniRepository) -> None:
    code, text = mini.run("run", "--local")
    assert code == 0, text
    assert "4 completed" in text
    assert "[left] left starts in" in text
    assert mini.outputs()["data/last.txt"] == EXPECTED
    began = time.monotonic()
    code, text = mini.run("run", "--local")
    assert code == 0
    assert text.startswith("Everything is up to date: 4 stages unchanged.")
    assert time.monotonic() - began < 10


def test_only_what_a_changed_number_reaches_runs_again(made: MiniRepository) -> None:
    made.set("left", "value", 2)
    code, text = made.run("run", "--local")
    assert code == 0
    assert "2 cached, 2 completed" in text
    made.set("left", "value", 1)
    code, text = made.run("run", "--local")
    assert "2 cached, 2 restored" in text
    assert made.outputs()["data/last.txt"] == EXPECTED


def test_a_target_runs_with_what_it_depends_on(mini: MiniRepository) -> None:
    code, _ = mini.run("run", "left", "--local")
    assert code == 0
    assert not (mini.root / "data/right").exists()
    assert not (mini.root / "data/last").exists()


def test_independent_stages_run_at_the_same_time(mini: MiniRepository) -> None:
    mini.run("run", "first", "--local")
    for name in ("left", "right"):
        mini.set(name, "seconds", 20.0)
    process = mini.start("run", "--local", "--jobs", "2")
    await_line(mini, "starts in", "left")
    await_line(mini, "starts in", "right", seconds=30)
    assert not (mini.root / "data/left.txt").exists()
    assert process.poll() is None


def test_one_job_at_a_time_when_asked(mini: MiniRepository) -> None:
    code, text = mini.run("run", "--local", "--jobs", "1")
    assert code == 0
    lines = [line for line in text.splitlines() if "Running" in line or "Completed" in line]
    assert ["Running" in line for line in lines] == [True, False] * 4


def test_a_failed_branch_leaves_the_other_running_and_the_summary_says_what_to_do(
    mini: MiniRepository,
) -> None:
    mini.set("left", "fail", "true")
    code, text = mini.run("run", "--local")
    assert code == 1
    summary = text[text.index("4 stages in") :]
    assert "2 completed" in summary
    assert "left failed" in summary
    assert "RuntimeError: left was told to fail" in summary
    assert "last was skipped: needs left" in summary
    assert summary.strip().endswith("To go on from here: ./seedmask run --local")
    assert "data/right.txt" in mini.outputs()
    mini.set("left", "fail", "false")
    code, text = mini.run("run", "--local")
    assert code == 0
    assert "2 cached, 2 completed" in text


def add_meta(mini: MiniRepository, stage: str, meta: str) -> None:
    path = mini.root / "dvc.yaml"
    mark = f"    outs: [data/{stage}, data/{stage}.txt]"
    path.write_text(path.read_text().replace(mark, f"{mark}\n    meta: {meta}"))


def test_a_stage_that_fails_is_tried_again_as_often_as_its_meta_says(mini: MiniRepository) -> None:
    add_meta(mini, "first", "{retries: 2}")
    mini.set("first", "fail", "true")
    code, text = mini.run("run", "first", "--local")
    assert code == 1
    assert text.count("[first] first starts in") == 3
    assert "retry 2 of 2" in text
    assert text.count("[first] Failed") == 1


def test_a_stage_that_takes_longer_than_its_timeout_is_ended(mini: MiniRepository) -> None:
    add_meta(mini, "first", "{timeout: 6, owner: someone}")
    mini.set("first", "seconds", 100.0)
    code, text = mini.run("run", "first", "--local")
    assert code == 1
    assert "[first] Failed" in text
    assert "meta.timeout is 6.0 s" in text
    assert not mini.processes()


def test_meta_of_another_type_is_refused(mini: MiniRepository) -> None:
    add_meta(mini, "left", "{retries: often}")
    code, text = mini.run("run", "--local")
    assert code == 1
    assert "dvc.yaml: left: meta.retries" in text
    assert "'often'" in text


def test_status_shows_what_the_last_run_took(mini: MiniRepository) -> None:
    assert mini.run("run", "first", "--local")[0] == 0
    code, text = mini.run("status")
    assert code == 0
    row = next(line for line in text.splitlines() if " first " in line)
    assert "unchanged" in row
    assert re.search(r"\d\.\d s", row)


def test_a_typo_in_params_is_refused_before_any_work(mini: MiniRepository) -> None:
    path = mini.root / "params.yaml"
    path.write_text(path.read_text().replace("seconds: 0.1", "secnds: 0.1", 1))
    code, text = mini.run("run", "--local")
    assert code == 1
    assert "params.yaml: first.secnds: unknown key; did you mean 'seconds'?" in text
    assert not (mini.root / "data").exists()


def test_a_second_run_says_who_holds_the_workspace(mini: MiniRepository) -> None:
    mini.set("first", "seconds", 60.0)
    process = mini.start("run", "--local")
    await_line(mini, "starts in", "first")
    code, text = mini.run("run", "--local")
    assert code == 1
    assert f"another run holds this workspace (process {process.pid}" in text
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def test_a_second_run_waits_when_told_to(mini: MiniRepository) -> None:
    mini.set("first", "seconds", 3.0)
    first = mini.start("run", "first", "--local")
    await_line(mini, "starts in", "first")
    code, text = mini.run("run", "first", "--local", "--wait")
    assert code == 0
    assert f"(process {first.pid}" in text
    assert "waiting for its end" in text
    assert "Everything is up to date" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_stage_outlives_a_run_that_is_ended(
    mini: MiniRepository, number: signal.Signals
) -> None:
    mini.set("first", "seconds", 60.0)
    process = mini.start("run", "--local")
    await_line(mini, "starts in", "first")
    process.send_signal(number)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == {2: 130, 15: 143, 9: -9}[number], text
    assert_no_process_within(mini, 10)
    mini.set("first", "seconds", 0.1)
    assert mini.run("run", "--local")[0] == 0
    assert mini.outputs()["data/last.txt"] == EXPECTED


@pytest.mark.parametrize("victim", ["leash", "dvc", "stage"])
def test_no_stage_outlives_what_started_it(mini: MiniRepository, victim: str) -> None:
    mini.set("first", "seconds", 60.0)
    process = mini.start("run", "first", "--local")
    await_line(mini, "starts in", "first")
    words = {"leash": "leash.py", "dvc": "--wait-for-lock", "stage": "stages.first"}
    for found in mini.processes():
        command = found.cmdline()
        if words[victim] in " ".join(command) and (victim == "leash" or "-S" not in command):
            found.kill()
            break
    else:
        raise AssertionError(f"no {victim} is running")
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "first failed" in text
    assert_no_process_within(mini, 10)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_killed_at_a_random_moment_the_same_command_finishes_equally(
    mini: MiniRepository, seed: int
) -> None:
    process = mini.start("run", "--local")
    time.sleep(random.Random(seed).uniform(0.5, 4.0))
    for found in [psutil.Process(process.pid), *mini.processes()]:
        with suppress(psutil.NoSuchProcess):
            found.kill()
    process.wait(60)
    assert_no_process_within(mini, 10)
    code, text = mini.run("run", "--local")
    assert code == 0, text
    expected = {"first": "first 1\n", "left": "first 1\nleft 1\n", "right": "first 1\nright 1\n"}
    for name, content in {**expected, "last": EXPECTED}.items():
        assert mini.outputs()[f"data/{name}.txt"] == content
    assert len(mini.outputs()) == 4 * 6


@pytest.mark.parametrize("cut", ["", "cmd: python -m stages.left\n"])
def test_a_record_that_dvc_did_not_finish_is_made_again(made: MiniRepository, cut: str) -> None:
    (made.root / "dvc.lock").unlink()
    shutil.rmtree(made.root / "data")
    records = list((made.root / ".dvc/cache/runs").glob("*/*/*"))
    assert len(records) == 4
    for record in records:
        if cut:
            record.with_name(".Zx1.tmp").write_text(cut)
        record.unlink()
    code, text = made.run("run", "--local")
    assert code == 0, text
    assert "4 completed" in text
    assert made.outputs()["data/last.txt"] == EXPECTED


@pytest.mark.parametrize("left", [0, 200])
def test_a_lock_file_that_a_killed_run_cut_short_is_mended(made: MiniRepository, left: int) -> None:
    path = made.root / "dvc.lock"
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    code, text = made.run("run", "--local")
    assert code == 1, "no run was killed: it is not ours to mend"
    assert "dvc.lock" in text
    (made.root / ".seedmask/dvc.lock").write_bytes(b"")  # as a killed first run leaves it
    code, text = made.run("run", "--local")
    assert code == 0, text
    assert "4 restored" in text
    assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines()), "in some order"
    path.write_bytes(whole[:left])
    (made.root / ".seedmask/dvc.lock").write_bytes(whole)  # as a killed second run leaves it
    code, text = made.run("run")
    assert code == 0, text
    assert "Everything is up to date" in text
    assert path.read_bytes() == whole
    assert not (made.root / ".seedmask/dvc.lock").exists()


def test_records_in_a_shared_cache_are_given_time(tmp_path: Path) -> None:
    (tmp_path / "root/.dvc").mkdir(parents=True)
    (tmp_path / "root/.dvc/config").write_text(f"[cache]\n    dir = {tmp_path}/cache\n")
    young, old, whole = (tmp_path / "cache/runs/ab" / name for name in ("abc", "abd", "abe"))
    for folder in (young, old, whole):
        folder.mkdir(parents=True)
        (folder / ".Zx1.tmp").touch()
    (whole / "f00").touch()
    for folder in (old, whole):
        os.utime(folder, (1, 1))
    drop_unfinished_records(tmp_path / "root")
    assert young.is_dir()
    assert not old.exists()
    assert [path.name for path in whole.iterdir()] == ["f00"]


def test_locks_of_the_dead_are_dropped_and_those_of_the_living_kept(tmp_path: Path) -> None:
    path = tmp_path / "rwlock"
    path.write_text('{"read": {"a": [{"pid": 1, "cmd": "dvc repro"}]}, "write": {}}')
    drop_dead_locks(path)
    assert not path.exists(), "process 1 is no DVC"
    path.write_text('{"read": {"a": [{"p')
    drop_dead_locks(path)
    assert not path.exists(), "cut short"
    script = tmp_path / "dvc.py"
    script.write_text("import time; print(flush=True); time.sleep(60)")
    dvc = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE)
    try:
        assert dvc.stdout is not None
        dvc.stdout.readline()  # for a moment after its start a process has no command line to read
        path.write_text(f'{{"write": {{"a": {{"pid": {dvc.pid}, "cmd": "dvc repro"}}}}}}')
        drop_dead_locks(path)
        assert path.exists()
    finally:
        dvc.kill()
        dvc.communicate()


def test_without_a_terminal_a_stage_says_how_far_it_is(mini: MiniRepository) -> None:
    mini.set("first", "seconds", 6.0)
    code, text = mini.run("run", "first", "--local")
    assert code == 0, text
    assert re.search(r"^\[first\] first: 2 of 5 parts, 0\.\d+/s, \d s left$", text, re.MULTILINE)
    assert re.search(r"^\[first\] first: 5 of 5 parts in \d+ s$", text, re.MULTILINE)


def test_status_says_which_stage_runs_and_how_far_it_is(mini: MiniRepository) -> None:
    mini.set("first", "seconds", 50.0)
    process = mini.start("run", "first", "--local")
    await_line(mini, "1 of 5 parts", "first")
    code, text = mini.run("status", "first")
    assert code == 0
    assert re.search(r"first .* running .* [12] of 5 parts, 0\.\d+/s, \d+ s left", text), text
    process.kill()
    process.wait()
    assert_no_process_within(mini, 10)
    code, text = mini.run("status", "first")
    assert "running" not in text
    assert "must run" in text


def test_on_a_terminal_each_running_stage_has_a_bar_below_what_is_printed(
    mini: MiniRepository,
) -> None:
    mini.run("run", "first", "--local")
    for name in ("left", "right"):
        mini.set(name, "seconds", 8.0)
    code, screen = mini.run_on_terminal("run", "left", "right", "--local")
    assert code == 0
    rows = [re.findall(r"(left|right) +\S+ +([1-5]) of 5 parts, 0\.\d+/s", row) for row in screen]
    shown = {pair for row in rows for pair in row}
    assert {name for name, _ in shown} == {"left", "right"}
    assert len(shown) >= 6, "the bars move"
    for name in ("left", "right"):
        assert any(row.startswith(f"[{name}] {name} starts in") for row in screen)
        assert not any(row.startswith(f"[{name}] {name}: ") for row in screen), "the bar says it"
        log = (mini.root / ".seedmask/logs" / f"{name}.log").read_text()
        assert f"{name}: 3 of 5 parts, " in log


def edited(mini: MiniRepository, value: int) -> str:
    return (mini.root / "params.yaml").read_text().replace("value: 1", f"value: {value}", 1)


def test_numbers_of_one_run_go_with_it(mini: MiniRepository) -> None:
    path = mini.root / "params.yaml"
    before = path.read_bytes()
    with suppress(RuntimeError), holding_workspace(mini.root):
        lend_params(mini.root, edited(mini, 7))
        assert b"value: 7" in path.read_bytes()
        raise RuntimeError
    assert path.read_bytes() == before


#: Takes numbers of its own and is killed after so many of the files that this writes.
KILLED = """
import os, sys
from pathlib import Path
from pipelines.run import workspace
from stages.engine.files import write_bytes
left = int(sys.argv[1])
def write(path, content):
    global left
    if not left:
        os._exit(9)
    left -= 1
    write_bytes(path, content)
with workspace.holding_workspace(Path()):
    workspace.write_bytes = write
    workspace.lend_params(Path(), Path("params.yaml").read_text().replace("value: 1", "value: 7"))
    os._exit(9)
"""


def test_numbers_of_a_killed_run_go_when_the_next_begins(mini: MiniRepository) -> None:
    path = mini.root / "params.yaml"
    before = path.read_bytes()
    for writes in range(4):
        command = [sys.executable, "-c", KILLED, str(writes)]
        assert subprocess.run(command, cwd=mini.root, check=False).returncode == 9
        assert (path.read_bytes() != before) == (writes == 3)
        with holding_workspace(mini.root):
            assert path.read_bytes() == before


def test_an_edit_during_a_run_with_numbers_of_its_own_stays(
    mini: MiniRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    path = mini.root / "params.yaml"
    with holding_workspace(mini.root):
        lend_params(mini.root, edited(mini, 7))
        path.write_text(edited(mini, 8).replace("fail: false", "fail: true"))
        after = path.read_bytes()
    assert path.read_bytes() == after
    assert "was edited during a run with numbers of its own" in capsys.readouterr().out
    with holding_workspace(mini.root):
        assert path.read_bytes() == after
