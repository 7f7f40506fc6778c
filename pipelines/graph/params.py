"""Check the whole params.yaml before any work is done."""

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_type_hints

from pipelines.graph.dvc_yaml import body, read_stages
from stages.engine.command import parse_section, read_params_file
from stages.engine.errors import InputError
from stages.engine.files import write_json
from stages.engine.plain_yaml import look_up

#: By section, the digest of what was found right.
CHECKED = Path(".seedmask/params.json")


def check_params(root: Path) -> None:
    """Check all of params.yaml, before DVC reads any of it.

    Raises:
        InputError: as `read_params_file`, `check_sections` and `check_values`.
    """
    check_values(check_sections(root), root / "params.yaml")


def check_sections(root: Path) -> dict[str, Any]:
    """Check that params.yaml has a section for every stage and no other; imports no stage.

    Returns:
        The sections.

    Raises:
        InputError: a section is missing or unknown, or a key that dvc.yaml names is missing.
    """
    file = root / "params.yaml"
    sections = read_params_file(file)
    stages = read_stages(root)
    for name in sections:
        if name not in stages:
            raise InputError(f"{file}: unknown section {name!r}; {suggest(name, stages)}")
    for name, stage in stages.items():
        if name not in sections:
            raise InputError(f"{file}: section {name!r} is missing")
        for key in body(stage).get("params", []):
            # what is no text names another file than params.yaml
            if isinstance(key, str) and look_up(key, sections) is None:
                raise InputError(f"{file}: {key} is missing, which dvc.yaml needs")
    return sections


def check_values(sections: Mapping[str, Any], file: Path) -> None:
    """Check every key of every section against the stage's Params.

    That imports the stages, which takes seconds, so it is kept in .seedmask beside `file` which
    sections were right, and they are not checked again until they or the code change.

    Raises:
        InputError: one line per problem.
    """
    digests_file = file.parent / CHECKED
    code = _code_digest()
    digests = {
        name: hashlib.sha256(f"{code} {name} {section!r}".encode()).hexdigest()
        for name, section in sections.items()
    }
    known = _read_checked(digests_file)
    problems = []
    for name, section in sections.items():
        if known.get(name) == digests[name]:
            continue
        try:
            parse_section(params_type(name), section, f"{file}: {name}")
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    if known != digests:
        write_json(digests_file, digests)


def _read_checked(digests_file: Path) -> dict[str, str]:
    try:
        content = json.loads(digests_file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _code_digest() -> str:
    """Hash of all that says what a section may hold: our code, and pydantic's version."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256(version("pydantic").encode())
    for package in ("models", "stages"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def params_type(name: str) -> type[Any]:
    """The Params dataclass of a stage.

    Raises:
        InputError: the stage has no module.
    """
    if importlib.util.find_spec(f"stages.{name}") is None:
        raise InputError(f"stages/{name}.py: no such file, but dvc.yaml has a stage {name!r}")
    function = getattr(importlib.import_module(f"stages.{name}"), name)
    first = next(iter(inspect.signature(function).parameters))
    kind: type[Any] = get_type_hints(function)[first]
    return kind


def suggest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or the list of what is known."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
