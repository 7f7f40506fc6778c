"""One run at a time in a workspace, and no locks of the dead."""

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.io.errors import InputError

LOCK = Path(".seedmask/run.lock")


@contextmanager
def holding_workspace(root: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the workspace for the time of a run; the kernel lets go of it if this process dies.

    Args:
        root: the repository.
        wait: until another run that holds it has ended.

    Raises:
        InputError: another run holds it and `wait` is False; says which process.
    """
    path = root / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            held = f"{path}: another run holds this workspace ({holder})"
            if not wait:
                raise InputError(f"{held}; stop it, or wait for it with --wait") from error
            print(f"{held}; waiting for its end", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()}: {' '.join(sys.argv)}")
        file.flush()
        drop_dead_locks(root / ".dvc/tmp/rwlock")
        yield


def drop_dead_locks(path: Path) -> None:
    """Remove DVC's path locks when no process that took one is a living DVC.

    A killed DVC leaves its number in the file; when the number is given to another process, as it
    soon is in a container, DVC would take the path for locked.
    """
    try:
        content = json.loads(path.read_text())
        readers = [entry for entries in content.get("read", {}).values() for entry in entries]
        holders = {int(entry["pid"]) for entry in [*readers, *content.get("write", {}).values()]}
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError, AttributeError):
        holders = set()  # cut short by a kill; DVC refuses to read it
    if not any(_is_dvc(pid) for pid in holders):
        path.unlink(missing_ok=True)


def _is_dvc(pid: int) -> bool:
    try:
        return b"dvc" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
