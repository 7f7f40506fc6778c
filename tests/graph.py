"""dvc.yaml with its foreach and its ${...} resolved, read without DVC."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML


@dataclass(frozen=True)
class Node:
    """A stage as DVC runs it; paths relative to the root."""

    name: str
    cmd: str
    deps: tuple[Path, ...]
    params: tuple[str, ...]
    outs: tuple[Path, ...]

    @property
    def stage(self) -> str:
        """Its name without the member of a foreach."""
        return self.name.split("@")[0]


def read_nodes(dvc_yaml: Path, params: Mapping[str, Any]) -> list[Node]:
    """All stages, members of a foreach one by one, in the order of the file."""
    nodes = []
    for name, entry in YAML(typ="safe").load(dvc_yaml)["stages"].items():
        if "do" not in entry:
            nodes.append(_node(name, entry, params))
            continue
        members = entry["foreach"]
        pairs = members.items() if isinstance(members, dict) else ((item, item) for item in members)
        for key, item in pairs:
            nodes.append(_node(f"{name}@{key}", entry["do"], {**params, "key": key, "item": item}))
    return nodes


def look_up(key: str, values: Mapping[str, Any]) -> Any:
    """The value at a dotted key; KeyError when there is none."""
    place: Any = values
    for part in key.split("."):
        place = place[part]
    return place


def overlap(first: Path, second: Path) -> bool:
    """Whether one is the other or lies in it."""
    return first.is_relative_to(second) or second.is_relative_to(first)


def _node(name: str, body: Mapping[str, Any], values: Mapping[str, Any]) -> Node:
    def resolve(value: Any) -> str:
        text = next(iter(value)) if isinstance(value, dict) else str(value)
        return re.sub(r"\$\{([\w.]+)\}", lambda match: str(look_up(match[1], values)), text)

    outs = [*body.get("outs", []), *body.get("metrics", []), *body.get("plots", [])]
    return Node(
        name,
        resolve(body["cmd"]),
        tuple(Path(resolve(dep)) for dep in body.get("deps", [])),
        tuple(key for key in body.get("params", []) if isinstance(key, str)),  # of params.yaml
        tuple(Path(resolve(out)) for out in outs),
    )
