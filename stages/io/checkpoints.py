"""Weights: a state_dict in .pt, loaded strictly, with its params as JSON beside it."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.io.errors import InputError
from stages.io.files import write_bytes, write_json

WEIGHTS_FOLDER = Path("data/raw/weights")


def save_weights(path: Path, state: Mapping[str, Tensor], params: Mapping[str, object]) -> None:
    """Write `state` to `path` (.pt) and `params` to the same name with .json, atomically."""
    buffer = io.BytesIO()
    torch.save({key: value.detach().cpu() for key, value in state.items()}, buffer)
    write_bytes(path, buffer.getvalue())
    write_json(path.with_suffix(".json"), params)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state_dict with weights_only=True.

    Raises:
        InputError: missing file, or not a plain state_dict.
    """
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such weights file") from error
    except Exception as error:  # bytes that are no pickle make the unpickler raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: not a state_dict of tensors: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path}: expected a state_dict of tensors")
    return state


def read_weights_params(path: Path) -> dict[str, Any]:
    """The params that `save_weights` put beside the weights at `path`."""
    beside = path.with_suffix(".json")
    try:
        content: dict[str, Any] = json.loads(beside.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{beside}: cannot be read: {error}") from error
    return content


def initial_weights(name: str) -> dict[str, Tensor] | None:
    """The backbone weights that params.yaml names.

    Args:
        name: "none" (random start), a file in data/raw/weights, or a torchvision enum value such
            as "MobileNet_V2_Weights.IMAGENET1K_V1" (which torchvision may have to download).

    Returns:
        A state_dict in torchvision's naming, or None.

    Raises:
        InputError: no such file, or no such torchvision weights.
    """
    if name == "none":
        return None
    if "_Weights." in name:
        from torchvision.models import get_weight  # takes a second, and few need it

        try:
            state: dict[str, Tensor] = dict(get_weight(name).get_state_dict(check_hash=True))
        except (ValueError, KeyError, AttributeError) as error:
            raise InputError(f"weights: {name!r} is not a torchvision enum value") from error
        except OSError as error:
            raise InputError(f"weights: {name!r} could not be downloaded: {error}") from error
        return state
    if Path(name).name != name:
        raise InputError(f"weights: {name!r} must be a file name inside {WEIGHTS_FOLDER}")
    return read_weights(WEIGHTS_FOLDER / name)


def initial_weights_files(name: str) -> tuple[Path, ...]:
    """The file that `initial_weights(name)` reads in data/raw/weights, if it is one."""
    return () if name == "none" or "_Weights." in name else (WEIGHTS_FOLDER / name,)
