"""Corrections in data/corrections: written and kept by DVC, or taken back."""

import difflib
import shlex
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pipelines.graph.needs import all_above
from pipelines.graph.plan import make_plan
from pipelines.run.workspace import holding_workspace
from stages.engine.errors import InputError
from stages.engine.files import write_bytes

CORRECTIONS = Path("data/corrections")


def keep_corrections(root: Path, contents: Mapping[str, bytes], *, wait: bool = False) -> None:
    """Write label maps as corrections, and `dvc add` them.

    Args:
        root: the repository.
        contents: PNG bytes by image id; both checked already.
        wait: for a run that holds the workspace.

    Raises:
        InputError: a run holds the workspace (nothing is written then), or DVC failed.
    """
    paths = [CORRECTIONS / f"{image_id}.png" for image_id in contents]
    if not paths:
        return
    with holding_workspace(root, wait=wait):
        for path, content in zip(paths, contents.values(), strict=True):
            write_bytes(root / path, content)
        _dvc(root, "add", *map(str, paths))


def remove_corrections(root: Path, image_ids: Sequence[str], *, wait: bool = False) -> None:
    """Take corrections back: the PNG files and what DVC knows of them.

    With `wait`, after a run that holds the workspace.

    Raises:
        InputError: an image has no correction, or a run holds the workspace (nothing is removed
            then), or DVC failed.
    """
    folder = root / CORRECTIONS
    pointers = {path.name.removesuffix(".png.dvc") for path in folder.glob("*.png.dvc")}
    files = {path.stem for path in folder.glob("*.png")}
    for image_id in image_ids:
        check_known(image_id, pointers | files, str(CORRECTIONS))
    with holding_workspace(root, wait=wait):
        tracked = [
            f"{CORRECTIONS}/{image_id}.png.dvc" for image_id in image_ids if image_id in pointers
        ]
        if tracked:
            _dvc(root, "remove", "--outs", *tracked)
        for image_id in image_ids:
            (folder / f"{image_id}.png").unlink(missing_ok=True)


def command_that_applies(root: Path) -> str:
    """The run that brings corrections to an end of the graph with the fewest stages."""
    plan = make_plan(root)
    above = {step.name: all_above(step.name, plan.upstream) | {step.name} for step in plan.steps}
    readers = {step.name for step in plan.steps if str(CORRECTIONS) in shlex.split(step.command)}
    pending = {step.name for step in plan.pending}
    ends = [name for name, below in plan.stages_below().items() if not below]
    reached = [name for name in ends if above[name] & readers and name in pending]
    shortest = sorted(reached, key=lambda name: len(above[name] & pending))[:1]
    return " ".join(["./seedmask run", *shortest])


def check_known(image_id: str, known: Collection[str], where: str) -> None:
    """The image is among those known.

    Raises:
        InputError: it is not; says which is close.
    """
    if image_id not in known:
        close = difflib.get_close_matches(image_id, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"{where}: no image {image_id!r}{hint}")


def _dvc(root: Path, *words: str) -> None:
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", *words]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        reason = next((line for line in lines if line.startswith("ERROR")), lines[-1])
        raise InputError(f"{CORRECTIONS}: `dvc {' '.join(words)}` failed: {reason}")
