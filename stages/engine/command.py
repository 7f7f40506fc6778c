"""The outside world of a stage: argv holds the paths, params.yaml the numbers."""

import argparse
import dataclasses
import difflib
import inspect
import itertools
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from stages.engine.closure import CLOSURES, import_closure, stage_modules
from stages.engine.errors import InputError
from stages.engine.files import MACHINE, explain_machine_error
from stages.engine.inputs import Inputs, Value, explain, is_edited_since_start, look_at
from stages.engine.plain_yaml import look_up, parse_plain, shorten
from stages.engine.progress import announced

#: Where a stage leaves what it has read, for whoever started DVC and waits for its record.
LEFT = "SEEDMASK_INPUTS"
ROOT = Path(__file__).resolve().parents[2]
PartT = TypeVar("PartT")


def read_params_file(path: Path) -> dict[str, Any]:
    """Read params.yaml as plain Python values.

    Raises:
        InputError: the file is missing, cannot be read, is not plain YAML (`parse_plain`), or is
            not a mapping of sections.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path}: expected a file, found something else")
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected the parameters of the stages") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#04x} at {error.start}"
        raise InputError(f"{path}: expected YAML in UTF-8, found {found}") from error
    content = parse_plain(text, str(path))
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected one section per stage, found {type(content).__name__}")
    return content


def read_values(keys: Iterable[tuple[str, str]]) -> list[Value]:
    """What params files hold at dotted keys; None where there is nothing to be had."""
    return [(file, key, _value_in(file, key)) for file, key in keys]


def _value_in(file: str, key: str) -> str | None:
    try:
        return _value_at(read_params_file(Path(file)), key)
    except InputError:
        return None


def _value_at(sections: Mapping[str, Any], key: str) -> str | None:
    value = look_up(key, sections)
    return None if value is None else json.dumps(value, sort_keys=True, default=str)


def parse_section(params_type: type[Any], section: object, where: str) -> Any:
    """Build the frozen dataclass `params_type` from a section of params.yaml.

    Args:
        params_type: a pydantic dataclass with `extra="forbid"`.
        section: what params.yaml holds under the stage's name.
        where: how messages name the place, such as "params.yaml: crf_refine".

    Raises:
        InputError: an unknown or missing key, or a value of the wrong type or range, infinite or
            no number; one line.
    """
    if not isinstance(section, dict):
        raise InputError(f"{where}: expected key: value pairs, found {shorten(repr(section))}")
    try:
        params = TypeAdapter(params_type).validate_python(section)
    except ValidationError as error:
        raise InputError(_explain(error, params_type, where)) from error
    for key, value in dataclasses.asdict(params).items():
        if not _is_finite(value):
            raise InputError(f"{where}.{key}: expected a finite number, found {section[key]!r}")
    return params


def part_of(kind: type[PartT], params: PartT) -> PartT:
    """The fields that `params` has inherited from the dataclass `kind`, as one of these."""
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    return kind(**{field.name: getattr(params, field.name) for field in fields})


def _is_finite(value: object) -> bool:
    """Whether all numbers of a parameter are; no stage can mean infinity or nan."""
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


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
            found = shorten(repr(problem["input"]))
            problems.append(f"{where}.{key}: {problem['msg']}, found {found}")
    return "; ".join(problems)


def run(stage: Callable[..., None], argv: Sequence[str] | None = None) -> None:
    """Run a stage from the command line: `if __name__ == "__main__": run(stage)`.

    The stage's first argument is its Params dataclass, filled from the params.yaml section of the
    stage's name; every other argument is a `Path`, `str`, `int` or `Literal` and becomes a required
    option (`dataset_root` is `--dataset-root`), or an optional one where it has a default; or it is
    a dataclass of such fields, whose first one is the option of the argument's name, the others
    options of their own (`data: Dataset` is `--data` and `--root`). A path or a tuple given
    as `@section.key` is what params.yaml holds there: so no shell ever sees its text.
    An InputError, and what the machine refuses, becomes one line on stderr and exit code 1, and so
    does an input, the section or the code that changed before the stage ended: DVC, which hashes
    them afterwards, would record the outputs as made from what they are then.
    """
    name = stage.__name__
    hints = get_type_hints(stage)
    description = inspect.getdoc(inspect.getmodule(stage)) or ""
    asked = {"-h", "--help"}.intersection(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{name}",
        description=description,
        epilog=f"{inspect.getdoc(stage)}\n\n{_described_numbers(name)}" if asked else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = list(inspect.signature(stage).parameters.values())
    for argument in names[1:]:
        for option, kind, default in _options(argument, hints[argument.name]):
            required = default is inspect.Parameter.empty
            parser.add_argument(
                "--" + option.replace("_", "-"),
                type=next((t for t in (Path, int, str) if kind is t or kind == (t | None)), str),
                choices=get_args(kind) if get_origin(kind) is Literal else None,
                required=required,
                default=None if required else default,
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
        keys = [str(value)[1:] for value in arguments.values() if str(value).startswith("@")]
        values = [(str(params_file), key, _value_at(sections, key)) for key in (name, *keys)]
        named: Sequence[Path] = getattr(params, "files", ())  # by a number, as pretrained weights
        resolved = _look_up_paths(arguments, sections, params_file)
        arguments = {
            argument.name: _given(argument, hints[argument.name], resolved)
            for argument in names[1:]
        }
        with announced(name):
            inputs = _look_at_inputs(stage, arguments, values, named)
            stage(params, **arguments)
            _check_unchanged(inputs, name)
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    except OSError as error:
        if error.errno not in MACHINE:
            raise
        print(f"{name}: {explain_machine_error(error)}", file=sys.stderr)
        raise SystemExit(1) from error


def _described_numbers(name: str) -> str:
    """The section of the embedded default as it is written: each number with its comment."""
    lines = (ROOT / "presets/default.yaml").read_text().splitlines()
    start = next((at for at, line in enumerate(lines) if line.startswith(f"{name}:")), len(lines))
    rest = itertools.takewhile(lambda line: line.startswith(" "), lines[start + 1 :])
    return "\n".join(["Numbers in params.yaml:", *lines[start : start + 1], *rest])


def _options(argument: inspect.Parameter, kind: Any) -> Iterator[tuple[str, Any, object]]:
    """Name, type and default of each option that gives an argument; `Parameter.empty`: none."""
    if not dataclasses.is_dataclass(kind):
        yield argument.name, kind, argument.default
        return
    types = get_type_hints(kind)
    for name, field in zip(_names(argument, kind), dataclasses.fields(kind), strict=True):
        missing = field.default is dataclasses.MISSING
        yield name, types[field.name], inspect.Parameter.empty if missing else field.default


def _given(argument: inspect.Parameter, kind: Any, options: Mapping[str, Any]) -> Any:
    """The value of an argument, from those of its options."""
    if not dataclasses.is_dataclass(kind):
        return options[argument.name]
    build: Callable[..., Any] = kind  # type: ignore[assignment]
    return build(*(options[name] for name in _names(argument, kind)))


def _names(argument: inspect.Parameter, kind: Any) -> list[str]:
    return [argument.name, *(field.name for field in dataclasses.fields(kind)[1:])]


def _look_at_inputs(
    stage: Callable[..., None],
    arguments: Mapping[str, object],
    values: Sequence[Value],
    named: Sequence[Path],
) -> Inputs:
    """What the stage reads: the paths of its command line, its numbers, what they name, its code.

    Of a dataclass among the arguments, what its `files` names.
    """
    paths = list(named)
    for name, path in arguments.items():
        if isinstance(path, Path) and name != "out":
            beside = path.parent.glob(f"{path.stem}.*") if path.suffix else ()
            paths += {path, *beside}  # weights.pt has a .json
        elif dataclasses.is_dataclass(path):
            paths += getattr(path, "files", ())
    code = _code_of(stage.__name__)
    edited = [str(path) for path in code if is_edited_since_start(path)]
    if edited:
        raise InputError(explain(edited, f"{stage.__name__} started"))
    _check_closure(stage.__name__)
    return look_at([*paths, *code], values)


def _check_closure(name: str) -> None:
    """The code that runs is what DVC records: the entry that the stage `code` has written."""
    if "DVC_STAGE" not in os.environ or not CLOSURES.is_file():
        return
    recorded = json.loads(CLOSURES.read_text()).get(name)
    if recorded is None:
        return
    modules = stage_modules(name, ROOT)
    edited = [path for path, digest in modules.items() if recorded.get(path) != digest]
    if edited:
        raise InputError(f"{edited[0]} changed since the stage code read it; run again")


def _code_of(name: str) -> list[Path]:
    """The files of code that the stage executes, and its template; none for one of the tests."""
    if not (ROOT / "stages" / f"{name}.py").is_file():
        return []
    files = [ROOT / path for path in import_closure(f"stages.{name}", ROOT)]
    files += (ROOT / "stages/io").glob(f"{name}.*")
    return [Path(os.path.relpath(path)) for path in files]


def _check_unchanged(inputs: Inputs, name: str) -> None:
    changed = inputs.changed(read_values([value[:2] for value in inputs.values]))
    if changed:
        raise InputError(explain(changed, f"{name} ran"))
    if LEFT in os.environ:
        inputs.save(Path(os.environ[LEFT]))


def _look_up_paths(
    arguments: Mapping[str, Any], sections: Mapping[str, Any], file: Path
) -> dict[str, Any]:
    """The arguments, `@section.key` among the paths replaced by what params.yaml holds."""
    resolved = dict(arguments)
    for name, value in arguments.items():
        if not str(value).startswith("@"):
            continue
        found = look_up(str(value)[1:], sections)
        if not isinstance(value, Path):
            if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
                raise InputError(f"{file}: {value[1:]}: expected a list of names, found {found!r}")
            resolved[name] = tuple(found)
        elif not isinstance(found, str) or not found:
            raise InputError(f"{file}: {str(value)[1:]}: expected a path, found {found!r}")
        else:
            resolved[name] = Path(found)
    return resolved
