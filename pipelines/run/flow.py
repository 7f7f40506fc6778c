"""The graph as a Prefect flow: one task run per DVC stage, derived from DVC's own graph.

Prefect keeps no results: DVC alone decides what is up to date, two caches would disagree.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State as PrefectState
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from pipelines.graph.plan import Plan, Step
from pipelines.graph.presets import preset_text
from pipelines.graph.result import Ending, Result
from pipelines.run.artifacts import publish
from pipelines.run.rebuild import rebuild
from pipelines.run.runner import Runner
from pipelines.run.schedule import Limits, Schedule, skipped
from pipelines.run.workspace import lend_params

#: Prefect refuses another form at once, before a worker takes the run up.
Override = Annotated[str, Field(pattern=r"^\w+\.\w+=")]
#: Which stages run is the schedule's affair; a thread too few would only delay it.
THREADS: Any = ThreadPoolTaskRunner(max_workers=64)


@flow(name="seedmask", task_runner=THREADS, persist_result=False, validate_parameters=True)
def seedmask(
    target: list[str] | None = None,
    preset: str = "",
    overrides: list[Override] | None = None,
    jobs: int | None = None,
    wait: bool = True,
    pull: bool = False,
) -> PrefectState[Any]:
    """Bring the graph in the current folder up to date.

    Args:
        target: stages, with all they depend on; none: the whole graph.
        preset: a file in presets/ to write params.yaml from; empty: params.yaml as it is.
        overrides: section.key=value, on top of the preset, or of params.yaml as it is. These two
            hold for this run; at its end params.yaml is as it was before.
        jobs: stages at once.
        wait: for another run in the same folder; else that is an error.
        pull: from DVC's remote what it has, instead of making it.

    Raises:
        InputError: as `rebuild` and `preset_text`.
    """
    root, targets = Path(), target or []
    has_own_numbers = bool(preset or overrides)

    def prepare() -> None:
        if has_own_numbers:
            lend_params(root, preset_text(root, preset, overrides or [])[0])

    resume = " ".join(["./seedmask run", *targets])
    if has_own_numbers:
        resume = "the same deployment run, with the same parameters"
    rebuilt = rebuild(
        root,
        targets,
        run_tasks,
        jobs=jobs,
        wait=wait,
        pull=pull,
        resume=resume,
        prepare=prepare,
        publish=partial(publish, root),
    )
    if rebuilt.missing:
        return Failed(message=f"not made: {', '.join(rebuilt.missing)}. To go on: {resume}")
    return Completed(message=f"{len(rebuilt.plan.steps)} stages are up to date")


def run_tasks(
    plan: Plan, runner: Runner, limits: Limits, done: Callable[[Result], None]
) -> dict[str, Result]:
    """Run a plan as tasks of the present flow run; arguments and results as `run_local`.

    What the stages print goes to the logs of their task runs.
    """
    schedule = Schedule(plan, limits)
    results: dict[str, Result] = {}
    ended: SimpleQueue[str] = SimpleQueue()

    @task(cache_policy=NO_CACHE, persist_result=False)
    def stage(step: Step, reason: str) -> PrefectState[str]:
        log = get_run_logger().info
        results[step.name] = skipped(step, reason) if reason else runner.execute(step, log)
        return _state_of(results[step.name])

    futures: dict[str, PrefectFuture[PrefectState[str]]] = {}
    while not schedule.is_over:
        for step, reason in schedule.start():
            named = stage.with_options(name=step.name.split("@")[0], task_run_name=step.name)
            above = [] if reason else [futures[name] for name in step.upstream]
            future = named.submit(step, reason, return_state=False, wait_for=above)
            future.add_done_callback(partial(_put, ended, step.name))
            futures[step.name] = future
        name = ended.get()
        if name not in results:  # Prefect itself came to grief
            state = futures[name].state
            results[name] = Result(name, Ending.FAILED, reason=f"{state.name}: {state.message}")
        schedule.end(results[name])
        done(results[name])
    return {step.name: schedule.results[step.name] for step in plan.steps}


def _put(ended: SimpleQueue[str], name: str, _: object) -> None:
    ended.put(name)


def _state_of(result: Result) -> PrefectState[str]:
    if result.is_good:
        unchanged = "" if result.ending is Ending.COMPLETED else "DVC: unchanged"
        message = result.reason or unchanged
        return Completed(name=result.ending.value, message=message, data=result.name)
    if result.ending is Ending.STOPPED:
        return Cancelled(message=f"stopped by {result.reason}")
    if result.ending is Ending.SKIPPED:
        return Cancelled(name="Skipped", message=result.reason)
    return Failed(name="Failed", message="\n".join([result.reason, *result.tail[-2:]]))
