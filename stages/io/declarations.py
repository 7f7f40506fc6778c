"""What dvc.yaml declares: its stages with foreach and ${...} resolved, and what each output is.

DVC keeps three notes on an output and ignores them; we read them:

    outs:
      - data/mine/labels: {type: label_maps, labels: [opinion], meta: {line: masks}}

type: label_maps     folder of <image_id>.png, class numbers, 255 = unknown
      instance_maps  folder of <image_id>.png, instance numbers
      score_maps     folder of <image_id>.npz (stages/io/score_maps.py)
      graphs         folder of <image_id>.npz (stages/io/graphs.py)
      pictures       folder of <image_id>.png, .jpg or .jpeg
      instances      one table of instances (stages/io/tables.py)
      fixations      one table of fixations, likewise
      tables, weights, pages
      measures       numbers in JSON; so is all under `metrics`
      curves         CSV of an epoch in each row; so is all under `plots`
labels: final        what the line is for; trained on, exported, reviewed
      opinion        held against the others of the line to find doubtful images; of score maps,
                     the one whose entropy tells doubt
      truth          ground truth
meta: line           the line that the output belongs to; of measures: on whose ladder they stand
      folders        {subfolder: type} where a folder holds several types
      title, note    of tables (CSV) and pictures: a section of the page of a line of ranked
                     instances
  of measures alone:
      labels, instances, ranked   the output that is measured
      reference      table of the ranks that `ranked` is measured against
      row, note      title and remark of its row of the ladder on the line's page
      column         crf: it stands beside that of the row as it is, as after the CRF
      role           final: the page is about it; baseline: it tells what `final` gained against
                     it; seeds: what the method learns from, unknown pixels are meant
      source         its name in `pipelines ladder`; default: the member

The entry of a foreach's member is meta of all its outputs, too.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.engine.errors import InputError
from stages.engine.plain_yaml import look_up


@dataclass(frozen=True)
class Output:
    """An output and what it is; see the module.

    Attributes:
        path: relative to the root.
        stage: that makes it, with the member.
        type: empty where none is declared.
        labels: what it is for.
        meta: the rest.
    """

    path: str
    stage: str
    type: str = ""
    labels: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The line that it belongs to; empty: to none, or to several."""
        return str(self.meta.get("line", ""))

    @property
    def source(self) -> str:
        """What measures call that which they measure."""
        return str(self.meta.get("source") or self.stage.rpartition("@")[2])


@dataclass(frozen=True)
class Node:
    """A stage as DVC runs it; paths relative to the root."""

    name: str
    cmd: str
    deps: tuple[Path, ...]
    params: tuple[str, ...]
    outs: tuple[Path, ...]
    outputs: tuple[Output, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stage(self) -> str:
        """Its name without the member of a foreach."""
        return self.name.split("@")[0]


def read_nodes(dvc_yaml: Path, params: Mapping[str, Any]) -> list[Node]:
    """All stages, members of a foreach one by one, in the order of the file.

    Args:
        dvc_yaml: the file.
        params: the content of params.yaml, for ${section.key}.

    Raises:
        InputError: it cannot be read, or is no dvc.yaml.
    """
    try:
        return resolve_nodes(parse_graph(dvc_yaml.read_bytes(), str(dvc_yaml)), params)
    except (OSError, TypeError, AttributeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{dvc_yaml}: expected the stages of DVC, found {reason}") from error


def parse_graph(content: bytes, where: str) -> dict[str, Any]:
    """All that a dvc.yaml holds, each foreach and ${...} as it is written.

    Args:
        content: of the file, of any revision.
        where: what messages call it.

    Raises:
        InputError: no YAML, or without stages.
    """
    try:
        found = YAML(typ="safe").load(content)
        stages = found["stages"]
    except (YAMLError, UnicodeDecodeError, TypeError, KeyError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{where}: expected YAML with stages: {reason}") from error
    if not isinstance(stages, dict) or not all(isinstance(one, dict) for one in stages.values()):
        raise InputError(f"{where}: stages: expected name: {{cmd: ...}}")
    return dict(found)


def resolve_nodes(content: Mapping[str, Any], params: Mapping[str, Any]) -> list[Node]:
    """`read_nodes` of what dvc.yaml holds; a ${...} that stands for nothing stays as it is.

    Raises:
        TypeError, AttributeError, KeyError: it is no dvc.yaml.
    """
    values = dict(params)
    for entry in content.get("vars", []):
        values |= entry if isinstance(entry, Mapping) else {}
    nodes = []
    for name, entry in content["stages"].items():
        if "do" not in entry:
            nodes.append(_node(str(name), entry, values, {}))
            continue
        for key, item in _members(entry["foreach"]):
            here = {**values, "key": key, "item": item}
            meta = item if isinstance(item, Mapping) else {}
            nodes.append(_node(f"{name}@{key}", entry["do"], here, meta))
    return nodes


def overlap(first: Path, second: Path) -> bool:
    """Whether one is the other or lies in it."""
    return first.is_relative_to(second) or second.is_relative_to(first)


def _members(each: Any) -> Iterator[tuple[str, Any]]:
    pairs = each.items() if isinstance(each, Mapping) else ((item, item) for item in each)
    return ((str(key), item) for key, item in pairs)


def _node(
    name: str, body: Mapping[str, Any], values: Mapping[str, Any], meta: Mapping[str, Any]
) -> Node:
    outputs = [
        _output(name, _resolve(out, values), kind, meta)
        for section, kind in (("outs", ""), ("metrics", "measures"), ("plots", "curves"))
        for out in body.get(section) or []
    ]
    params = body.get("params") or []
    return Node(
        name,
        _resolve(str(body["cmd"]), values),
        tuple(Path(_resolve(str(dep), values)) for dep in body.get("deps") or []),
        tuple(key for key in params if isinstance(key, str)),  # of params.yaml
        tuple(Path(output.path) for output in outputs),
        tuple(outputs),
        meta,
    )


def _output(stage: str, out: Any, kind: str, meta: Mapping[str, Any]) -> Output:
    path, notes = next(iter(out.items())) if isinstance(out, Mapping) else (out, {})
    notes = notes if isinstance(notes, Mapping) else {}
    labels, own = notes.get("labels"), notes.get("meta")
    labels = tuple(map(str, labels)) if isinstance(labels, list) else ()
    both = {**meta, **(own if isinstance(own, Mapping) else {})}
    return Output(str(path), stage, str(notes.get("type") or kind), labels, both)


def _resolve(value: Any, values: Mapping[str, Any]) -> Any:
    """With the ${...} of all texts in it replaced."""
    if isinstance(value, Mapping):
        return {_resolve(key, values): _resolve(entry, values) for key, entry in value.items()}
    if isinstance(value, list):
        return [_resolve(entry, values) for entry in value]
    if not isinstance(value, str):
        return value

    def known(match: re.Match[str]) -> str:
        found = look_up(match[1], values)
        return match[0] if found is None else str(found)

    return re.sub(r"\$\{([\w.]+)\}", known, value)
