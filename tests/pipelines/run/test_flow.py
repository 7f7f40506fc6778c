"""The flow and its deployments on a real server; the rest of a run is tested without Prefect."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from tests.pipelines.mini_repository import HERE, MiniRepository
from tests.pipelines.prefect_server import PREFECT, Server, await_true


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("prefect"))
    yield started
    started.stop()


@pytest.fixture(autouse=True)
def _uses_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


def is_at_work(mini: MiniRepository, stage: str) -> bool:
    for process in mini.processes():
        with suppress(psutil.NoSuchProcess):
            if f"stages.{stage}" in " ".join(process.cmdline()):
                return True
    return False


def has_server(mini: MiniRepository) -> bool:
    for process in mini.processes():
        with suppress(psutil.NoSuchProcess):
            if "uvicorn" in process.cmdline():
                return True
    return False


def prefect(mini: MiniRepository, *arguments: str) -> str:
    done = subprocess.run(
        [*PREFECT, *arguments],
        cwd=mini.root,
        env=os.environ | {"PWD": str(mini.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_one_task_run_per_stage_with_its_name_and_state(
    mini: MiniRepository, server: Server
) -> None:
    assert mini.run("run", "first", "right", "--local")[0] == 0
    mini.set("left", "fail", "true")
    code, text = mini.run("run")
    assert code == 1
    assert "last was skipped: needs left" in text
    assert "To go on from here: ./seedmask run" in text
    assert {run["name"]: run["state_name"] for run in server.find("task_runs")} == {
        "first": "Cached",
        "left": "Failed",
        "right": "Cached",
        "last": "Skipped",
    }
    (flow_run,) = server.find("flow_runs")
    assert flow_run["state_name"] == "Failed"
    assert "not made: left, last" in flow_run["state"]["message"]
    lines = [entry["message"] for entry in server.find("logs")]
    assert any("left starts in" in line for line in lines)

    mini.set("left", "fail", "false")
    code, text = mini.run("run")
    assert (code, text.count("] Completed in")) == (0, 2)


def test_what_prefect_logs_stands_above_the_bars(mini: MiniRepository, server: Server) -> None:
    mini.set("first", "seconds", 6.0)
    code, screen = mini.run_on_terminal("run", "first")
    assert code == 0, screen
    assert any(
        re.search(r"^first +\S+ +2 of 5 parts, .* left \(\d+ s so far\)", row) for row in screen
    )
    assert any(re.search(r"^\S+ \| INFO .* first starts in \d+ *$", row) for row in screen)
    assert not any("so far)" in row and "INFO" in row for row in screen)
    assert not any("INFO" in row and "2 of 5 parts" in row for row in screen), "the bar says it"
    lines = [entry["message"] for entry in server.find("logs")]
    assert any(line.startswith("first: 2 of 5 parts, ") for line in lines)


def test_what_is_up_to_date_needs_no_server(
    made: MiniRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    code, text = made.run("run")
    assert code == 0
    assert "Everything is up to date" in text


def test_a_wrong_target_is_one_line_also_under_prefect(mini: MiniRepository) -> None:
    code, text = mini.run("run", "lats")
    assert code == 1
    assert text.strip() == "dvc.yaml: no stage 'lats'; did you mean 'last'?"


def test_deployments_are_scheduled_run_by_a_worker_and_cancelled(
    mini: MiniRepository, server: Server
) -> None:
    shutil.copy(HERE / "prefect.yaml", mini.root)
    prefect(mini, "work-pool", "create", "seedmask", "--type", "process")
    prefect(mini, "--no-prompt", "deploy", "--all")
    names = {each["name"]: each["id"] for each in server.find("deployments")}
    listed = re.findall(r"^  - name: (\S+)$", (HERE / "prefect.yaml").read_text(), re.M)
    assert sorted(names) == sorted(listed)

    def scheduled() -> set[str]:
        runs = server.find("flow_runs", flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}})
        return {run["deployment_id"] for run in runs}

    await_true(lambda: names["masks"] in scheduled(), 60)

    def run(*parameters: str) -> str:
        options = [word for each in parameters for word in ("--param", each)]
        said = prefect(mini, "deployment", "run", "seedmask/on-demand", *options)
        found = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", said)
        assert found is not None
        return found[0]

    worker = subprocess.Popen(
        [*PREFECT, "worker", "start", "--pool", "seedmask", "--type", "process"],
        cwd=mini.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        params = mini.root / "params.yaml"
        shared = params.read_bytes()
        first = run('target=["left"]', 'overrides=["left.value=7"]')
        await_true(lambda: server.run_state(first) not in ("SCHEDULED", "PENDING", "RUNNING"), 120)
        assert server.run_state(first) == "COMPLETED"
        assert mini.outputs()["data/left.txt"] == "first 1\nleft 7\n"
        assert params.read_bytes() == shared

        second = run('target=["right"]', "preset=slow", 'overrides=["right.seconds=300"]')
        await_true(lambda: is_at_work(mini, "right"), 120)
        assert params.read_bytes() != shared
        prefect(mini, "flow-run", "cancel", second)
        await_true(lambda: server.run_state(second) == "CANCELLED", 60)
        await_true(lambda: not is_at_work(mini, "right"), 30)
        assert params.read_bytes() == shared
        chosen = {"id": {"any_": [second]}}
        states = {each["name"]: each for each in server.find("task_runs", flow_runs=chosen)}
        assert states["right"]["state_name"] == "Cancelled"

        with pytest.raises(AssertionError, match="overrides"):
            run('overrides=["left=7"]')
    finally:
        worker.kill()  # told to terminate, it may wait for ever for a run that was cancelled
        worker.wait()


@pytest.mark.parametrize("moment", ["while the server starts", "while a stage runs"])
def test_a_run_that_is_told_to_end_takes_its_temporary_server_along(
    mini: MiniRepository, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.delenv("PREFECT_API_URL")
    mini.set("first", "seconds", 300.0)
    process = mini.start("run")
    await_true(lambda: has_server(mini), 120)
    if moment == "while a stage runs":
        await_true(lambda: is_at_work(mini, "first"), 120)
    process.terminate()
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 143, text
    await_true(lambda: not mini.processes(), 10)
