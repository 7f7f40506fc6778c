"""Files appear whole or not at all."""

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically: to a temporary name beside it, then os.replace.

    The parent folder is made when missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write `content` as indented JSON with a final newline, atomically."""
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())
