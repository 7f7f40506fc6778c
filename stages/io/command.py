"""The outside world of a stage: argv holds the paths, params.yaml the numbers."""

import argparse
import difflib
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.io.errors import InputError
from stages.io.progress import announced


def read_params_file(path: Path) -> dict[str, Any]:
    """Read params.yaml as plain Python values; ruamel, because PyYAML reads 1e-4 as text.

    Raises:
        InputError: the file is missing, is not YAML, or is not a mapping of sections.
    """
    try:
        content = YAML(typ="safe").load(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected the parameters of the stages") from error
    except YAMLError as error:
        problem = " ".join(str(error).split())
        raise InputError(f"{path}: not valid YAML: {problem}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected one section per stage, found {type(content).__name__}")
    return content


def parse_section(params_type: type[Any], section: object, where: str) -> Any:
    """Build the frozen dataclass `params_type` from a section of params.yaml.

    Args:
        params_type: a pydantic dataclass with `extra="forbid"`.
        section: what params.yaml holds under the stage's name.
        where: how messages name the place, such as "params.yaml: crf_refine".

    Raises:
        InputError: an unknown or missing key, or a value of the wrong type or range; one line.
    """
    if not isinstance(section, dict):
        raise InputError(f"{where}: expected key: value pairs, found {section!r}")
    try:
        return TypeAdapter(params_type).validate_python(section)
    except ValidationError as error:
        raise InputError(_explain(error, params_type, where)) from error


def _explain(error: ValidationError, params_type: type[Any], where: str) -> str:
    known = list(inspect.signature(params_type).parameters)
    problems = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
            problems.append(f"{where}.{key}: unknown key; {hint}")
        elif problem["type"] in ("missing", "missing_argument"):
            problems.append(f"{where}.{key}: missing")
        else:
            problems.append(f"{where}.{key}: {problem['msg']}, found {problem['input']!r}")
    return "; ".join(problems)


def run(stage: Callable[..., None], argv: Sequence[str] | None = None) -> None:
    """Run a stage from the command line: `if __name__ == "__main__": run(stage)`.

    The stage's first argument is its Params dataclass, filled from the params.yaml section of the
    stage's name; every other argument is a `Path`, `str` or `int` and becomes a required option
    (`dataset_root` is `--dataset-root`), or an optional one where it has a default.
    An InputError becomes one line on stderr and exit code 1.
    """
    name = stage.__name__
    hints = get_type_hints(stage)
    description = inspect.getdoc(inspect.getmodule(stage)) or ""
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = list(inspect.signature(stage).parameters.values())
    for argument in names[1:]:
        required = argument.default is inspect.Parameter.empty
        kind = hints[argument.name]
        scalar = next(t for t in (Path, int, str) if kind is t or kind == (t | None))
        parser.add_argument(
            "--" + argument.name.replace("_", "-"),
            type=scalar,
            required=required,
            default=None if required else argument.default,
        )
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="numbers")
    arguments = vars(parser.parse_args(argv))
    params_file: Path = arguments.pop("params")
    try:
        sections = read_params_file(params_file)
        if name not in sections:
            raise InputError(f"{params_file}: section {name!r} is missing")
        params_type = hints[names[0].name]
        params = parse_section(params_type, sections[name], f"{params_file}: {name}")
        with announced(name):
            stage(params, **arguments)
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        raise SystemExit(1) from error
