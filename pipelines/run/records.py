"""What DVC records is held against what was read.

A stage compares its inputs when it ends (stages.engine.command), but DVC hashes them later: when it
has got its lock, behind other stages' commits, and after a checkout where it restores outputs. What
is edited in that time would be recorded beside outputs made without it. So everything is looked at
once more when DVC has ended, and a record that may be wrong is removed.

.seedmask/inputs/<stage>.json is what the stage read, while its record has not been looked at.
"""

from collections.abc import Iterable
from pathlib import Path

from pipelines.graph.dvc_private import drop_record, read_entry
from stages.engine.command import read_values
from stages.engine.inputs import explain, look_at, read_inputs

FOLDER = Path(".seedmask/inputs")


def note_inputs(
    root: Path, name: str, deps: Iterable[str], params: Iterable[tuple[str, str]]
) -> Path:
    """Look at what DVC declares for a stage that it is about to make or restore.

    Returns:
        Where that is kept; the stage, if it runs, puts in its place what it has read indeed.
    """
    path = root.resolve() / FOLDER / f"{name}.json"
    values = read_values((str(root / file), key) for file, key in params)
    here = [root / dep for dep in deps if (root / dep).exists()]  # `--pull` may bring the others
    look_at(here, values).save(path)
    return path


def check_record(root: Path, name: str) -> str:
    """Remove what DVC has just recorded of a stage, if an input has changed since it was read.

    Returns:
        What has changed, as one line; empty when the record is right.
    """
    path = root / FOLDER / f"{name}.json"
    changed = _changed(path)
    if changed:
        drop_record(root, name)
    path.unlink(missing_ok=True)
    return explain(changed, f"{name} was recorded") if changed else ""


def check_left_records(root: Path, before: Path) -> None:
    """The same for what a killed run recorded last and did not look at.

    Args:
        root: the repository.
        before: dvc.lock as it was when that run began; not there when no run was killed.
    """
    for path in sorted((root / FOLDER).glob("*.json")):
        name = path.stem
        if before.exists() and read_entry(root / "dvc.lock", name) != read_entry(before, name):
            check_record(root, name)
        path.unlink(missing_ok=True)


def _changed(path: Path) -> list[str]:
    try:
        inputs = read_inputs(path)
    except (OSError, ValueError, KeyError, TypeError):  # of another version of ours
        return [str(path)]
    return inputs.changed(read_values([value[:2] for value in inputs.values]))
