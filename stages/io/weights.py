"""Weights: a state_dict in .pt, loaded strictly, with its params as JSON beside it."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.engine.errors import InputError
from stages.engine.files import write_bytes, write_json


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
