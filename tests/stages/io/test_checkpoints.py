from pathlib import Path

import pytest
import torch

from stages.io import checkpoints
from stages.io.errors import InputError


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


def test_initial_weights_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "WEIGHTS_FOLDER", tmp_path)
    torch.save({"a": torch.ones(1)}, tmp_path / "mine.pth")
    assert checkpoints.initial_weights("none") is None
    found = checkpoints.initial_weights("mine.pth")
    assert found is not None
    assert found.keys() == {"a"}
    with pytest.raises(InputError, match="must be a file name inside"):
        checkpoints.initial_weights("../mine.pth")
    with pytest.raises(InputError, match="not a torchvision enum value"):
        checkpoints.initial_weights("No_Such_Weights.IMAGENET1K_V1")
