"""Which images the last run of a stage computed; the others came from the memo store.

.seedmask/origins/<output folder>.json, safe to delete.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stages.engine.files import write_bytes

FOLDER = Path(".seedmask/origins")


@dataclass(frozen=True)
class Origins:
    """One run of `stages.engine.parallel.map_images`.

    Attributes:
        ended: when, UTC.
        computed: ids of the images it computed.
    """

    ended: datetime
    computed: frozenset[str]


def keep_origins(out: Path, computed: Sequence[str]) -> None:
    """Note the images that were computed for the folder `out`, if that lies in this folder."""
    place = _path(Path(), out)
    if place is not None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        write_bytes(place, json.dumps({"ended": now, "computed": list(computed)}).encode())


def read_origins(root: Path, out: Path) -> Origins | None:
    """What was noted of `out`, relative to `root`; None when there is nothing that can be read."""
    place = _path(root, out)
    try:
        content = json.loads(place.read_text()) if place else {}
        ended = datetime.fromisoformat(content["ended"])
        return Origins(ended.astimezone(UTC), frozenset(map(str, content["computed"])))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _path(root: Path, out: Path) -> Path | None:
    base = root.absolute()
    place = Path(os.path.normpath(base / out))
    if not place.is_relative_to(base):
        return None
    below = place.relative_to(base)
    return base / FOLDER / below.parent / f"{below.name}.json"
