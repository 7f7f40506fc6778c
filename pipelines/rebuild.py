"""Bring the graph up to date: plan, check the parameters, run, say how it went."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.params import check_sections, check_values
from pipelines.plan import Plan, make_plan
from pipelines.progress import showing_bars
from pipelines.result import Result
from pipelines.run import Runner, stopping_on_signals
from pipelines.schedule import Limits, default_limits
from pipelines.summary import print_ladder, print_result, print_summary
from pipelines.workspace import holding_workspace

Engine = Callable[[Plan, Runner, Limits, Callable[[Result], None]], Mapping[str, Result]]


@dataclass(frozen=True)
class Rebuilt:
    """What a run planned and what came of it; no results when there was nothing to do."""

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
        InputError: a target, dvc.yaml or params.yaml is wrong, or another run holds the workspace.
    """
    began = time.monotonic()
    with holding_workspace(root, wait=wait):
        prepare()
        sections = check_sections(root)
        plan = make_plan(root, targets)
        if not plan.pending:
            print(f"Everything is up to date: {len(plan.steps)} stages unchanged.")
            print_ladder(root, plan)
            publish(plan)
            return Rebuilt(plan, {})
        check_values(sections, Path("params.yaml"))
        runner = Runner(root, pull=pull)
        with stopping_on_signals(runner), showing_bars(root, runner.running):
            results = engine(plan, runner, default_limits(jobs), print_result)
        publish(plan)
    print_summary(root, plan, results, time.monotonic() - began, resume)
    return Rebuilt(plan, results)
