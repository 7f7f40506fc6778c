"""Bring the graph up to date: plan, check the parameters, run, say how it went."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.graph.needs import leave_out
from pipelines.graph.params import check_params
from pipelines.graph.plan import Plan, State, make_plan, resolve_targets
from pipelines.graph.result import Ending, Result
from pipelines.run.disk import lacking_room
from pipelines.run.progress import showing_bars
from pipelines.run.runner import Runner, stopping_on_signals
from pipelines.run.schedule import Limits, default_limits
from pipelines.run.summary import (
    print_blocked,
    print_left_out,
    print_made,
    print_result,
    print_summary,
)
from pipelines.run.workspace import holding_workspace
from stages.engine.errors import InputError

Engine = Callable[[Plan, Runner, Limits, Callable[[Result], None]], Mapping[str, Result]]


@dataclass(frozen=True)
class Rebuilt:
    """What a run planned and what came of it; no results when there was nothing to do.

    The plan is without the stages that were left out.
    """

    plan: Plan
    results: Mapping[str, Result]

    @property
    def missing(self) -> list[str]:
        """The stages that were not made."""
        return [name for name, result in self.results.items() if not result.is_good]


def rebuild(
    root: Path,
    targets: Sequence[str],
    engine: Engine,
    *,
    jobs: int | None,
    wait: bool,
    pull: bool,
    resume: str,
    prepare: Callable[[], object] = lambda: None,
    publish: Callable[[Plan], object] = lambda plan: None,
) -> Rebuilt:
    """Run what must run, and print it.

    Args:
        root: the repository.
        targets: as `make_plan`.
        engine: runs a plan that is not empty: `run_local`, or Prefect tasks.
        jobs: stages at once; None is the default.
        wait: for another run in this workspace.
        pull: from DVC's remote what it has, instead of making it.
        resume: the command that goes on after a failure.
        prepare: is called before anything is read, when no other run can be in the way.
        publish: is called at the end, when params.yaml is still that of this run.

    Raises:
        InputError: a target, dvc.yaml, dvc.lock, params.yaml or a variable is wrong, another run
            holds the workspace, its disk is too full, or all that was asked for needs what is
            not there, such as labels of a kind that the data set does not have.
    """
    began = time.monotonic()
    with holding_workspace(root, wait=wait):
        prepare()
        check_params(root)
        limits = default_limits(jobs)
        whole = make_plan(root, targets)
        asked = resolve_targets(targets, list(whole.by_name)) if targets else []
        left_out = {step.name: step.reason for step in whole.steps if step.state is State.LEFT_OUT}
        _refuse_of_no_use(asked, left_out)
        for name in left_out:
            leave_out(root, whole.by_name[name].outs)
        plan = whole.without(left_out)
        if not plan.pending:
            print_left_out(left_out)
            print(f"Everything is up to date: {len(plan.steps)} stages unchanged.")
            print_made(root, plan)
            publish(plan)
            return Rebuilt(plan, {})
        if lacking := lacking_room(root, plan):
            raise InputError(lacking)
        print_blocked(plan)
        runner = Runner(root, pull=pull)
        with stopping_on_signals(runner), showing_bars(root, runner.running):
            results = engine(plan, runner, limits, print_result)
        left_out |= {
            name: result.reason
            for name, result in results.items()
            if result.ending is Ending.LEFT_OUT
        }
        plan = whole.without(left_out)
        publish(plan)
    if not any(result.ending is Ending.FAILED for result in results.values()):
        _refuse_of_no_use(asked, left_out)
    print_left_out(left_out)
    print_summary(root, plan, results, time.monotonic() - began, resume)
    return Rebuilt(plan, results)


def _refuse_of_no_use(asked: Sequence[str], left_out: Mapping[str, str]) -> None:
    if asked and left_out.keys() >= set(asked):
        reasons = ", ".join(dict.fromkeys(left_out[name] for name in asked))
        raise InputError(f"{', '.join(asked)}: cannot be made, as {reasons}")
