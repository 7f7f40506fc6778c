import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from stages.engine.errors import InputError
from stages.io.networks import read_network, read_spec, save_network


@dataclass(frozen=True)
class LineSpec:
    inputs: int
    sides: tuple[int, ...]

    def build(self) -> nn.Linear:
        if self.inputs < 1:
            raise ValueError(f"inputs: expected 1 or more, found {self.inputs}")
        return nn.Linear(self.inputs, len(self.sides))


SPEC = LineSpec(3, (1, 2))


def test_a_network_comes_back_as_it_was(tmp_path: Path) -> None:
    network = SPEC.build()
    save_network(tmp_path / "w.pt", network, SPEC)
    assert read_spec(tmp_path / "w.pt", LineSpec) == SPEC
    again = read_network(tmp_path / "w.pt", SPEC)
    assert not again.training
    assert torch.equal(again.weight, network.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, r"w\.json: expected fields inputs, sides, found inputs, sides, colour"),
        ({"inputs": "many"}, r"w\.json: inputs: .*integer.*, found 'many'"),
        ({"inputs": 4}, r"w\.pt: does not fit the network of its \.json: .*size mismatch"),
        ({"inputs": 0}, r"w\.pt: does not fit .*inputs: expected 1 or more, found 0"),
    ],
)
def test_what_does_not_fit_is_named_in_a_line(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    save_network(tmp_path / "w.pt", SPEC.build(), SPEC)
    beside = tmp_path / "w.json"
    beside.write_text(json.dumps(json.loads(beside.read_text()) | change))
    with pytest.raises(InputError, match=message) as caught:
        read_network(tmp_path / "w.pt", read_spec(tmp_path / "w.pt", LineSpec))
    assert "\n" not in str(caught.value)
