"""Self-contained HTML pages, from the templates beside this file, and the numbers they show."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.engine.errors import InputError
from stages.engine.files import write_bytes


def write_page(path: Path, template: str, context: Mapping[str, Any]) -> None:
    """Write `template` (its file name) filled with `context` to `path`, atomically."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["zip"] = zip
    write_bytes(path, environment.get_template(template).render(context).encode())


def read_measures(path: Path) -> dict[str, Any]:
    """The numbers that a measuring stage has written.

    Raises:
        InputError: the file is missing or no JSON.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    return content
