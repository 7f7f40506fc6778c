"""What happened whenever `pipelines run` made or restored a stage, or failed to.

.seedmask/runs/<stage>.jsonl, one line a run, the last at the end; safe to delete.
"""

import json
import math
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipelines.graph.result import Ending, Result
from pipelines.graph.revisions import read_revision
from stages.engine.errors import InputError
from stages.engine.files import write_bytes

FOLDER = Path(".seedmask/runs")
KEPT = 20  # lines a stage
PATIENCE = 2.0  # seconds for another stage's DVC to have written dvc.lock


@dataclass(frozen=True)
class Code:
    """What the repository was when a run began.

    Attributes:
        commit: full hash of HEAD; None without one.
        modified: whether tracked files differed from it; dvc.lock and data/, which runs write,
            do not count.
    """

    commit: str | None
    modified: bool


@dataclass(frozen=True)
class Entry:
    """One run of a stage.

    Attributes:
        began: UTC, ISO 8601.
        seconds: wall time.
        ending: Completed, Restored or Failed.
        commit: as `Code`.
        modified: as `Code`.
        outs: DVC's hash by path, as dvc.lock had them afterwards; empty where it failed.
        reason: why it failed, in a few words.
        tail: the last lines it printed, when it failed.
    """

    began: str
    seconds: float
    ending: Ending
    commit: str | None
    modified: bool
    outs: Mapping[str, str]
    reason: str = ""
    tail: Sequence[str] = ()


def read_code(root: Path) -> Code:
    """Ask git, once."""
    done = subprocess.run(
        [
            *("git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "-uno"),
            *("--", ".", ":(exclude)dvc.lock", ":(exclude)data"),
        ],
        cwd=root,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    commit, modified = None, False
    for line in done.stdout.splitlines():
        if line.startswith("# branch.oid "):
            word = line.split()[-1]
            commit = None if word == "(initial)" else word
        elif not line.startswith("#"):
            modified = True
    return Code(commit, modified)


def keep_run(root: Path, result: Result, outs: Sequence[str], code: Code) -> None:
    """Note that a stage was made or restored just now, or failed; the oldest notes go.

    Args:
        root: the repository.
        result: Completed, Restored or Failed.
        outs: the paths of the stage's outputs.
        code: as it was when the run began.
    """
    began = datetime.now(UTC) - timedelta(seconds=result.seconds)
    entry = Entry(
        began.isoformat(timespec="milliseconds"),
        round(result.seconds, 2),
        result.ending,
        code.commit,
        code.modified,
        {} if result.ending is Ending.FAILED else _hashes(root, result.name, outs),
        result.reason,
        result.tail,
    )
    entries = [*read_runs(root, result.name), entry]
    recent = entries[-KEPT:]
    completed = [old for old in entries[:-KEPT] if old.ending is Ending.COMPLETED]
    if completed and not any(new.ending is Ending.COMPLETED for new in recent):
        recent[0] = completed[-1]  # restored ever since; how long it takes stays known
    lines = [json.dumps(asdict(entry)) + "\n" for entry in recent]
    write_bytes(_path(root, result.name), "".join(lines).encode())


def read_runs(root: Path, stage: str) -> list[Entry]:
    """What is known of a stage, the last run at the end; lines that are no entry are left out."""
    try:
        lines = _path(root, stage).read_text(errors="replace").splitlines()
    except OSError:
        return []
    return [entry for entry in map(_parse, lines) if entry is not None]


def last_seconds(root: Path, stage: str) -> float | None:
    """The wall time when the stage was last made here, not restored; None if it never was."""
    completed = [run for run in read_runs(root, stage) if run.ending is Ending.COMPLETED]
    return completed[-1].seconds if completed else None


def last_failure(root: Path, stage: str) -> Entry | None:
    """The last run of a stage, if it failed; one that was stopped did not."""
    last = next(reversed(read_runs(root, stage)), None)
    return last if last is not None and last.ending is Ending.FAILED else None


def _path(root: Path, stage: str) -> Path:
    return root / FOLDER / f"{stage}.jsonl"


def _parse(line: str) -> Entry | None:
    try:
        content = json.loads(line)
        entry = Entry(**(content | {"ending": Ending(content["ending"])}))
        began = datetime.fromisoformat(entry.began)
        is_sound = math.isfinite(entry.seconds) and began.tzinfo and isinstance(entry.outs, dict)
    except (ValueError, TypeError, KeyError):
        return None
    return entry if is_sound else None


def _hashes(root: Path, stage: str, outs: Sequence[str]) -> dict[str, str]:
    """The stage's hashes in dvc.lock; empty when they cannot be had.

    DVC writes the file in place, so another stage's end may leave it cut short for a moment.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            record = read_revision(root).stages.get(stage)
        except InputError:
            record = None
        if record is not None and all(len(record.outs.get(out, "")) >= 32 for out in outs):
            return dict(record.outs)
        if time.monotonic() > end:
            return {}
        time.sleep(0.05)
