"""All that is used of DVC beyond dvc.api and its config: what may change without notice.

Tried with DVC `TRIED`; tests/pipelines/graph/test_dvc_private.py says so when the lock moves on.

`python -m pipelines.graph.dvc_private ARGUMENTS of dvc...` is DVC that hashes what it restores. DVC
takes an object of its cache for whole as long as it is read-only: a damaged one would be checked
out and recorded as if it were right, and a damaged list of a folder may end it in a traceback. Two
of its functions are replaced: `Tree.load`, which reads the list of a folder, and
`Stage.outs_cached`, which the run cache asks before it checks anything out. What is damaged counts
as missing, so the stage is computed anew.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from dvc.cli import main
from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.fs import LocalFileSystem
from dvc.repo import Repo
from dvc.schema import COMPILED_LOCK_FILE_STAGE_SCHEMA, COMPILED_LOCKFILE_SCHEMA
from dvc.scm import SCMError
from dvc.stage import Stage
from dvc.stage.cache import _get_cache_hash
from dvc.stage.serialize import to_single_stage_lockfile
from dvc.utils.serialize import modify_yaml
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta
from dvc_data.hashfile.tree import Tree
from dvc_objects.errors import ObjectFormatError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from voluptuous import Invalid

from pipelines.graph.damage import drop_damaged, object_path, problem_of
from stages.engine.errors import InputError

TRIED = "3.67.1"

load = Tree.load
outs_cached = Stage.outs_cached


@contextmanager
def opening(root: Path) -> Iterator[Repo]:
    """DVC's repository, which waits for another DVC to let go of its lock.

    Raises:
        InputError: no git repository, or a dvc.yaml that DVC cannot read.
    """
    try:
        with Repo(str(root), _wait_for_lock=True) as repo:
            yield repo
    except SCMError as error:
        start = "git init && git add -A && git commit -m start"
        message = f"{root.resolve()}: not in git, which DVC needs (a zip of it is not); {start}"
        raise InputError(message) from error
    except DvcException as error:
        raise InputError(f"{root / 'dvc.yaml'}: {' '.join(str(error).split())}") from error


def stages_of(repo: Repo) -> dict[str, Stage]:
    """The stages by name, in the order of dvc.yaml; what `dvc add` keeps is none."""
    return {name_of(stage): stage for stage in repo.index.stages if not stage.is_data_source}


def name_of(stage: Stage) -> str:
    """As dvc.yaml has it; DVC's own `addressing` depends on the current folder."""
    return str(getattr(stage, "name", None) or stage.addressing)


def is_params(dep: Any) -> bool:
    """Whether a dependency is on keys of a file rather than on a file."""
    return isinstance(dep, ParamsDependency)


def files_read(stage: Stage) -> tuple[str, ...]:
    """The paths that a stage depends on."""
    return tuple(str(dep.def_path) for dep in stage.deps if not is_params(dep))


def keys_read(stage: Stage) -> tuple[tuple[str, str], ...]:
    """The parameters that a stage depends on: (file, dotted key)."""
    params = [dep for dep in stage.deps if is_params(dep)]
    return tuple((str(dep.def_path), key) for dep in params for key in dep.params)


def changes_beside_files(stage: Stage) -> list[Any]:
    """The entries of `Stage.status` that are not of its deps and outs: command, always changed."""
    changes: list[Any] = []
    stage._status_always_changed(changes)
    stage._status_stage(changes)
    return changes


def kept_outputs(
    repo: Repo,
    stage: Stage,
    known: Mapping[str, HashInfo],
    foreseen: Mapping[str, HashInfo],
) -> dict[str, HashInfo] | None:
    """What DVC's cache holds for a stage on its inputs, by path; None if it must run.

    As `StageCache.restore`, which does not look ahead: it hashes what is on the disk.

    Args:
        repo: of the stage.
        stage: the caller's own copy, of which the fields are set.
        known: the hash of inputs that need not be hashed, by path on the disk.
        foreseen: what files of parameters will say of the stage's keys, by path on the disk.
    """
    if stage.is_callback or stage.always_changed or any(out.persist for out in stage.outs):
        return None
    try:
        for dep in stage.deps:
            if is_params(dep):
                dep.hash_info = foreseen.get(dep.fs_path) or dep.get_hash()
            elif dep.fs_path in known:
                dep.meta, dep.hash_info = Meta(), known[dep.fs_path]
            else:  # the old meta would bring the old hash with it
                dep.meta, dep.hash_info = dep._get_hash_meta()
    except (DvcException, OSError):  # an input is not there yet
        return None
    key = _get_cache_hash(to_single_stage_lockfile(stage), key=True)
    runs = sorted(
        Path(repo.stage_cache.cache_dir, key[:2], key).glob("*"),
        key=lambda path: path.stat().st_mtime,
    )
    recorded = repo.stage_cache._load_cache(key, runs[-1].name) if runs else None
    if recorded is None:
        return None
    hashes = {out["path"]: HashInfo("md5", out["md5"]) for out in recorded["outs"]}
    for out in stage.outs:
        out.hash_info, out.use_cache = hashes[out.def_path], True  # metrics are kept there too
        if out.changed_cache():
            return None
    return {out.fs_path: out.hash_info for out in stage.outs}


def hash_of_folder(md5: str) -> HashInfo:
    """As DVC has it."""
    return HashInfo("md5", md5)


def hash_of_params(values: Mapping[str, Any]) -> HashInfo:
    """As DVC has it of the values by key."""
    return HashInfo("params", dict(values))  # type: ignore[arg-type]


def is_lock_file(path: Path) -> bool:
    """Whether a file is a whole dvc.lock."""
    return _fits(COMPILED_LOCKFILE_SCHEMA, path) is not None


def is_whole_record(path: Path) -> bool:
    """Whether a record of the run cache is what DVC wrote: it is named after its content."""
    record = _fits(COMPILED_LOCK_FILE_STAGE_SCHEMA, path)
    return record is not None and bool(_get_cache_hash(record) == path.name)


def _fits(schema: Any, path: Path) -> Any:
    try:
        return schema(YAML(typ="safe").load(path))
    except (YAMLError, UnicodeDecodeError, Invalid):
        return None


def read_entry(lock: Path, name: str) -> dict[str, Any] | None:
    """What a dvc.lock has of a stage; None where it has nothing, or cannot be read."""
    try:
        entry: dict[str, Any] | None = YAML(typ="safe").load(lock)["stages"].get(name)
    except (OSError, YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        return None
    return entry


def drop_record(root: Path, name: str) -> None:
    """Remove a stage from dvc.lock, and the same record from DVC's run cache."""
    with opening(root) as repo, repo.lock:
        entry = read_entry(root / "dvc.lock", name)
        if entry is None:
            return
        key = _get_cache_hash(deepcopy(entry), key=True)
        record = Path(repo.stage_cache._get_cache_path(key, _get_cache_hash(entry)))
        record.unlink(missing_ok=True)
        if record.parent.is_dir() and not any(record.parent.iterdir()):
            record.parent.rmdir()  # on an empty one DVC fails
        with modify_yaml(str(root / "dvc.lock")) as content:
            del content["stages"][name]


def refuse_damaged_lists() -> None:
    """In this process the list of a folder counts as missing when its md5 is another."""

    def checked(odb: Any, hash_info: Any, hash_name: str | None = None) -> Any:
        if isinstance(odb.fs, LocalFileSystem):
            problem = problem_of(object_path(Path(odb.path), hash_info.value), hash_info.value)
            if problem:
                raise ObjectFormatError(problem)
        return load(odb, hash_info, hash_name)

    Tree.load = checked  # type: ignore[method-assign]


def drop_what_cannot_be_restored() -> None:
    """In this process damaged objects are dropped before the run cache restores them, and said."""

    def checked(stage: Any) -> bool:
        is_sound = True
        for out in stage.outs:
            if out.hash_info:
                for line in drop_damaged(Path(out.cache.path), out.hash_info.value):
                    print(f"{line}, so {out} is made anew", flush=True)
                    is_sound = False
        return is_sound and bool(outs_cached(stage))

    Stage.outs_cached = checked


if __name__ == "__main__":
    refuse_damaged_lists()
    drop_what_cannot_be_restored()
    sys.exit(main(sys.argv[1:]))
