"""dvc.yaml as it is written: the one place that reads it without DVC, which takes a second."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.engine.errors import InputError


def read_stages(root: Path) -> dict[str, Any]:
    """The `stages` of dvc.yaml in its order, each `foreach` and ${...} as it is written.

    Raises:
        InputError: the file cannot be read, or holds no stages.
    """
    path = root / "dvc.yaml"
    try:
        return parse_stages(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected the graph") from error


def parse_stages(content: bytes, where: str) -> dict[str, Any]:
    """As `read_stages`, of any revision's dvc.yaml; `where` is what messages call it."""
    try:
        stages = YAML(typ="safe").load(content)["stages"]
    except (YAMLError, UnicodeDecodeError, TypeError, KeyError, RecursionError) as error:
        found = " ".join(str(error).split())
        raise InputError(f"{where}: expected YAML with stages: {found}") from error
    if not isinstance(stages, dict) or not all(isinstance(one, dict) for one in stages.values()):
        raise InputError(f"{where}: stages: expected name: {{cmd: ...}}")
    return stages


def body(stage: Any) -> Any:
    """What a stage says: of a foreach, what stands under its `do`."""
    return stage.get("do", stage)
