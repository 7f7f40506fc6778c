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

from pipelines.graph.dvc_private import is_lock_file, is_whole_record
from pipelines.graph.objects import cache_folder
from pipelines.run.records import check_left_records
from stages.engine.errors import InputError
from stages.engine.files import write_bytes

LOCK = Path(".seedmask/run.lock")
#: dvc.lock as it was when the run began, for as long as it goes on; empty: there was none.
KEPT = Path(".seedmask/dvc.lock")
#: While a run has numbers of its own: params.yaml as that run wrote it, and as it was before.
PARAMS_OF_RUN = Path(".seedmask/params_of_run.yaml")
PARAMS_BEFORE = Path(".seedmask/params_before_run.yaml")
SHARED_AGE = 60.0  # seconds
PATIENCE = 1.0  # seconds


@contextmanager
def holding_workspace(root: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the workspace for the time of a run; the kernel lets go of it if this process dies.

    Args:
        root: the repository.
        wait: until another run that holds it has ended.

    Raises:
        InputError: another run holds it and `wait` is False; says which process. Or .seedmask or
            dvc.lock is not what it should be.
    """
    path = root / LOCK
    check_own_folder(root)
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
        last = path.stat().st_mtime if path.stat().st_size else 0.0  # when the last run began
        file.truncate(0)
        file.write(f"process {os.getpid()}: {' '.join(sys.argv)}")
        file.flush()
        drop_dead_locks(root / ".dvc/tmp/rwlock")
        drop_unfinished_records(root)
        check_left_records(root, root / KEPT)
        drop_broken_records(root, since=last)
        mend_lock_file(root)
        check_lock_file(root)
        bring_back_params(root)
        before = root / "dvc.lock"
        write_bytes(root / KEPT, before.read_bytes() if before.exists() else b"")
        try:
            yield
        finally:
            mend_lock_file(root)
            bring_back_params(root)


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
    cache = cache_folder(root)
    is_own = cache.resolve().is_relative_to(root.resolve())
    old = time.time() - (0 if is_own else SHARED_AGE)
    for folder in cache.glob("runs/*/*"):
        with suppress(OSError):  # another was quicker
            if folder.stat().st_mtime > old:
                continue
            for part in folder.glob("*.tmp"):
                part.unlink()
            folder.rmdir()  # only when empty


def drop_broken_records(root: Path, *, since: float = 0.0) -> None:
    """Remove the records of DVC's run cache that are not what DVC wrote.

    A record bears the hash of its content as its name. DVC does not compare: of one that is cut
    short between two lines it restores what is left and calls the stage done. A stage whose record
    is removed runs once more.

    Args:
        root: the repository.
        since: seconds of the epoch; what was last written before has been looked at.
    """
    for path in cache_folder(root).glob("runs/*/*/*"):
        with suppress(FileNotFoundError):  # another was quicker
            is_young = path.stat().st_mtime >= since - SHARED_AGE
            if is_young and path.suffix != ".tmp" and not is_whole_record(path):
                path.unlink()
                print(f"{path}: not what DVC wrote; removed, its stage runs again", flush=True)
                with suppress(OSError):
                    path.parent.rmdir()  # only when empty, as DVC cannot bear


def mend_lock_file(root: Path) -> None:
    """Bring back the dvc.lock from before a run that ended while DVC wrote it, which is in place.

    What the run made since is in the run cache. Without a run that ended so, a file that is wrong
    (git's marks of a conflict) is left as it is.
    """
    path, backup = root / "dvc.lock", root / KEPT
    if not backup.exists():
        return
    if not _is_sound(path):
        if backup.stat().st_size:
            backup.replace(path)  # which a full disk allows
        else:
            path.unlink()
    backup.unlink(missing_ok=True)


def check_own_folder(root: Path) -> None:
    """Our notes have a folder to lie in.

    Raises:
        InputError: a file is in its place.
    """
    folder = root / LOCK.parent
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder}: expected a folder, found a file; move it away or delete it")


def check_lock_file(root: Path) -> None:
    """DVC's record of what was made can be read, if there is one.

    Raises:
        InputError: it cannot; says why, and what to do.
    """
    path = root / "dvc.lock"
    end = time.monotonic() + PATIENCE
    while not _is_sound(path):  # DVC writes it in place; `status` may look while a run goes on
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    else:
        return
    content = path.read_bytes() if path.is_file() else b""
    if b"<<<<<<<" in content:
        number = content[: content.index(b"<<<<<<<")].count(b"\n") + 1
        found = f"git's marks of a conflict in line {number}"
        remedy = "`git checkout --ours dvc.lock` (or --theirs)"
    else:
        found = "something else, or a part of it" if content.strip() else "nothing in it"
        remedy = "`git checkout dvc.lock` (or delete it)"
    raise InputError(
        f"{path}: expected DVC's record of the stages, found {found}; {remedy}, then run: "
        "what was made since comes back from DVC's cache"
    )


def lend_params(root: Path, text: str) -> None:
    """Write params.yaml for the run that holds the workspace; at its end it is as it was before.

    Also after a kill: then when the next run begins.
    """
    path = root / "params.yaml"
    write_bytes(root / PARAMS_OF_RUN, text.encode())
    write_bytes(root / PARAMS_BEFORE, path.read_bytes())
    write_bytes(path, text.encode())


def bring_back_params(root: Path) -> None:
    """Undo `lend_params`; what was edited since stays."""
    path, of_run, before = root / "params.yaml", root / PARAMS_OF_RUN, root / PARAMS_BEFORE
    if not (before.exists() and of_run.exists()):
        return
    if not path.exists() or path.read_bytes() == of_run.read_bytes():
        write_bytes(path, before.read_bytes())
    elif path.read_bytes() != before.read_bytes():
        print(f"{path}: was edited during a run with numbers of its own; it stays as edited")
    before.unlink()
    of_run.unlink()


def _is_sound(path: Path) -> bool:
    """Whether dvc.lock can be read; where there is none, nothing was made yet."""
    try:
        return not path.exists() or is_lock_file(path)
    except OSError:
        return False


def _is_dvc(pid: int) -> bool:
    try:
        return any("dvc" in word for word in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False
