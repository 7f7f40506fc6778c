"""The Prefect flow on a server of its own; the rest of the behaviour is tested without Prefect."""

import os
from collections.abc import Iterator

import pytest

from pipelines.plan import make_plan
from pipelines.result import Outcome, Result
from pipelines.run import Runner
from pipelines.schedule import Limits
from tests.pipelines.mini_repository import MiniRepository

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=400):
        yield


@pytest.mark.usefixtures("server")
def test_one_task_run_per_stage_with_its_name_and_state(mini: MiniRepository) -> None:
    from prefect.client.orchestration import get_client

    from pipelines.flow import run_flow

    assert mini.run("run", "first", "right", "--local")[0] == 0
    mini.set("left", "fail", "true")
    ended: list[Result] = []
    results = run_flow(make_plan(mini.root), Runner(mini.root), Limits(2, {}), ended.append)

    assert {name: result.outcome for name, result in results.items()} == {
        "first": Outcome.CACHED,
        "left": Outcome.FAILED,
        "right": Outcome.CACHED,
        "last": Outcome.SKIPPED,
    }
    assert results["last"].reason == "needs left"
    assert {result.name for result in ended} == set(mini.graph)
    with get_client(sync_client=True) as client:
        states = {run.name: run.state_name for run in client.read_task_runs()}
        flows = [run.state_name for run in client.read_flow_runs()]
    assert states == {"first": "Cached", "left": "Failed", "right": "Cached", "last": "Skipped"}
    assert flows == ["Failed"]


@pytest.mark.usefixtures("server")
def test_a_flow_that_goes_through_is_completed(mini: MiniRepository) -> None:
    from pipelines.flow import run_flow

    results = run_flow(make_plan(mini.root), Runner(mini.root), Limits(2, {}), lambda result: None)
    assert {result.outcome for result in results.values()} == {Outcome.COMPLETED}
    assert not make_plan(mini.root).pending
