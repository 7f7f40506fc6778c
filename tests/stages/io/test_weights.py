from pathlib import Path

import pytest
import torch

from stages.engine.errors import InputError
from stages.io import weights as checkpoints


def test_weights_round_trip_with_their_params(tmp_path: Path) -> None:
    state = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}
    checkpoints.save_weights(tmp_path / "w.pt", state, {"width": 0.5})
    read = checkpoints.read_weights(tmp_path / "w.pt")
    assert read.keys() == state.keys()
    assert all(torch.equal(read[key], state[key]) for key in state)
    assert checkpoints.read_weights_params(tmp_path / "w.pt") == {"width": 0.5}


class Payload:
    """Something a weights file must not be able to bring along."""


def test_a_pickled_object_is_refused(tmp_path: Path) -> None:
    torch.save(Payload(), tmp_path / "w.pt")
    with pytest.raises(InputError, match="not a state_dict of tensors"):
        checkpoints.read_weights(tmp_path / "w.pt")


def test_a_file_that_is_no_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"hello")
    with pytest.raises(InputError, match="not a state_dict"):
        checkpoints.read_weights(tmp_path / "w.pt")
    torch.save([1, 2], tmp_path / "l.pt")
    with pytest.raises(InputError, match="expected a state_dict"):
        checkpoints.read_weights(tmp_path / "l.pt")
    with pytest.raises(InputError, match="no such weights file"):
        checkpoints.read_weights(tmp_path / "none.pt")
