"""One run at a time in a workspace, and no locks of the dead."""

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from dvc.config import Config
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from voluptuous import Invalid

from stages.io.errors import InputError
from stages.io.files import write_bytes

LOCK = Path(".seedmask/run.lock")
#: dvc.lock as it was when the run began, for as long as it goes on; empty: there was none.
KEPT = Path(".seedmask/dvc.lock")
SHARED_AGE = 60.0  # seconds


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
        drop_unfinished_records(root)
        mend_lock_file(root)
        before = root / "dvc.lock"
        write_bytes(root / KEPT, before.read_bytes() if before.exists() else b"")
        try:
            yield
        finally:
            mend_lock_file(root)


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


def drop_unfinished_records(root: Path) -> None:
    """Remove what a killed DVC left of a record in its run cache.

    DVC makes a folder, writes the record beside its final name and renames it. On an empty folder
    every later `dvc repro` of that stage fails, and a record cut short may be taken for whole.
    In a cache outside `root` others may be at work; there what is younger than a minute stays.
    """
    config = Config(str(root / ".dvc"))
    cache = Path(config["cache"].get("dir") or root / ".dvc/cache")
    is_own = cache.resolve().is_relative_to(root.resolve())
    old = time.time() - (0 if is_own else SHARED_AGE)
    for folder in cache.glob("runs/*/*"):
        with suppress(OSError):  # another was quicker
            if folder.stat().st_mtime > old:
                continue
            for part in folder.glob("*.tmp"):
                part.unlink()
            folder.rmdir()  # only when empty


def mend_lock_file(root: Path) -> None:
    """Bring back the dvc.lock from before a run that ended while DVC wrote it, which is in place.

    What the run made since is in the run cache. Without a run that ended so, a file that is wrong
    (git's marks of a conflict) is left as it is.
    """
    path, kept = root / "dvc.lock", root / KEPT
    if not kept.exists():
        return
    if not _is_lock_file(path):
        before = kept.read_bytes()
        if before:
            write_bytes(path, before)
        else:
            path.unlink()
    kept.unlink()


def _is_lock_file(path: Path) -> bool:
    if not path.exists():
        return True
    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(path))
    except (YAMLError, UnicodeDecodeError, Invalid):
        return False
    return True


def _is_dvc(pid: int) -> bool:
    try:
        return any("dvc" in word for word in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False
