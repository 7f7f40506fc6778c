"""Trained networks: weights.pt and, in weights.json, the spec that builds the network again.

A train stage and the stages that use its network meet here and nowhere else. A spec is a frozen
dataclass of plain values beside the network's code, such as `models.cam.ClassifierSpec`.
"""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError
from torch import nn

from stages.engine.errors import InputError
from stages.io.weights import read_weights, read_weights_params, save_weights

NetworkT_co = TypeVar("NetworkT_co", bound=nn.Module, covariant=True)
SpecT = TypeVar("SpecT")


class Spec(Protocol[NetworkT_co]):
    """What a network is made of."""

    def build(self) -> NetworkT_co:
        """The network with random weights.

        Raises:
            ValueError: the values do not go together.
        """


def save_network(path: Path, network: nn.Module, spec: Any) -> None:
    """Write weights.pt at `path` and the dataclass `spec` as weights.json beside it."""
    save_weights(path, network.state_dict(), asdict(spec))


def read_spec(path: Path, spec_type: type[SpecT]) -> SpecT:
    """Read weights.json beside the weights at `path`.

    Raises:
        InputError: it is missing, or holds other fields or values than a `spec_type`.
    """
    content = read_weights_params(path)
    where, expected = path.with_suffix(".json"), {field.name for field in fields(spec_type)}  # type: ignore[arg-type]
    if content.keys() != expected:
        found = ", ".join(content) or "none"
        raise InputError(f"{where}: expected fields {', '.join(sorted(expected))}, found {found}")
    try:
        return TypeAdapter(spec_type).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where}: {field}: {first['msg']}, found {first['input']!r}") from error


def read_network(path: Path, spec: Spec[NetworkT_co]) -> NetworkT_co:
    """The network of `spec` with the weights at `path`, in eval mode on the CPU.

    Raises:
        InputError: the file is missing, or its weights do not fit.
    """
    state = read_weights(path)
    try:
        network = spec.build()
        network.load_state_dict(state, strict=True)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: does not fit the network of its .json: {reason}") from error
    return network.eval()
