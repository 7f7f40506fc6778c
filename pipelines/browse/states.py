"""Where each stage of the workspace stands: what a run would do with it, what runs, what failed."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipelines.browse.text import when
from pipelines.graph.journal import last_failure
from pipelines.graph.plan import State, make_plan
from pipelines.run.progress import running_stages

#: What a dot of the graph means, in the order of the legend.
MEANINGS = {
    "running": "runs now",
    "failed": "its last run failed",
    State.UNCHANGED: "up to date",
    State.RESTORABLE: "made before; a run takes it from DVC's cache",
    State.MUST_RUN: "the next run makes it",
    State.WAITING: "the next run makes it, if what it reads changes",
    State.BLOCKED: "lacks a file that no stage makes",
    State.LEFT_OUT: "of no use here: the data set has nothing for it",
}


@dataclass(frozen=True)
class Standing:
    """One stage of the workspace.

    Attributes:
        name: as DVC addresses it.
        state: a key of `MEANINGS`.
        reason: why, in a few words.
    """

    name: str
    state: str
    reason: str


def standings(root: Path) -> list[Standing]:
    """Every stage that dvc.yaml declares; asks DVC, which takes about a second.

    Raises:
        InputError: as `make_plan`.
    """
    rows = []
    for step in make_plan(root).steps:
        state, reason = str(step.state), step.reason
        failure = last_failure(root, step.name)
        if failure and step.state in (State.MUST_RUN, State.WAITING):  # else it is mended
            ended = when(datetime.fromisoformat(failure.began))
            state, reason = "failed", f"{failure.reason}, {ended}; {reason}"
        rows.append(Standing(step.name, state, reason))
    return rows


def activity(root: Path) -> dict[str, object]:
    """What runs now, and a stamp that changes when dvc.lock does; cheap enough for every second."""
    try:
        recorded = (root / "dvc.lock").stat().st_mtime_ns
    except OSError:
        recorded = 0
    working = running_stages(root)
    return {
        "running": {name: str(progress) for name, progress in working.items()},
        "recorded": str(recorded),  # more digits than a number of JavaScript has
    }
