"""Which stage starts next: of those that may, the one with the longest chain below it.

Pure bookkeeping, so that the local run and the Prefect flow order stages alike.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.graph.plan import Plan, State, Step
from pipelines.graph.result import Ending, Result
from stages.engine.environment import read_count


@dataclass(frozen=True)
class Limits:
    """How many stages run at once.

    Attributes:
        jobs: all together.
        marked: those that carry a mark in dvc.yaml's `meta`, by mark; a mark that is not here
            limits nothing.
    """

    jobs: int
    marked: Mapping[str, int]


def default_limits(jobs: int | None = None) -> Limits:
    """`jobs`, else SEEDMASK_JOBS, else 2; one `heavy` stage; one `gpu` stage for each GPU.

    Without a GPU, `gpu` stages compute on the CPU and are not limited.

    Raises:
        InputError: SEEDMASK_JOBS or SEEDMASK_HEAVY is no number.
    """
    jobs = jobs or read_count("SEEDMASK_JOBS", 2)
    heavy = {"heavy": read_count("SEEDMASK_HEAVY", 1)}
    gpus = _gpus()
    return Limits(jobs, heavy | ({"gpu": gpus} if gpus else {}))


def _gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([part for part in visible.split(",") if part.strip() not in ("", "-1")])
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


class Schedule:
    """A run's stages: waiting, running or ended."""

    def __init__(self, plan: Plan, limits: Limits) -> None:
        self.limits = limits
        self.results: dict[str, Result] = {}
        below = plan.stages_below()
        self._waiting = sorted(plan.steps, key=lambda step: -below[step.name])
        self._running: dict[str, Step] = {}

    @property
    def is_over(self) -> bool:
        """Whether every stage has ended."""
        return not self._waiting and not self._running

    def start(self) -> Iterator[tuple[Step, str]]:
        """The stages that start now, from here on running; the text says why one is skipped."""
        for step in list(self._waiting):
            above = [self.results.get(name) for name in step.upstream]
            if any(result is None for result in above):
                continue
            bad = [result.name for result in above if result and not result.is_good]
            if not bad and not self._has_room(step):
                continue
            self._waiting.remove(step)
            self._running[step.name] = step
            yield step, f"needs {bad[0]}" if bad else ""

    def end(self, result: Result) -> None:
        """Note how a running stage ended."""
        del self._running[result.name]
        self.results[result.name] = result

    def _has_room(self, step: Step) -> bool:
        if step.state in (State.UNCHANGED, State.BLOCKED):  # nothing is started
            return True
        busy = [step for step in self._running.values() if step.state is not State.UNCHANGED]
        if len(busy) >= self.limits.jobs:
            return False
        marks = Counter(mark for step in busy for mark in step.meta.marks)
        room = self.limits.marked
        return all(marks[mark] < room.get(mark, marks[mark] + 1) for mark in step.meta.marks)


def skipped(step: Step, reason: str) -> Result:
    """The result of a stage that something above keeps from running."""
    return Result(step.name, Ending.SKIPPED, reason=reason)
