"""What DVC has recorded of each stage: in the workspace, in a git revision, in an experiment.

Only dvc.lock is read, from disk or from git's store; nothing is checked out.
"""

import difflib
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipelines.graph.damage import HASH, is_inside
from pipelines.graph.dvc_yaml import parse_stages
from stages.engine.closure import CLOSURES
from stages.engine.errors import InputError

WORKSPACE = "workspace"


@dataclass(frozen=True)
class Record:
    """One stage as dvc.lock has it.

    Attributes:
        name: as DVC addresses it, such as "crf_refine@walk".
        command: what DVC ran.
        data: DVC's hash of each input by path; ".dir" ends the hash of a folder.
        code: hash of each source file by path.
        libraries: version of each library that the code imports.
        params: value by "section.key".
        outs: DVC's hash by path.
        size: bytes of all outs together.
    """

    name: str
    command: str
    data: Mapping[str, str]
    code: Mapping[str, str]
    libraries: Mapping[str, str]
    params: Mapping[str, Any]
    outs: Mapping[str, str]
    size: int


@dataclass(frozen=True)
class Revision:
    """All stages of one state of the repository.

    Attributes:
        name: what the user called it: "workspace", "HEAD~1", a tag, an experiment.
        commit: its hash; None for the workspace.
        when: of the commit; of the writing of dvc.lock for the workspace.
        title: first line of the commit's message.
        stages: by name, each after those it reads.
    """

    name: str
    commit: str | None
    when: datetime
    title: str
    stages: Mapping[str, Record]

    def owner(self, path: str) -> tuple[Record, str] | None:
        """The stage that made `path` (relative to the repository), and which of its outs it is."""
        for record in self.stages.values():
            for out in record.outs:
                if path == out or path.startswith(f"{out}/"):
                    return record, out
        return None


def read_revision(root: Path, name: str = WORKSPACE) -> Revision:
    """The stages of a revision.

    Args:
        root: the repository.
        name: "workspace", what git understands as a commit, or the name of a DVC experiment.

    Raises:
        InputError: no such revision, or it has no dvc.lock that can be read.
    """
    if name == WORKSPACE:
        path = root / "dvc.lock"
        try:
            text, changed = path.read_text(), path.stat().st_mtime
        except OSError as error:
            message = f"{path}: nothing is recorded yet; `./seedmask run` makes it"
            raise InputError(message) from error
        when = datetime.fromtimestamp(changed, UTC)
        return Revision(name, None, when, "as it is now", _parse(text, str(path)))
    commit = resolve(root, name)
    when, title = _described(root, commit)
    return Revision(name, commit, when, title, _recorded(root.resolve(), commit))


def upstream(stages: Mapping[str, Record]) -> dict[str, list[str]]:
    """The stages whose outputs each one reads, in whole or in part."""
    owners = [(out, record.name) for record in stages.values() for out in record.outs]
    return {
        name: list(
            dict.fromkeys(
                owner
                for dep in record.data
                for out, owner in owners
                if owner != name and _touch(out, dep)
            )
        )
        for name, record in stages.items()
    }


def _touch(out: str, dep: str) -> bool:
    return out == dep or out.startswith(f"{dep}/") or dep.startswith(f"{out}/")


def resolve(root: Path, name: str) -> str:
    """The full hash of the commit or experiment called `name`.

    Raises:
        InputError: there is none.
    """
    # git would take it for an option; no command takes a NUL
    if not name or name.startswith("-") or "\0" in name:
        raise InputError(f"revision {name!r}: expected workspace, a commit or an experiment")
    commit = _git(
        root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
    )
    if commit:
        return commit.strip()
    experiments = dict(reversed(_experiments(root)))
    if name in experiments:
        return experiments[name]
    heads = _git(root, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags")
    known = [WORKSPACE, *(heads or "").splitlines(), *experiments]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise InputError(f"revision {name!r}: neither a commit of git nor an experiment of DVC{hint}")


def list_revisions(root: Path, most: int = 50) -> list[Revision]:
    """The workspace, then the commits that changed dvc.lock, newest first, then experiments.

    Those whose dvc.lock cannot be read are left out.
    """
    revisions = []
    with suppress(InputError):
        revisions.append(read_revision(root))
    for commit in _commits(root, f"-{most}"):
        with suppress(InputError):
            stages = _recorded(root.resolve(), commit.name)
            revisions.append(Revision(commit.name, commit.name, commit.when, commit.title, stages))
    for name, _ in _experiments(root):
        with suppress(InputError):
            revisions.append(read_revision(root, name))
    return revisions


def read_file_of(root: Path, commit: str, path: str) -> bytes | None:
    """A file that git keeps, at a commit; None when it is not there."""
    done = subprocess.run(
        ["git", "cat-file", "blob", f"{commit}:{path}"], cwd=root, capture_output=True, check=False
    )
    return done.stdout if done.returncode == 0 else None


def read_graph(root: Path, revision: Revision) -> Mapping[str, Any]:
    """The `stages` of dvc.yaml as that revision has them; empty where it cannot be read."""
    if revision.commit is None:
        path = root / "dvc.yaml"
        content = path.read_bytes() if path.is_file() else None
    else:
        content = read_file_of(root, revision.commit, "dvc.yaml")
    try:
        return parse_stages(content or b"", f"dvc.yaml of {revision.name}")
    except InputError:
        return {}


@dataclass(frozen=True)
class Commit:
    """A commit of git: its full hash, its time, the first line of its message."""

    name: str
    when: datetime
    title: str


def recorded_since(root: Path, revision: Revision, stage: str, out: str) -> Commit | None:
    """The oldest commit since which dvc.lock has had the hash of an output without a break.

    Walks back from the revision, from HEAD for the workspace; None if the hash is not committed.
    """
    md5 = revision.stages[stage].outs[out]
    start = revision.commit or "HEAD"
    oldest = None
    for commit in _commits(root, start):
        if _recorded_hash(root, commit.name, stage, out) != md5:
            break
        oldest = commit
    return oldest


def _commits(root: Path, *which: str) -> Iterator[Commit]:
    """The commits that changed dvc.lock, newest first; `which` is for `git log`."""
    log = _git(root, "log", "--format=%H %ct %s", *which, "--", "dvc.lock") or ""
    for line in log.splitlines():
        name, seconds, title = line.split(" ", 2)
        yield Commit(name, datetime.fromtimestamp(int(seconds), UTC), title)


def _recorded_hash(root: Path, commit: str, stage: str, out: str) -> str | None:
    """Reads the lines of one stage only: the whole of a dvc.lock takes a tenth of a second."""
    text = (read_file_of(root, commit, "dvc.lock") or b"").decode(errors="replace")
    lines = re.search(rf"^  {re.escape(stage)}:\n(?:    .*\n)+", text, re.MULTILINE)
    try:
        stages = _parse("stages:\n" + lines[0] if lines else text, f"{commit[:8]}:dvc.lock")
    except InputError:
        return None
    return stages[stage].outs.get(out) if stage in stages else None


def _experiments(root: Path) -> list[tuple[str, str]]:
    """Name and commit of every experiment that DVC keeps here, newest first."""
    listed = _git(
        root,
        "for-each-ref",
        "--sort=-creatordate",
        "--format=%(refname) %(objectname)",
        "refs/exps",
    )
    commits = []
    for line in (listed or "").splitlines():
        reference, commit = line.split()
        # refs/exps/<2>/<38>/<name>; others are DVC's own
        parts = reference.split("/", 4)
        if len(parts) == 5 and len(parts[2]) == 2:
            commits.append((parts[4], commit))
    return commits


@lru_cache(maxsize=256)
def _recorded(root: Path, commit: str) -> Mapping[str, Record]:
    content = read_file_of(root, commit, "dvc.lock")
    if content is None:
        raise InputError(f"revision {commit[:8]}: has no dvc.lock")
    return _parse(content.decode(errors="replace"), f"{commit[:8]}:dvc.lock")


@lru_cache(maxsize=256)
def _described(root: Path, commit: str) -> tuple[datetime, str]:
    """When a commit was made, and its title."""
    shown = _git(root, "show", "--no-patch", "--format=%ct %s", commit) or "0 "
    seconds, _, title = shown.strip().partition(" ")
    return datetime.fromtimestamp(int(seconds), UTC), title


def _git(root: Path, *words: str) -> str | None:
    done = subprocess.run(
        ["git", *words], cwd=root, capture_output=True, text=True, errors="replace", check=False
    )
    return done.stdout if done.returncode == 0 else None


def _parse(text: str, name: str) -> dict[str, Record]:
    try:
        stages = YAML(typ="safe").load(text)["stages"]
        records = {str(stage): _record(str(stage), entry) for stage, entry in stages.items()}
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except (YAMLError, TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{name}: not a dvc.lock of DVC 3: {error}") from error
    above = upstream(records)
    ordered: dict[str, Record] = {}

    def add(stage: str, below: tuple[str, ...] = ()) -> None:
        if stage not in ordered and stage not in below:
            for other in above[stage]:
                add(other, (*below, stage))
            ordered[stage] = records[stage]

    for stage in records:
        add(stage)
    return ordered


def _record(name: str, entry: Mapping[str, Any]) -> Record:
    outs = entry.get("outs", [])
    deps = {str(dep["path"]): _hash(name, dep) for dep in entry.get("deps", [])}
    params: dict[str, Any] = {}
    code: dict[str, str] = {}
    for file, values in entry.get("params", {}).items():
        if str(file) == str(CLOSURES):
            for closure in values.values():
                code |= {str(key): str(value) for key, value in closure.items()}
        elif PurePosixPath(file).name == "params.yaml":  # of dvc.yaml: how its page is laid out
            params |= dict(_flat(values))
    source = {path: md5 for path, md5 in (deps | code).items() if path.endswith(".py")}
    return Record(
        name,
        str(entry["cmd"]),
        {path: md5 for path, md5 in deps.items() if path not in source},
        source,
        {name: version for name, version in code.items() if name not in source},
        params,
        {_out_path(name, out): _hash(name, out) for out in outs},
        sum(int(out.get("size", 0)) for out in outs),
    )


def _hash(stage: str, entry: Mapping[str, Any]) -> str:
    """DVC's hash of a dep or an out; "" where it has recorded none."""
    md5 = str(entry.get("md5", ""))
    if md5 and not HASH.fullmatch(md5):
        raise InputError(f"{stage}: {entry['path']}: md5 {md5!r}; expected 32 hexadecimal digits")
    return md5


def _out_path(stage: str, entry: Mapping[str, Any]) -> str:
    path = str(entry["path"])
    if not is_inside(path):
        raise InputError(f"{stage}: out {path!r}; expected a path inside the repository")
    return path


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
