"""Run stages of the graph, each in a folder that holds only what dvc.yaml declares for it.

An audit hook notes what Python opens besides; what native code opens is simply not there. Each
stage is a fork of one process that has imported them all, which saves an import of torch per stage.

`python -m tests.sealed_line WORLD` runs the graph of WORLD/params.yaml and prints what was done
that was not declared, as JSON: {"stage": ["line", ...]}.
"""

import importlib
import json
import os
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.engine.command import read_params_file, run
from stages.engine.plain_yaml import look_up
from stages.io.declarations import Node, read_nodes

ROOT = Path(__file__).resolve().parents[1]
WATCHED = {"open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rmdir", "os.rename"}
#: What the user brings; no stage makes it.
BROUGHT = (Path("data/raw"), Path("data/corrections"))


def run_sealed(node: Node, stage: Callable[..., None], world: Path) -> list[str]:
    """Run a stage in this process, which must end afterwards: the hook and the folder stay.

    Args:
        node: what dvc.yaml declares.
        stage: the function.
        world: a folder with params.yaml and what earlier stages made; gets the outs.

    Returns:
        What the stage did and did not declare, or why it failed.
    """
    cell = world / "cells" / node.name
    images = _image_files(node, world)
    inputs = [*node.deps, *images]
    if "graph.yaml" in shlex.split(node.cmd):  # among its params; dvc.yaml by another name
        inputs.append(Path("graph.yaml"))
    for path in inputs:
        _link(world / path if path.is_relative_to("data") else ROOT / path, cell / path)
    _write_params(node, world, cell / "params.yaml")
    before = {path: _identity(path) for path in _files(cell)}
    os.chdir(cell)
    deeds: list[str] = []
    sys.addaudithook(_watch(cell, [*inputs, *node.outs], Path("data") / node.stage, deeds))
    try:
        run(stage, shlex.split(node.cmd)[3:])
    except SystemExit as end:
        deeds.append(f"ended with {end.code}")
    except Exception:
        deeds.append(traceback.format_exc())
    found = list(dict.fromkeys(deeds))
    for path in _files(cell):
        place = path.relative_to(cell)
        if path in before:
            if _identity(path) != before[path]:
                found.append(f"changed {place}")
        elif place.parts[0] != ".seedmask" and not _is_in(place, node.outs):
            found.append(f"left {place}")
    found += [f"removed {path.relative_to(cell)}" for path in before if not path.exists()]
    for out in node.outs:
        if (cell / out).exists():
            (world / out).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(cell / out, world / out)
        else:
            found.append(f"did not make {out}")
    return found


def _watch(
    cell: Path, declared: list[Path], folder: Path, deeds: list[str]
) -> Callable[[str, tuple[Any, ...]], None]:
    known = [*declared, Path(".seedmask"), Path("params.yaml")]

    def is_fine(event: str, path: Path) -> bool:
        if path.is_relative_to(ROOT):
            place = path.relative_to(ROOT)
            code = path.suffix in (".py", ".pyc") or path.name == "__pycache__"
            beside_code = _is_in(place, declared) and place.parts[0] != "data"
            passing = event != "open" and path.is_dir()
            return code or beside_code or place.parts[:1] == (".venv",) or passing
        if not path.is_relative_to(cell):
            return True
        place = path.relative_to(cell)
        on_the_way = event != "open" and any(other.is_relative_to(place) for other in known)
        own = place.relative_to(folder).parts[:3] if place.is_relative_to(folder) else ()
        temporary = any(name.startswith(".") and name.endswith(".tmp") for name in own)
        return on_the_way or _is_in(place, known) or temporary

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in WATCHED:
            for value in arguments[: 2 if event == "os.rename" else 1]:
                if isinstance(value, (str, bytes, os.PathLike)):
                    path = Path(os.path.normpath(cell / os.fsdecode(value)))
                    if not is_fine(event, path):
                        base = cell if path.is_relative_to(cell) else ROOT
                        deeds.append(f"{event} {path.relative_to(base)}")

    return hook


def _is_in(path: Path, places: list[Path] | tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(place) for place in places)


def _image_files(node: Node, world: Path) -> list[Path]:
    """The images under dataset.root that a table images.parquet declares by their hash."""
    is_reader = {"dataset", "dataset.root"} & set(node.params) and node.stage != "dataset"
    tables = [path for path in node.deps if path.name == "images.parquet"] if is_reader else []
    if not tables:
        return []
    from stages.io.tables import IMAGES, read_rows

    root = Path(look_up("dataset.root", read_params_file(world / "params.yaml")))
    rows = [row for table in tables for row in read_rows(world / table, IMAGES)]
    return list(dict.fromkeys(root / row["file"] for row in rows))


def _write_params(node: Node, world: Path, path: Path) -> None:
    """Only the sections and keys that dvc.yaml names."""
    values = read_params_file(world / "params.yaml")
    chosen: dict[str, Any] = {}
    for key in node.params:
        *parents, last = key.split(".")
        place = chosen
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = look_up(key, values)
    path.parent.mkdir(parents=True, exist_ok=True)
    YAML(typ="safe").dump(chosen, path)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.pyc"))
    elif not target.exists():
        shutil.copy(source, target)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _identity(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _in_a_fork(node: Node, stage: Callable[..., None], world: Path) -> list[str]:
    """`run_sealed` in a child process."""
    answer = world / f"{node.name}.json"
    child = os.fork()
    if child == 0:
        try:
            with (world / f"{node.name}.log").open("w") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
                content = json.dumps(run_sealed(node, stage, world))
                sys.stdout.flush()
            answer.write_text(content)
        except BaseException:
            answer.write_text(json.dumps([traceback.format_exc()]))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return list(json.loads(answer.read_text())) if answer.exists() else ["died"]


def main(world: Path) -> None:
    """Run the whole graph and print what was not declared."""
    nodes = read_nodes(ROOT / "dvc.yaml", read_params_file(world / "params.yaml"))
    functions = {
        node.stage: getattr(importlib.import_module(f"stages.{node.stage}"), node.stage)
        for node in nodes
    }
    done: list[Node] = []
    found: dict[str, list[str]] = {}
    while len(done) < len(nodes):
        made = [out for node in done for out in node.outs]
        for node in nodes:
            waits = [
                dep
                for dep in node.deps
                if dep.is_relative_to("data")
                and not _is_in(dep, BROUGHT)
                and not _is_in(dep, made)
                and not any(out.is_relative_to(dep) for out in made)
            ]
            if node not in done and not waits and _is_last_of_its_folder(node, nodes, done):
                found[node.name] = _in_a_fork(node, functions[node.stage], world)
                done.append(node)
                break
        else:
            raise SystemExit("a stage waits for what no stage makes")
    print(json.dumps(found, indent=1))


def _is_last_of_its_folder(node: Node, nodes: list[Node], done: list[Node]) -> bool:
    """A dep on a folder such as data/labels_eval waits for all that is written below it."""
    return all(
        other in done or other == node
        for other in nodes
        for dep in node.deps
        if any(out.is_relative_to(dep) for out in other.outs)
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
