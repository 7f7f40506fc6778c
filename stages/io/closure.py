"""Which files of ours a module imports, found by reading them: what DVC and the memo must know."""

import ast
from pathlib import Path

PACKAGES = ("models", "pipelines", "stages")


def import_closure(module: str, root: Path) -> list[Path]:
    """The first-party files that importing `module` executes, `__init__.py` files included.

    Args:
        module: dotted name, such as "stages.crf_refine".
        root: the repository's root.

    Returns:
        Sorted paths relative to `root`.

    Raises:
        ModuleNotFoundError: `module` has no file under `root`.
    """
    found: set[Path] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        path = _file_of(name, root)
        if path is None:
            raise ModuleNotFoundError(f"{name}: no such module under {root}")
        if path in found:
            continue
        found.add(path)
        parts = name.split(".")
        pending += [".".join(parts[:length]) for length in range(1, len(parts))]
        pending += _first_party_imports(root / path, root)
    return sorted(found)


def _file_of(name: str, root: Path) -> Path | None:
    base = Path(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if (root / candidate).is_file():
            return candidate
    return None


def _first_party_imports(path: Path, root: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.append(node.module)
            submodules = (f"{node.module}.{alias.name}" for alias in node.names)
            names += [name for name in submodules if name.split(".")[0] in PACKAGES]
    ours = [name for name in names if name.split(".")[0] in PACKAGES]
    return [name for name in ours if _file_of(name, root) is not None]
