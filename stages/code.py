"""What code each stage runs: the modules that it imports, and the locked libraries in them.

Writes
    closures.json  by stage, the hash of each module's syntax tree and the version of each library;
                   a stage names its own entry as a parameter in dvc.yaml, and so runs again when,
                   and only when, what it does may have changed;
    files.json     the MD5 of each module as it is, comments and all, for `why`.
"""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from stages.engine.closure import CLOSURES, all_closures, read_lock
from stages.engine.command import run
from stages.engine.errors import InputError
from stages.engine.files import md5_of, write_json


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """There is nothing to choose."""


def code(params: Params, lock: Path, out: Path) -> None:
    """Write the closures of all stages of the repository in the current folder.

    Args:
        params: none.
        lock: requirements.lock; a library that is installed in another version is said.
        out: gets closures.json and files.json.

    Raises:
        InputError: a module is not Python, imports what the lock does not hold, or was edited
            meanwhile.
    """
    closures = all_closures(Path())
    entries = {name for closure in closures.values() for name in closure}
    locked = read_lock(lock)
    for name in sorted(entries & locked.keys()):
        _warn_of_another_version(name, locked[name])
    files = {name: md5_of(Path(name).read_bytes()) for name in sorted(entries - locked.keys())}
    if all_closures(Path()) != closures:
        raise InputError("the code changed while it was read; run again")
    write_json(out / "files.json", files)
    write_json(out / CLOSURES.name, closures)


def _warn_of_another_version(name: str, locked: str) -> None:
    try:
        installed = version(name)
    except PackageNotFoundError:
        return
    if installed.partition("+")[0] not in locked.split(" or "):
        print(f"code: {name} {installed} is installed, not {locked}: `make venv`", file=sys.stderr)


if __name__ == "__main__":
    run(code)
