"""dvc.yaml as it is written: the one place that reads it without DVC, which takes a second."""

from pathlib import Path
from typing import Any

from stages.engine.errors import InputError
from stages.io.declarations import parse_graph


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
    stages: dict[str, Any] = parse_graph(content, where)["stages"]
    return stages


def body(stage: Any) -> Any:
    """What a stage says: of a foreach, what stands under its `do`."""
    return stage.get("do", stage)
