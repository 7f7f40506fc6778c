"""YAML that people edit: comments, quotes and line breaks survive a change."""

import io

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap


def load_commented(text: str) -> CommentedMap:
    """Parse YAML, keeping its comments."""
    content: CommentedMap = _round_trip().load(text)
    return content


def dump_commented(content: CommentedMap) -> str:
    """The text of what `load_commented` gave, changed or not."""
    buffer = io.StringIO()
    _round_trip().dump(content, buffer)
    return buffer.getvalue()


def _round_trip() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1_000_000  # never wrap a line
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml
