"""Room on the disk: enough for a run, and what to say when there is none."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from pipelines.graph.objects import cache_folder
from pipelines.graph.plan import Plan, State
from pipelines.graph.revisions import read_revision
from stages.engine.errors import InputError

LEAST = 100e6  # bytes; what any run may need
NOTHING = 1e6  # bytes; with less left, that is why something failed
#: How the system, and SQLite, in which DVC keeps its notes, say that a disk is full.
FULL = ("No space left on device", "Disk quota exceeded", "database or disk is full")
MAKE_ROOM = "`./seedmask memo gc --days 7` or `dvc gc --workspace` makes room"


def lacking_room(root: Path, plan: Plan) -> str:
    """One line when a run of `plan` would fill a disk; else empty.

    A stage needs as much as its outputs took last time; of one that never ran nothing is known.
    """
    try:
        recorded = read_revision(root).stages
    except InputError:
        recorded = {}
    sizes = [
        recorded[step.name].size
        for step in plan.steps
        if step.state in (State.MUST_RUN, State.WAITING) and step.name in recorded
    ]
    needed = max(LEAST, sum(sizes))
    for folder in (root, cache_folder(root)):
        free = _free(folder)
        if plan.pending and free < needed:
            room = f"{free / 1e6:.0f} MB free, and the run may need {needed / 1e6:.0f} MB"
            return f"{folder.resolve()}: {room}; {MAKE_ROOM}"
    return ""


def full_disk(root: Path, lines: Iterable[str]) -> str:
    """One line when something failed because a disk is full; else empty.

    Args:
        root: the repository.
        lines: the last that was printed; DVC sometimes gives another reason.
    """
    folder = min((root, cache_folder(root)), key=_free)
    free = _free(folder)
    if free > NOTHING and not any(text in line for line in lines for text in FULL):
        return ""
    return f"The disk is full: {folder.resolve()} has {free / 1e6:.1f} MB free; {MAKE_ROOM}"


def _free(folder: Path) -> int:
    """Bytes on the disk of `folder`, which need not be there yet."""
    there = folder.resolve()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free
