"""How long a stage took when it last ran; .seedmask/seconds, safe to delete."""

import math
from pathlib import Path

from stages.io.files import write_bytes

FOLDER = Path(".seedmask/seconds")


def keep_seconds(root: Path, stage: str, seconds: float) -> None:
    """Note the wall time of a stage that has run."""
    write_bytes(root / FOLDER / stage, f"{seconds:.2f}\n".encode())


def last_seconds(root: Path, stage: str) -> float | None:
    """The wall time when the stage last ran here under `pipelines run`; None if it never did."""
    try:
        seconds = float((root / FOLDER / stage).read_text())
    except (OSError, ValueError):
        return None
    return seconds if math.isfinite(seconds) else None
