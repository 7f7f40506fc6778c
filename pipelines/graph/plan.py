"""What has to run: DVC's own graph and status, read in process and never drawn again here."""

import difflib
import itertools
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import networkx as nx
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML

from pipelines.graph.dvc_private import (
    changes_beside_files,
    files_read,
    hash_of_folder,
    hash_of_params,
    is_params,
    kept_outputs,
    keys_read,
    name_of,
    opening,
    refuse_damaged_lists,
    stages_of,
)
from pipelines.graph.fingerprints import Fingerprints
from pipelines.graph.needs import lack, resolve_needs, split_need
from stages.engine.closure import CLOSURES, all_closures
from stages.engine.errors import InputError
from stages.io.pretrained import lacking_weights


class State(StrEnum):
    """What a plan says of one stage."""

    UNCHANGED = "unchanged"
    RESTORABLE = "restorable"  # an earlier run had the same inputs; DVC has kept its outputs
    MUST_RUN = "must run"
    WAITING = "waiting"  # for a stage above it; runs if that one's outputs change
    BLOCKED = "blocked"  # needs a file that is not there and that no stage makes
    LEFT_OUT = "left out"  # its meta names something without which it is of no use


class Directions(BaseModel):
    """What a stage's `meta` in dvc.yaml tells the run; other keys are the user's own.

    Attributes:
        gpu: it wants a GPU to itself.
        heavy: it wants the machine's memory or cores to itself.
        retries: so many times more when it fails.
        timeout: seconds after which it counts as failed; none: never.
        needs: "FILE.json:key"; it is left out where that number is 0.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    gpu: bool = False
    heavy: bool = False
    retries: int = Field(default=0, ge=0)
    timeout: float | None = Field(default=None, gt=0)
    needs: str = Field(default="", pattern=r"^(.+\.json:\w+)?$")

    @property
    def marks(self) -> list[str]:
        """The marks that `pipelines.run.schedule.Limits` counts."""
        return [mark for mark in ("gpu", "heavy") if getattr(self, mark)]


@dataclass(frozen=True)
class Step:
    """One DVC stage of a plan.

    Attributes:
        name: as DVC addresses it, such as "crf_refine@walk".
        upstream: the names of the stages whose outputs it reads.
        state: whether it must run.
        reason: why, in a few words; empty when unchanged.
        meta: how to run it.
        command: what DVC starts.
        outs: the paths of its outputs, as dvc.lock has them.
        deps: the paths that it reads, in the same form.
        params: the parameters that it reads: (file, dotted key).
        needs: as in `Directions`, its own or that of all who want its outputs; empty: none.
    """

    name: str
    upstream: tuple[str, ...]
    state: State
    reason: str = ""
    meta: Directions = field(default_factory=Directions)
    command: str = ""
    outs: tuple[str, ...] = ()
    deps: tuple[str, ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    needs: str = ""


@dataclass(frozen=True)
class Plan:
    """The chosen stages, each after all it depends on, in the order of dvc.yaml otherwise."""

    steps: tuple[Step, ...]
    by_name: Mapping[str, Step] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {step.name: step for step in self.steps})

    @property
    def pending(self) -> list[Step]:
        """The steps that a run has something to do with."""
        return [step for step in self.steps if step.state not in (State.UNCHANGED, State.LEFT_OUT)]

    def without(self, names: Collection[str]) -> "Plan":
        """The plan without some steps, and with nobody waiting for them."""
        steps = [step for step in self.steps if step.name not in names]
        above = [tuple(name for name in step.upstream if name not in names) for step in steps]
        return Plan(
            tuple(replace(step, upstream=up) for step, up in zip(steps, above, strict=True))
        )

    @property
    def upstream(self) -> dict[str, tuple[str, ...]]:
        """The stages that each step reads."""
        return {step.name: step.upstream for step in self.steps}

    def stages_below(self) -> dict[str, int]:
        """The length of the longest chain of stages that waits for each: what to start first."""
        below = {step.name: 0 for step in self.steps}
        for step in reversed(self.steps):
            for name in step.upstream:
                below[name] = max(below[name], below[step.name] + 1)
        return below


def make_plan(root: Path, targets: Sequence[str] = ()) -> Plan:
    """Compare the workspace with what DVC has recorded; changes nothing.

    Args:
        root: the repository.
        targets: stages wanted, with all they depend on; "crf_refine" means all its members. Empty
            means the whole graph.

    Raises:
        InputError: an unknown target, a dvc.yaml that DVC cannot read, an input that it cannot, or
            no git repository.
    """
    refuse_damaged_lists()
    if shutil.which("git") is None:
        raise InputError("git: no such program; DVC keeps its records with it")
    try:
        with opening(root) as repo:
            return _plan(repo, root, targets)
    except OSError as error:  # such as a link to nothing among the images
        raise InputError(f"{error.filename or root}: cannot be read: {error.strerror}") from error


def _plan(repo: Any, root: Path, targets: Sequence[str]) -> Plan:
    graph = repo.index.graph
    stages = stages_of(repo)  # what `dvc add` keeps is an input, not a step
    upstream = {
        name: ()
        if stage.frozen  # it stays as it is, whatever becomes of its inputs
        else tuple(name_of(above) for above in graph.successors(stage) if not above.is_data_source)
        for name, stage in stages.items()
    }
    chosen = resolve_targets(targets, list(stages))
    order = _ordered(chosen, upstream)
    fingerprints = Fingerprints(root, Path(repo.cache.local.path))
    with repo.lock:
        foreseen = _foreseen_code(root, stages.values(), fingerprints)
        changes = {name: _changes(stages[name], fingerprints, foreseen) for name in order}
        restorable = _restorable(repo, stages, order, upstream, changes, fingerprints, foreseen)
    fingerprints.save()
    recorded = _recorded(root / "dvc.lock")
    produced = [Path(out.fs_path) for stage in stages.values() for out in stage.outs]
    makers = {str(out.def_path): name for name in stages for out in stages[name].outs}
    metas = {name: _meta(root, name, stages[name]) for name in order}
    own = {name: metas[name].needs for name in order}
    content = {
        (name, other)
        for name in order
        for other in upstream[name]
        if _takes_what_is_there(stages[name], stages[other])
    }
    needs = resolve_needs(own, upstream, chosen, makers.get, content)
    steps: dict[str, Step] = {}
    for name in order:
        above = upstream[name]
        absent = [path for path in _absent(stages[name]) if not _is_made(path, produced)]
        missing = [*_not_pulled(graph.successors(stages[name]), root)]
        missing += [f"{_short(path, root)} is missing" for path in absent]
        settled = (State.UNCHANGED, State.LEFT_OUT)
        pending = [other for other in above if steps[other].state not in settled]
        # What the stage that reads the code will write is known, and compared already.
        waited = [other for other in pending if not _makes(stages[other], root / CLOSURES)]
        blocked = [other for other in pending if steps[other].state is State.BLOCKED]
        source = steps.get(makers.get(split_need(needs[name])[0], ""))
        lacking = "" if source and source.state is not State.UNCHANGED else lack(root, needs[name])
        if lacking:
            steps[name] = Step(name, above, State.LEFT_OUT, lacking)
        elif missing:
            steps[name] = Step(name, above, State.BLOCKED, missing[0])
        elif blocked:
            reason = _missing_weights(stages[name], root) or f"needs {blocked[0]}"
            steps[name] = Step(name, above, State.BLOCKED, reason)
        elif name in recorded and not changes[name] and not waited:
            steps[name] = Step(name, above, State.UNCHANGED)
        elif name in restorable:
            why = explain(changes[name]) if name in recorded else ""
            steps[name] = Step(name, above, State.RESTORABLE, why or "made before")
        elif not_given := _missing_weights(stages[name], root):
            steps[name] = Step(name, above, State.BLOCKED, not_given)
        elif name not in recorded:
            steps[name] = Step(name, above, State.MUST_RUN, "never run")
        elif changes[name]:
            steps[name] = Step(name, above, State.MUST_RUN, explain(changes[name]))
        else:
            steps[name] = Step(name, above, State.WAITING, f"after {', '.join(waited)}")
    described = (
        replace(
            step,
            meta=metas[name],
            command=str(stages[name].cmd),
            outs=tuple(str(out.def_path) for out in stages[name].outs),
            deps=files_read(stages[name]),
            params=keys_read(stages[name]),
            needs=needs[name],
        )
        for name, step in steps.items()
    )
    return Plan(tuple(described))


def _meta(root: Path, name: str, stage: Any) -> Directions:
    try:
        return Directions.model_validate(stage.meta or {})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in ("meta", *first["loc"]))
        raise InputError(
            f"{root / 'dvc.yaml'}: {name}: {field}: {first['msg']}, found {first['input']!r}"
        ) from error


Closures = Mapping[str, Mapping[str, str]]


def _foreseen_code(
    root: Path, stages: Iterable[Any], fingerprints: Fingerprints
) -> Closures | None:
    """What the stage that reads the code would write now; None where the file says so already.

    So an edit of the code is seen before that stage has run, and reaches only those it concerns.
    """
    makers = [stage for stage in stages if _makes(stage, root / CLOSURES)]
    if not makers or not _changes(makers[0], fingerprints, None):
        return None
    return all_closures(root)


def _makes(stage: Any, path: Path) -> bool:
    return any(Path(out.fs_path) == path.resolve() for out in stage.outs)


def _takes_what_is_there(reader: Any, maker: Any) -> bool:
    """Whether it reads folders around the outputs of `maker` and none of these themselves."""
    deps = [Path(dep.fs_path) for dep in reader.deps]
    outs = [Path(out.fs_path) for out in maker.outs]
    return not any(dep.is_relative_to(out) for dep in deps for out in outs)


def _changes(stage: Any, fingerprints: Fingerprints, foreseen: Closures | None) -> list[Any]:
    """The entries of DVC's `Stage.status`; empty when the stage is up to date."""
    changes: list[Any] = []
    for kind, entries in (
        ("changed deps", [] if stage.frozen else stage.deps),
        ("changed outs", stage.outs),
    ):
        states: dict[str, Any] = {}
        for out in entries:
            if _is_code(out):
                states |= _changed_code(out, foreseen)
            else:
                states |= fingerprints.status(out)
        if states:
            changes.append({kind: states})
    return changes + changes_beside_files(stage)


def _is_code(dep: Any) -> bool:
    return is_params(dep) and Path(dep.fs_path).match(str(CLOSURES))


def _changed_code(dep: Any, foreseen: Closures | None) -> dict[str, str]:
    """The modules and libraries of a stage that are not as recorded."""
    recorded = dep.hash_info.value or {}
    current = dep.read_params() if foreseen is None else foreseen
    states = {}
    for stage in dep.params:
        before, after = recorded.get(stage, {}), current.get(stage, {})
        for name in dict.fromkeys([*after, *before]):
            if before.get(name) != after.get(name):
                state = "modified" if name in before and name in after else "new"
                states[name] = state if name in after else "no longer imported"
    return states


def _restorable(
    repo: Any,
    stages: Mapping[str, Any],
    order: Sequence[str],
    upstream: Mapping[str, Sequence[str]],
    changes: Mapping[str, Sequence[Any]],
    fingerprints: Fingerprints,
    foreseen: Closures | None,
) -> set[str]:
    """The stages that DVC would check out of its cache instead of running them.

    Their inputs are on the disk, or are whole outputs of other stages of the set, or foreseen.
    """
    settled: set[str] = set()
    restorable: set[str] = set()
    hashes: dict[str, Any] = {}  # of the outputs that would be checked out, by path
    for name in order:
        above = {n for n in upstream[name] if not _makes(stages[n], Path(repo.root_dir) / CLOSURES)}
        if not changes[name] and above <= settled:
            settled.add(name)
        elif above <= settled | restorable:
            known = _known_folders(stages[name], fingerprints) | hashes
            outputs = kept_outputs(
                repo, stages[name], known, _foreseen_keys(stages[name], foreseen)
            )
            if outputs is not None:
                hashes |= outputs
                restorable.add(name)
    return restorable


def _known_folders(stage: Any, fingerprints: Fingerprints) -> dict[str, Any]:
    folders = {dep.fs_path: fingerprints.hash_of(Path(dep.fs_path)) for dep in stage.deps}
    return {path: hash_of_folder(md5) for path, md5 in folders.items() if md5 is not None}


def _foreseen_keys(stage: Any, foreseen: Closures | None) -> dict[str, Any]:
    if foreseen is None:
        return {}
    return {
        dep.fs_path: hash_of_params({name: dict(foreseen.get(name, {})) for name in dep.params})
        for dep in stage.deps
        if _is_code(dep)
    }


def resolve_targets(targets: Sequence[str], names: Sequence[str]) -> list[str]:
    """The stages that are meant, of those in `names`; all of them where no target is named.

    Raises:
        InputError: an unknown target.
    """
    if not targets:
        return list(names)
    chosen = []
    for target in targets:
        matching = [name for name in names if target in (name, name.split("@")[0])]
        if not matching:
            groups = {name.split("@")[0] for name in names}
            close = difflib.get_close_matches(target, [*names, *sorted(groups)], n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"stages: {', '.join(names)}"
            raise InputError(f"dvc.yaml: no stage {target!r}; {hint}")
        chosen += matching
    return chosen


def _ordered(chosen: Sequence[str], upstream: Mapping[str, Sequence[str]]) -> list[str]:
    """`chosen` and all above them, each after what it depends on."""
    graph = nx.DiGraph(upstream)
    ordered = (nx.dfs_postorder_nodes(graph, name) for name in chosen)
    return list(dict.fromkeys(itertools.chain.from_iterable(ordered)))


def _recorded(lock: Path) -> set[str]:
    """The stages that have an entry in dvc.lock."""
    return set(YAML(typ="safe").load(lock).get("stages", {})) if lock.exists() else set()


def _absent(stage: Any) -> list[Path]:
    """The files that the stage reads and that are not there."""
    return [Path(dep.fs_path) for dep in stage.deps if not Path(dep.fs_path).exists()]


def _missing_weights(stage: Any, root: Path) -> str:
    """What a section with the keys `weights` and `backbone` names and is not there; else empty."""
    for dep in stage.deps:
        for name, section in dep.read_params().items() if is_params(dep) else ():
            if isinstance(section, dict) and {"weights", "backbone"} <= section.keys():
                weights, backbone = str(section["weights"]), str(section["backbone"])
                if lacking := lacking_weights(weights, backbone, root):
                    return f"{name}.{lacking}"
    return ""


def _not_pulled(above: Iterable[Any], root: Path) -> Iterator[str]:
    """What `dvc add` keeps and is not on the disk, and the command that brings it."""
    for source in above:
        for out in source.outs if source.is_data_source else []:
            path = Path(out.fs_path)
            if not path.exists():
                pull = f"dvc pull {_short(Path(source.path), root)}"
                yield f"{_short(path, root)} is missing; {pull}"


def _is_made(path: Path, produced: Sequence[Path]) -> bool:
    return any(
        out == path or out.is_relative_to(path) or path.is_relative_to(out) for out in produced
    )


def _short(path: Path, root: Path) -> str:
    base = root.resolve()
    return str(path.relative_to(base) if path.is_relative_to(base) else path)


def explain(changes: Sequence[Any], most: int = 3) -> str:
    """DVC's status entries of one stage as one short line.

    >>> explain([{"changed deps": {"params.yaml": {"walk.steps": "modified"}}}, "changed command"])
    'walk.steps modified, command changed'
    """
    parts: list[str] = []
    for change in changes:
        if isinstance(change, str):
            parts.append(" ".join(reversed(change.split(maxsplit=1))))
        else:
            for entries in change.values():
                parts += _entries(entries)
    shown = parts[:most] + ([f"{len(parts) - most} more"] if len(parts) > most else [])
    return ", ".join(shown)


def _entries(entries: Mapping[str, Any]) -> Iterator[str]:
    for path, state in entries.items():
        if isinstance(state, dict):
            yield from _entries(state)
        else:
            yield f"{path} {state}"
