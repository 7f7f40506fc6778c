"""The graph as a Prefect flow: one task run per DVC stage, derived from DVC's own graph.

Prefect keeps no results: DVC alone decides what is up to date, two caches would disagree.
"""

from collections.abc import Callable
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State as PrefectState
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from pipelines.plan import Plan, Step
from pipelines.run import Outcome, Result, Runner


def run_flow(
    plan: Plan, runner: Runner, jobs: int, done: Callable[[Result], None]
) -> dict[str, Result]:
    """Run a plan as a Prefect flow; arguments and results as `pipelines.run.run_local`.

    What the stages print goes to the logs of their task runs.
    """
    results: dict[str, Result] = {}
    threads: Any = ThreadPoolTaskRunner(max_workers=jobs)  # Prefect's own types disagree on it

    def finish(result: Result) -> None:
        results[result.name] = result
        done(result)

    @task(cache_policy=NO_CACHE, persist_result=False)
    def stage(step: Step) -> PrefectState[str]:
        result = runner.execute(step, get_run_logger().info)
        finish(result)
        return _state_of(result)

    @flow(name="seedmask", task_runner=threads, persist_result=False)
    def graph() -> PrefectState[str]:
        futures: dict[str, PrefectFuture[PrefectState[str]]] = {}
        for step in plan.steps:
            named = stage.with_options(name=step.name.split("@")[0], task_run_name=step.name)
            above = [futures[name] for name in step.upstream]
            futures[step.name] = named.submit(step, return_state=False, wait_for=above)
        for step in plan.steps:
            futures[step.name].wait()
            if step.name not in results:  # Prefect leaves it NotReady when one above it failed
                bad = [name for name in step.upstream if not results[name].is_good]
                reason = f"needs {bad[0]}" if bad else str(futures[step.name].state.message)
                finish(Result(step.name, Outcome.SKIPPED, reason=reason))
        failed = [name for name, result in results.items() if not result.is_good]
        if failed:
            return Failed(message=f"not made: {', '.join(failed)}")
        return Completed(message=f"{len(results)} stages are up to date")

    end = graph(return_state=True)
    for step in plan.steps:
        if step.name not in results:  # Prefect itself came to grief
            finish(Result(step.name, Outcome.SKIPPED, reason=f"flow {end.name}: {end.message}"))
    return {step.name: results[step.name] for step in plan.steps}


def _state_of(result: Result) -> PrefectState[str]:
    if result.is_good:
        message = "" if result.outcome is Outcome.COMPLETED else "DVC: unchanged"
        return Completed(name=result.outcome.value, message=message, data=result.name)
    name = "Failed" if result.outcome is Outcome.FAILED else "Skipped"
    return Failed(name=name, message="\n".join([result.reason, *result.tail[-2:]]))
