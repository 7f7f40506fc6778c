"""What has to run: DVC's own graph and status, read in process and never drawn again here."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from ruamel.yaml import YAML

from stages.io.errors import InputError


class State(StrEnum):
    """What a plan says of one stage."""

    UNCHANGED = "unchanged"
    MUST_RUN = "must run"
    WAITING = "waiting"  # for a stage above it; runs if that one's outputs change
    BLOCKED = "blocked"  # needs a file that is not there and that no stage makes


@dataclass(frozen=True)
class Step:
    """One DVC stage of a plan.

    Attributes:
        name: as DVC addresses it, such as "crf_refine@walk".
        upstream: the names of the stages whose outputs it reads.
        state: whether it must run.
        reason: why, in a few words; empty when unchanged.
    """

    name: str
    upstream: tuple[str, ...]
    state: State
    reason: str = ""


@dataclass(frozen=True)
class Plan:
    """The chosen stages, each after all it depends on, in the order of dvc.yaml otherwise."""

    steps: tuple[Step, ...]
    by_name: Mapping[str, Step] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {step.name: step for step in self.steps})

    @property
    def pending(self) -> list[Step]:
        """The steps that are not unchanged."""
        return [step for step in self.steps if step.state is not State.UNCHANGED]

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
        InputError: an unknown target, or a dvc.yaml that DVC cannot read.
    """
    try:
        with Repo(str(root), _wait_for_lock=True) as repo:
            return _plan(repo, root, targets)
    except DvcException as error:
        raise InputError(f"{root / 'dvc.yaml'}: {' '.join(str(error).split())}") from error


def _plan(repo: Repo, root: Path, targets: Sequence[str]) -> Plan:
    graph = repo.index.graph
    stages = {_name(stage): stage for stage in repo.index.stages}
    upstream = {
        name: tuple(_name(above) for above in graph.successors(stage))
        for name, stage in stages.items()
    }
    order = list(_ordered(_resolve(targets, list(stages)), upstream))
    with repo.lock:
        changes = {name: _changes(stages[name]) for name in order}
    recorded = _recorded(root / "dvc.lock")
    produced = [Path(out.fs_path) for stage in stages.values() for out in stage.outs]
    steps: dict[str, Step] = {}
    for name in order:
        above = upstream[name]
        missing = [path for path in _absent(stages[name]) if not _is_made(path, produced)]
        pending = [other for other in above if steps[other].state is not State.UNCHANGED]
        blocked = [other for other in pending if steps[other].state is State.BLOCKED]
        if missing:
            steps[name] = Step(name, above, State.BLOCKED, f"{_short(missing[0], root)} is missing")
        elif blocked:
            steps[name] = Step(name, above, State.BLOCKED, f"needs {blocked[0]}")
        elif name not in recorded:
            steps[name] = Step(name, above, State.MUST_RUN, "never run")
        elif changes[name]:
            steps[name] = Step(name, above, State.MUST_RUN, explain(changes[name]))
        elif pending:
            steps[name] = Step(name, above, State.WAITING, f"after {', '.join(pending)}")
        else:
            steps[name] = Step(name, above, State.UNCHANGED)
    return Plan(tuple(steps[name] for name in order))


def _name(stage: Any) -> str:
    """As dvc.yaml has it; DVC's own `addressing` depends on the current folder."""
    return str(getattr(stage, "name", None) or stage.addressing)


def _changes(stage: Any) -> list[Any]:
    """DVC's status entries; empty when the stage is up to date."""
    return next(iter(stage.status(check_updates=True).values()), [])


def _resolve(targets: Sequence[str], names: Sequence[str]) -> list[str]:
    if not targets:
        return list(names)
    chosen = []
    for target in targets:
        found = [name for name in names if target in (name, name.split("@")[0])]
        if not found:
            groups = {name.split("@")[0] for name in names}
            close = difflib.get_close_matches(target, [*names, *sorted(groups)], n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"stages: {', '.join(names)}"
            raise InputError(f"dvc.yaml: no stage {target!r}; {hint}")
        chosen += found
    return chosen


def _ordered(chosen: Sequence[str], upstream: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """`chosen` and all above them, each after what it depends on."""
    seen: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        if name not in seen:
            seen.add(name)
            for above in upstream[name]:
                yield from visit(above)
            yield name

    for name in chosen:
        yield from visit(name)


def _recorded(lock: Path) -> set[str]:
    """The stages that have an entry in dvc.lock."""
    return set(YAML(typ="safe").load(lock).get("stages", {})) if lock.exists() else set()


def _absent(stage: Any) -> list[Path]:
    """The files that the stage reads and that are not there."""
    return [Path(dep.fs_path) for dep in stage.deps if not Path(dep.fs_path).exists()]


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
