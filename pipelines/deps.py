"""Hold dvc.yaml to the imports: DVC does not follow them, so every file a stage imports is a dep.

A file too few means stale results; a file too many means retraining for a comment.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from pipelines.commented_yaml import dump_commented, load_commented
from stages.io.closure import import_closure
from stages.io.files import write_bytes


def check_deps(root: Path) -> list[str]:
    """The differences between dvc.yaml and the imports, one line each; empty when there is none."""
    return _compare(load_commented((root / "dvc.yaml").read_text()), root)


def fix_deps(root: Path) -> list[str]:
    """Write the import closures into dvc.yaml, keeping its comments and layout.

    Returns:
        The differences that were there; those of a stage without a module remain.
    """
    path = root / "dvc.yaml"
    before = path.read_text()
    content = load_commented(before)
    differences = _compare(content, root)
    for _, body, modules in _stages(content, root):
        if modules is not None:
            _set_modules(body, modules)
    text = dump_commented(content)
    if text != before:
        write_bytes(path, text.encode())
    return differences


def _compare(content: CommentedMap, root: Path) -> list[str]:
    differences = []
    for name, body, modules in _stages(content, root):
        if modules is None:
            differences.append(f"{name}: stages/{name}.py is missing")
            continue
        listed = [dep for dep in body.get("deps", []) if _is_module(dep)]
        differences += [f"{name}: {dep} is imported but not a dep" for dep in modules - set(listed)]
        differences += [f"{name}: {dep} is a dep but not imported" for dep in set(listed) - modules]
    return sorted(differences)


def _stages(
    content: CommentedMap, root: Path
) -> Iterator[tuple[str, CommentedMap, set[str] | None]]:
    for name, entry in content["stages"].items():
        body = entry.get("do", entry)
        if (root / "stages" / f"{name}.py").is_file():
            closure = import_closure(f"stages.{name}", root)
            yield name, body, {path.as_posix() for path in closure}
        else:
            yield name, body, None


def _set_modules(body: CommentedMap, modules: set[str]) -> None:
    if not modules:
        return
    if "deps" not in body:
        body.insert(list(body).index("cmd") + 1, "deps", CommentedSeq())
    deps: CommentedSeq = body["deps"]
    for index in reversed(range(len(deps))):
        if _is_module(deps[index]) and deps[index] not in modules:
            del deps[index]
    for module in sorted(modules - set(deps)):
        after = [index for index, dep in enumerate(deps) if _is_module(dep) and dep > module]
        deps.insert(after[0] if after else len(deps), module)
    deps.fa.set_block_style()


def _is_module(dep: Any) -> bool:
    return str(dep).endswith(".py")
