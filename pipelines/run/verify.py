"""Is what is kept still what was written? DVC's cache, the outputs in data/, memo, checkpoints.

All of it is hashed, however old: neither DVC nor a run looks again at a file of which time and size
are as before.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rich.console import Console
from rich.progress import track

from pipelines.graph.damage import HASH, listing, object_path, objects_of, problem_of
from pipelines.graph.dvc_yaml import read_stages
from pipelines.graph.objects import Objects
from pipelines.graph.plan import resolve_targets
from pipelines.graph.revisions import Record, read_revision
from pipelines.run.workspace import holding_workspace
from stages.engine.errors import InputError
from stages.engine.memo import FOLDER as MEMO
from stages.engine.sealed import is_sound

CHECKPOINTS = Path(".seedmask/checkpoints")  # of stages.engine.training: torch to import
MOST = 20  # bad files of a kind that are named


class Kind(StrEnum):
    """What a file is."""

    CACHE = "DVC's cache"
    DATA = "outputs"
    MEMO = "memo"
    CHECKPOINT = "checkpoints"


@dataclass(frozen=True)
class Check:
    """One file to look at.

    Attributes:
        path: of the file; it need not be there.
        kind: what it is.
        md5: that it should have; empty where the file has its own checksum.
        out: the output that it belongs to; empty where dvc.lock knows none.
        stage: that made the output.
    """

    path: Path
    kind: Kind
    md5: str = ""
    out: str = ""
    stage: str = ""

    def problem(self) -> str:
        """What is wrong with it; empty for a sound file or none."""
        if self.md5:
            return problem_of(self.path, self.md5)
        try:
            return "" if is_sound(self.path) else "its checksum differs"
        except FileNotFoundError:
            return ""
        except OSError as error:
            return str(error.strerror)


@dataclass(frozen=True)
class Verified:
    """How many files were looked at, and the bad ones with what is wrong."""

    count: int
    bad: Mapping[Check, str]


def verify(root: Path, targets: Sequence[str] = (), *, drop: bool = False) -> Verified:
    """Hash what is kept of some stages, or of all and the whole of DVC's cache.

    While a run is at work, its outputs may be other than dvc.lock says.

    Args:
        root: the repository.
        targets: "crf_refine" means all its members; none: everything.
        drop: remove what is bad, so that the next run makes or restores it.

    Raises:
        InputError: an unknown stage, a dvc.lock that cannot be read; with `drop`, another run
            holds the workspace or a file cannot be removed.
    """
    with holding_workspace(root) if drop else nullcontext():
        by_path: dict[Path, Check] = {}
        for check in _checks(root, targets):
            by_path.setdefault(check.path, check)
        checks = list(by_path.values())
        with ThreadPoolExecutor() as pool:
            problems = track(
                pool.map(Check.problem, checks),
                "verify",
                total=len(checks),
                console=Console(stderr=True),
                transient=True,
                disable=not sys.stderr.isatty(),
            )
            bad = {
                check: problem for check, problem in zip(checks, problems, strict=True) if problem
            }
        if drop:
            for check in bad:
                _drop(check.path)
    return Verified(len(checks), bad)


def print_verified(verified: Verified, command: str, *, drop: bool) -> None:
    """Name the bad files, and say how to mend it.

    Args:
        verified: what `verify` found.
        command: that looked for them.
        drop: whether they are removed.
    """
    counted = Counter(check.kind for check in verified.bad)
    counts = {kind: counted[kind] for kind in Kind if counted[kind]}
    named: Counter[Kind] = Counter()
    for check, problem in verified.bad.items():
        named[check.kind] += 1
        if named[check.kind] <= MOST:
            owner = f"; of {check.out} of {check.stage}" if check.out else ""
            print(f"{check.path}: {problem}{owner}")
    for kind, count in counts.items():
        if count > MOST:
            print(f"and {count - MOST} more in {kind}")
    if not verified.bad:
        print(f"{verified.count} files are as they were written.")
        return
    kinds = ", ".join(f"{kind} {count}" for kind, count in counts.items())
    if drop:
        print(f"{len(verified.bad)} of {verified.count} files were bad and are removed: {kinds}.")
        print("To have them made or restored: ./seedmask run")
    else:
        print(f"{len(verified.bad)} of {verified.count} files are bad: {kinds}.")
        print(f"To mend it: {command} --drop, then ./seedmask run")
    if any(check.kind is Kind.CACHE and not check.out for check in verified.bad):
        print("What dvc.lock does not know: `dvc fetch --all-commits` brings what a remote has.")
    for stage in sorted({check.stage for check in verified.bad if check.kind is Kind.DATA}):
        print(
            f"What was made from the outputs of {stage} since then may be wrong as well: "
            f"dvc repro --force --downstream {stage}"
        )


def _checks(root: Path, targets: Sequence[str]) -> Iterator[Check]:
    records = read_revision(root).stages if (root / "dvc.lock").exists() else {}
    names = resolve_targets(targets, list(dict.fromkeys([*records, *read_stages(root)])))
    chosen = [records[name] for name in names if name in records]
    cache = Objects(root).folder
    for record in chosen:
        for out, md5 in record.outs.items():
            if md5:  # else DVC has recorded none
                yield from _of_output(root, cache, record, out, md5)
    if not targets:
        for path in sorted(cache.glob("[0-9a-f][0-9a-f]/*")):
            md5 = path.parent.name + path.name
            if HASH.fullmatch(md5):
                yield Check(path, Kind.CACHE, md5)
    stages = {name.split("@")[0] for name in names}
    for kind, folder in ((Kind.MEMO, MEMO), (Kind.CHECKPOINT, CHECKPOINTS)):
        for path in sorted((root / folder).rglob("*")):
            stage = path.relative_to(root / folder).parts[0]
            is_wanted = not targets or stage in stages
            if is_wanted and path.is_file() and not path.name.startswith("."):
                yield Check(path, kind)


def _of_output(root: Path, cache: Path, record: Record, out: str, md5: str) -> Iterator[Check]:
    for object_md5 in objects_of(cache, md5):
        yield Check(object_path(cache, object_md5), Kind.CACHE, object_md5, out, record.name)
    files = {out: md5}
    if md5.endswith(".dir"):
        files = {
            f"{out}/{name}": object_md5 for name, object_md5 in (listing(cache, md5) or {}).items()
        }
    for name, object_md5 in files.items():
        if (root / name).is_file():
            yield Check(root / name, Kind.DATA, object_md5, out, record.name)


def _drop(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: is damaged, cannot be removed: {error.strerror}") from error
