"""The graph as a Prefect flow: one task run per DVC stage, derived from DVC's own graph.

Prefect keeps no results: DVC alone decides what is up to date, two caches would disagree.
"""

from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State as PrefectState
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from pipelines.plan import Plan, Step
from pipelines.result import Outcome, Result
from pipelines.run import Runner
from pipelines.schedule import Limits, Schedule, skipped

Future = PrefectFuture[PrefectState[str]]


def run_flow(
    plan: Plan, runner: Runner, limits: Limits, done: Callable[[Result], None]
) -> dict[str, Result]:
    """Run a plan as a Prefect flow; arguments and results as `pipelines.run.run_local`.

    What the stages print goes to the logs of their task runs.
    """
    schedule = Schedule(plan, limits)
    # The schedule says how many run; a thread more for each mark that ends at once.
    threads: Any = ThreadPoolTaskRunner(max_workers=limits.jobs + 4)

    @task(cache_policy=NO_CACHE, persist_result=False)
    def stage(step: Step, reason: str) -> PrefectState[str]:
        result = skipped(step, reason) if reason else runner.execute(step, get_run_logger().info)
        made[step.name] = result
        return _state_of(result)

    made: dict[str, Result] = {}
    ended: SimpleQueue[str] = SimpleQueue()

    @flow(name="seedmask", task_runner=threads, persist_result=False)
    def graph() -> PrefectState[str]:
        futures: dict[str, Future] = {}
        while not schedule.is_over:
            for step, reason in schedule.start():
                named = stage.with_options(name=step.name.split("@")[0], task_run_name=step.name)
                above = [] if reason else [futures[name] for name in step.upstream]
                future = named.submit(step, reason, return_state=False, wait_for=above)
                future.add_done_callback(partial(_put, ended, step.name))
                futures[step.name] = future
            name = ended.get()
            state = futures[name].state
            result = made.get(name) or Result(
                name, Outcome.FAILED, reason=f"{state.name}: {state.message}"
            )
            schedule.end(result)
            done(result)
        failed = [name for name, result in schedule.results.items() if not result.is_good]
        if failed:
            return Failed(message=f"not made: {', '.join(failed)}")
        return Completed(message=f"{len(plan.steps)} stages are up to date")

    end = graph(return_state=True)
    for step in plan.steps:
        if step.name not in schedule.results:  # Prefect itself came to grief
            result = skipped(step, f"flow {end.name}: {end.message}")
            schedule.results[step.name] = result
            done(result)
    return {step.name: schedule.results[step.name] for step in plan.steps}


def _put(ended: SimpleQueue[str], name: str, _: object) -> None:
    ended.put(name)


def _state_of(result: Result) -> PrefectState[str]:
    if result.is_good:
        message = "" if result.outcome is Outcome.COMPLETED else "DVC: unchanged"
        return Completed(name=result.outcome.value, message=message, data=result.name)
    if result.outcome is Outcome.SKIPPED:
        return Cancelled(name="Skipped", message=result.reason)
    return Failed(name="Failed", message="\n".join([result.reason, *result.tail[-2:]]))
