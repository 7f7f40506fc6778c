"""Features of instances: one features.npz, no pickle; a row and its instance_id for each."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.engine.errors import InputError
from stages.engine.files import write_bytes


@dataclass(frozen=True)
class Features:
    """One feature per instance.

    Attributes:
        instance_ids: int64 [n].
        values: float32 [n, d].
    """

    instance_ids: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.instance_ids.shape != self.values.shape[:1]:
            found = f"values {self.values.shape} of instances {self.instance_ids.shape}"
            raise ValueError(f"{found}; expected [n, d] of [n]")


def write_features(path: Path, features: Features) -> None:
    """Write them, atomically; the same features always give the same bytes."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        "instance_ids": features.instance_ids.astype(np.int64, copy=False),
        "values": features.values.astype(np.float32, copy=False),
    }
    np.savez(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())


def read_features(path: Path) -> Features:
    """Read what `write_features` wrote.

    Raises:
        InputError: missing or unreadable file, or a missing array.
    """
    try:
        # opened here, because np.load leaves a broken archive open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Features(arrays["instance_ids"], arrays["values"])
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such features") from error
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a file of features: {error}") from error
