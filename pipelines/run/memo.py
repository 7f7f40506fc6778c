"""The per-image results in .seedmask/memo: how much there is, sweep it, check it."""

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.graph.plan import Step, make_plan
from stages.engine.memo import FOLDER
from stages.engine.parallel import VERIFY

DAY = 86400


@dataclass(frozen=True)
class Swept:
    """What a sweep removed and what it left: files and bytes."""

    removed: int
    removed_bytes: int
    left: int
    left_bytes: int


def sweep(root: Path, *, days: float, gigabytes: float | None = None) -> Swept:
    """Remove results that no run has read or written for `days`, then the longest unused.

    Args:
        root: the repository.
        days: since the last use.
        gigabytes: at most so much stays.
    """
    files = [path for path in (root / FOLDER).rglob("*") if path.is_file()]
    entries = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in files)
    total = sum(size for _, size, _ in entries)
    most = float("inf") if gigabytes is None else gigabytes * 1e9
    oldest = time.time() - days * DAY
    count, freed = 0, 0
    for used, size, path in entries:
        if used >= oldest and total - freed <= most:
            break
        path.unlink(missing_ok=True)
        count, freed = count + 1, freed + size
    return Swept(count, freed, len(entries) - count, total - freed)


def verify(root: Path, targets: Sequence[str], share: float) -> bool:
    """Compute a sample of the kept results again; prints a line per stage.

    Every stage that keeps results is started with its own command and looks for the results of
    its present inputs, so the workspace should be up to date.

    Returns:
        Whether all of them were the same, byte for byte.
    """
    steps = [
        step
        for step in make_plan(root, targets).steps
        if (root / FOLDER / step.name.split("@")[0]).is_dir()
    ]
    return all([_verify_stage(root, step, share) for step in steps])


def _verify_stage(root: Path, step: Step, share: float) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        words = shlex.split(step.command)
        words[words.index("--out") + 1] = folder
        words[0] = sys.executable
        environment = os.environ | {VERIFY: str(share)}
        done = subprocess.run(words, cwd=root, env=environment, check=False)
    return done.returncode == 0
