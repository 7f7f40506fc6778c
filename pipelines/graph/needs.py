"""Stages that are of use only when there is something: `meta: {needs: FILE.json:key}` in dvc.yaml.

FILE.json is written by a stage; where the number at `key` is 0 (no ground truth, say), a run leaves
out the stages that need it, and those whose outputs nobody else wants. Who reads the folder around
an output, and not the output itself, takes what is there: so a report does without measures.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import networkx as nx


def resolve_needs(
    own: Mapping[str, str],
    upstream: Mapping[str, Sequence[str]],
    targets: Collection[str],
    maker: Callable[[str], str | None],
    content: Collection[tuple[str, str]] = (),
) -> dict[str, str]:
    """What each stage of a plan is left out without.

    A stage is wanted as a target, which takes what it says itself, or by a stage that reads it,
    which takes what that one needs. It can be left out when all of these name the same need, and
    the need is known before it starts.

    Args:
        own: "FILE.json:key" by stage, each after those it reads; empty: none.
        upstream: the stages that each one reads.
        targets: the stages that were asked for.
        maker: the stage that writes a file; None: no stage does.
        content: (reader, read) where the reader takes what is there; a stage that says itself what
            it needs is not wanted by such a reader.

    Returns:
        As `own`.
    """
    readers: dict[str, list[str]] = {name: [] for name in own}
    for name in own:
        for above in upstream[name]:
            readers[above].append(name)
    needs: dict[str, str] = {}
    for name in reversed(list(own)):
        wanting = [r for r in readers[name] if not (own[name] and (r, name) in content)]
        uses = {needs[reader] for reader in wanting}
        if name in targets or not uses:
            uses.add(own[name])
        need = uses.pop() if len(uses) == 1 else ""
        source = maker(split_need(need)[0]) if need else None
        is_known = source is None or source in all_above(name, upstream)
        needs[name] = need if is_known else ""
    return needs


def all_above(name: str, upstream: Mapping[str, Sequence[str]]) -> set[str]:
    """The stages that a stage depends on, at whatever distance."""
    return set(nx.descendants(nx.DiGraph(upstream), name))


def leave_out(root: Path, outs: Sequence[str]) -> None:
    """A stage that is left out leaves none of its files where others take what is there."""
    for out in outs:
        path = root / out
        if not path.is_dir():
            path.unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)


def split_need(need: str) -> tuple[str, str]:
    """The file and the key of "FILE.json:key"."""
    file, _, key = need.rpartition(":")
    return file, key


def lack(root: Path, need: str) -> str:
    """Why a stage with this need is left out; empty when it is not, or the number is not there."""
    file, key = split_need(need)
    if not need:
        return ""
    try:
        number = json.loads((root / file).read_text())[key]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f"{key} is 0 in {file}" if number == 0 else ""
