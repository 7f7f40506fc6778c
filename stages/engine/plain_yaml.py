"""YAML that people write, held to plain values of bounded size and depth before it is built.

An alias can stand for billions of values and deep nesting crashes the parser, so both are refused
while only the parser's events are looked at. ruamel, because PyYAML reads 1e-4 as text.
"""

from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from stages.engine.errors import InputError

MOST_CHARACTERS = 1 << 18
DEEPEST = 20
#: Of a name, and of a value in a message.
LONGEST = 100


def parse_plain(text: str, where: str) -> Any:
    """The value that `text` holds: mappings with text as keys, lists, text, numbers, dates, none.

    Args:
        text: YAML.
        where: how messages name the place, such as "params.yaml".

    Raises:
        InputError: not valid YAML, or too long, too deep, with aliases or tags, a key that is no
            printable text, or an integer of more than 64 bits; one line.
    """
    if len(text) > MOST_CHARACTERS:
        found = f"expected at most {MOST_CHARACTERS} characters, found {len(text)}"
        raise InputError(f"{where}: {found}")
    try:
        _check_events(text, where)
        content = YAML(typ="safe").load(text)
    except InputError:
        raise
    except MarkedYAMLError as error:
        place = f"{where}: line {error.problem_mark.line + 1}" if error.problem_mark else where
        raise InputError(f"{place}: not valid YAML: {shorten(error.problem)}") from error
    except YAMLError as error:
        raise InputError(f"{where}: not valid YAML: {shorten(error)}") from error
    except (ValueError, OverflowError) as error:  # of a number or a date
        line, value = _unreadable(text)
        raise InputError(
            f"{where}: line {line}: expected a number or date that there is, "
            f"found {shorten(repr(value))}"
        ) from error
    _check_values(content, where, ())
    return content


def shorten(value: object) -> str:
    """Any message or value as one line of bounded length."""
    line = " ".join(str(value).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def _check_events(text: str, where: str) -> None:
    depth = 0
    for event in YAML(typ="safe").parse(text):
        place = f"{where}: line {event.start_mark.line + 1}"
        if isinstance(event, AliasEvent):
            name = shorten(event.anchor)
            raise InputError(f"{place}: expected the value itself, found the alias *{name}")
        if isinstance(event, ScalarEvent | CollectionStartEvent) and event.tag is not None:
            raise InputError(f"{place}: expected a plain value, found the tag {shorten(event.tag)}")
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > DEEPEST:
            raise InputError(f"{place}: expected at most {DEEPEST} levels of nesting, found more")


def look_up(key: str, values: Mapping[str, Any]) -> Any:
    """The value at a dotted key; None where there is nothing."""
    value: Any = values
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _unreadable(text: str) -> tuple[int, str]:
    """Line and text of the first value that ruamel recognises and cannot build."""
    for event in YAML(typ="safe").parse(text):
        if isinstance(event, ScalarEvent) and event.implicit[0]:
            try:
                YAML(typ="safe").load(event.value)
            except YAMLError:  # text that means something else when it stands alone
                continue
            except (ValueError, OverflowError):
                return event.start_mark.line + 1, event.value
    return 1, text


def _check_values(value: Any, where: str, keys: tuple[str, ...]) -> None:
    place = f"{where}: {'.'.join(keys)}" if keys else where
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                found = f"{shorten(repr(key))}, {type(key).__name__}"
                raise InputError(f"{place}: expected text as a name, found {found}")
            if not key.isprintable() or not 0 < len(key) <= LONGEST:
                expected = f"a printable name of 1 to {LONGEST} characters"
                raise InputError(f"{place}: expected {expected}, found {shorten(repr(key))}")
            _check_values(inner, where, (*keys, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_values(inner, where, (*keys, str(index)))
    elif isinstance(value, int) and value.bit_length() > 63:
        found = f"one of {value.bit_length()}"
        raise InputError(f"{place}: expected an integer of at most 64 bits, found {found}")
