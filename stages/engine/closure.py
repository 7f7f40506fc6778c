"""Which code a stage runs, found by reading it: its own modules, and the locked libraries.

The hash of a module is that of its syntax tree without docstrings, so that a comment, a docstring
or a line break makes no stage run again.
"""

import ast
import hashlib
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import packages_distributions
from pathlib import Path

from stages.engine.errors import InputError

PACKAGES = ("models", "pipelines", "stages")
LOCK = Path("requirements.lock")
#: Where the stage `code` writes every stage's closure; DVC reads an entry of it as a parameter.
CLOSURES = Path("data/code/closures.json")


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
    paths: set[Path] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        path = _file_of(name, root)
        if path is None:
            raise ModuleNotFoundError(f"{name}: no such module under {root}")
        if path in paths:
            continue
        paths.add(path)
        parts = name.split(".")
        pending += [".".join(parts[:length]) for length in range(1, len(parts))]
        ours = (name for name in _read_module(root / path).imports if _is_ours(name))
        pending += [name for name in ours if _file_of(name, root) is not None]
    return sorted(paths)


def stage_modules(stage: str, root: Path) -> dict[str, str]:
    """The hash of every module that a stage imports, by its path below `root`."""
    paths = import_closure(f"stages.{stage}", root)
    return {path.as_posix(): _read_module(root / path).digest for path in paths}


def stage_libraries(stage: str, root: Path) -> list[str]:
    """The libraries that a stage's modules import, each by its plain name, sorted.

    A package that nothing installed brings is given by its own name.
    """
    libraries: set[str] = set()
    for path in import_closure(f"stages.{stage}", root):
        for package in {name.split(".")[0] for name in _read_module(root / path).imports}:
            if package not in PACKAGES and package not in sys.stdlib_module_names:
                libraries.update(map(plain_name, _distributions().get(package, [package])))
    return sorted(libraries)


def stage_closure(stage: str, root: Path, locked: Mapping[str, str]) -> dict[str, str]:
    """All code that a stage runs, as DVC compares it.

    Args:
        stage: its name; "crf_refine" is stages/crf_refine.py.
        root: the repository's root.
        locked: version of every library, from `read_lock`.

    Returns:
        The hash of each module by its path, and the locked version of each library by its name.

    Raises:
        InputError: the stage imports what the lock does not hold.
    """
    libraries = stage_libraries(stage, root)
    if unlocked := [name for name in libraries if name not in locked]:
        raise InputError(f"stages/{stage}.py: imports {unlocked[0]}, which {LOCK} does not hold")
    return stage_modules(stage, root) | {name: locked[name] for name in libraries}


def all_closures(root: Path) -> dict[str, dict[str, str]]:
    """`stage_closure` of every stage that has a module, in the order of their names.

    Raises:
        InputError: requirements.lock is missing or wrong, a module is not Python, or imports what
            the lock does not hold.
    """
    locked = read_lock(root / LOCK)
    names = sorted(path.stem for path in (root / "stages").glob("*.py") if path.stem[0] != "_")
    return {name: stage_closure(name, root, locked) for name in names}


def read_lock(path: Path) -> dict[str, str]:
    """The version of every library in a lock of `name==version` lines, by its plain name.

    What follows a `;` says on which machines a line holds; of several lines for one library all
    versions count, joined by " or ".

    Raises:
        InputError: the file is missing, or a line is not `name==version`.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    versions: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        requirement = line.partition("#")[0].partition(";")[0].strip()
        if not requirement:
            continue
        name, pinned, version = (part.strip() for part in requirement.partition("=="))
        if not (name and pinned and version):
            raise InputError(f"{path}: line {number}: {line!r}; expected name==version")
        versions.setdefault(plain_name(name), []).append(version)
    return {name: " or ".join(sorted(set(several))) for name, several in versions.items()}


def plain_name(name: str) -> str:
    """A library's name as the package index compares it, without extras."""
    return name.partition("[")[0].lower().replace("_", "-").replace(".", "-")


class _Module:
    """What a file imports (dotted names, of us and of others), and the hash of what it does."""

    def __init__(self, source: bytes, name: str) -> None:
        try:
            tree = ast.parse(source, filename=name)
        except (SyntaxError, ValueError) as error:
            raise InputError(f"{name}: not Python: {error}") from error
        self.imports = tuple(_imports(tree))
        self.digest = _digest(tree)


def _read_module(path: Path) -> _Module:
    try:
        return _parse(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


@lru_cache(maxsize=1024)
def _parse(source: bytes, name: str) -> _Module:
    return _Module(source, name)


def _imports(tree: ast.AST) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            if _is_ours(node.module):  # a name may be a module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _digest(tree: ast.Module) -> str:
    """32 hexadecimal digits. A string that stands alone does nothing, wherever it stands."""
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(node, name, None)
            if isinstance(statements, list):
                setattr(node, name, [line for line in statements if not _is_text(line)])
    return hashlib.sha256(ast.dump(tree).encode(errors="surrogatepass")).hexdigest()[:32]


def _is_text(statement: ast.AST) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _is_ours(name: str) -> bool:
    return name.split(".")[0] in PACKAGES


def _file_of(name: str, root: Path) -> Path | None:
    base = Path(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if (root / candidate).is_file():
            return candidate
    return None


@lru_cache(maxsize=1)
def _distributions() -> Mapping[str, list[str]]:
    """By importable package, the libraries that are installed and bring it."""
    return packages_distributions()
