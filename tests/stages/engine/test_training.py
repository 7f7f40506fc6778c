import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.fit import shuffled
from stages.engine.errors import InputError
from stages.engine.training import (
    Checkpoint,
    Curve,
    TrainingImages,
    arithmetic_of,
    train,
    write_curve,
)
from stages.io.data_set import ImageFile

X = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Params:
    seed: int = 0
    scales: tuple[float, float] = (0.5, 1.0)


class Killed(BaseException):
    """As a signal would."""


def batches(generator: torch.Generator) -> Iterator[Tensor]:
    for rows in shuffled(len(X), 4, generator):
        yield X[rows]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 1))


def run(model: nn.Module, checkpoint: Checkpoint, kill_at: int = 10**6) -> Curve:
    calls = []

    def loss(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        calls.append(1)
        if len(calls) == kill_at:
            raise Killed
        return {"square": (model(batch) - 1).square().mean()}

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return train(
        model,
        optimizer,
        batches,
        loss,
        epochs=4,
        steps=2,
        seed=3,
        precision="32-true",
        checkpoint=checkpoint,
    )


def checkpoint_in(folder: Path, *inputs: Path, params: Params | None = None) -> Checkpoint:
    return Checkpoint("scenes", params or Params(), inputs, folder=folder)


def test_a_killed_run_goes_on_and_ends_with_the_same_bits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = network()
    with checkpoint_in(tmp_path / "a") as checkpoint:
        curve = run(whole, checkpoint)
    assert "scenes: epoch 4/4 loss" in capsys.readouterr().err

    with pytest.raises(Killed), checkpoint_in(tmp_path / "b") as checkpoint:
        run(network(), checkpoint, kill_at=6)  # in epoch 3
    assert checkpoint.path.exists()
    resumed = network()
    with checkpoint_in(tmp_path / "b") as checkpoint:
        assert run(resumed, checkpoint) == curve
    assert "going on after epoch 2" in capsys.readouterr().err
    assert not checkpoint.path.exists()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])
    assert not resumed.training


def test_a_finished_run_whose_outputs_were_not_written_is_not_trained_again(tmp_path: Path) -> None:
    first, second = network(), network()
    run(first, checkpoint_in(tmp_path))  # and killed before the `with` block ends
    with checkpoint_in(tmp_path) as checkpoint:
        run(second, checkpoint, kill_at=1)
    assert torch.equal(first.state_dict()["0.weight"], second.state_dict()["0.weight"])


def test_a_checkpoint_belongs_to_params_and_inputs(tmp_path: Path) -> None:
    folder, file = tmp_path / "labels", tmp_path / "table"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"a")
    file.write_bytes(b"t")

    def path(params: Params | None = None) -> Path:
        return checkpoint_in(tmp_path, folder, file, params=params).path

    first = path()
    assert path() == first
    assert path(Params(seed=1)) != first
    (folder / "a.png").rename(folder / "b.png")
    renamed = path()
    assert renamed != first
    file.write_bytes(b"another")
    assert path() != renamed


def test_a_broken_checkpoint_counts_as_none(tmp_path: Path) -> None:
    checkpoint = checkpoint_in(tmp_path)
    assert checkpoint.load() is None
    checkpoint.path.parent.mkdir(parents=True)
    checkpoint.path.write_bytes(b"half a file")
    assert checkpoint.load() is None


def test_other_weights_by_a_flipped_bit_are_not_gone_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = checkpoint_in(tmp_path)
    weights = torch.full((64,), 1.5)
    checkpoint.save({"state": weights})
    content = bytearray(checkpoint.path.read_bytes())
    content[content.index(weights.numpy().tobytes()) + 3] ^= 1
    checkpoint.path.write_bytes(content)
    assert checkpoint.load() is None
    assert f"{checkpoint.path}: damaged" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_is_an_input_error(tmp_path: Path) -> None:
    model = network()
    nn.init.constant_(model[2].weight, torch.inf)  # type: ignore[index]
    with pytest.raises(InputError, match=r"'square' is .* in epoch 1, step 1 of 2; a lower learn"):
        run(model, checkpoint_in(tmp_path))


def test_the_curve_is_csv(tmp_path: Path) -> None:
    write_curve(tmp_path / "curve.csv", [{"epoch": 1, "loss": 0.5, "a": 0.5}])
    assert (tmp_path / "curve.csv").read_text() == "epoch,loss,a\n1,0.5,0.5\n"


def test_images_are_kept_only_as_long_as_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []

    def read(file: ImageFile) -> object:
        reads.append(file.image_id)
        return torch.full((2, 3, 3), int(file.image_id), dtype=torch.uint8).numpy()

    monkeypatch.setattr(ImageFile, "read", read)
    files = [ImageFile(str(number), Path(), "", 3, 2) for number in range(2)]
    images = TrainingImages(files, budget=20)
    for _ in range(2):
        assert [int(images[index][0, 0, 0]) for index in (0, 1)] == [0, 1]
    assert reads == ["0", "1", "1"]
    assert images[0].shape == (3, 2, 3)
    assert len(images) == 2


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True, "avx512_bf16": True}, "bf16-mixed"),
        ({"amx_bf16": True}, "bf16-mixed"),
        ({"avx2": True, "avx512_bf16": False}, "32-true"),
        ({}, "32-true"),
    ],
)
def test_auto_computes_in_bfloat16_only_where_the_processor_does(
    capabilities: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert arithmetic_of("auto") == expected
    assert arithmetic_of("16-mixed") == "16-mixed"


SCRIPT = """
import sys
from contextlib import ExitStack
from pathlib import Path
import torch
from torch import nn
from models.fit import shuffled
from stages.engine.training import Checkpoint, train, write_curve

torch.manual_seed(0)
x = torch.randn(24, 3)
network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

def batches(generator):
    for rows in shuffled(len(x), 8, generator):
        yield x[rows]

def loss(model, batch):
    return {"square": (model(batch) - batch.sum(1, keepdim=True)).square().mean()}

curve = []
with ExitStack() as stack:
    for turn in range(2):
        checkpoint = Checkpoint("classifier_train", turn, (), folder=Path("kept"))
        curve += train(network, optimizer, batches, loss, epochs=2, steps=3, seed=1,
                       precision="32-true", checkpoint=stack.enter_context(checkpoint),
                       is_last=turn == 1)
    with open("written.txt", "a") as file:
        file.write(" ".join(f"{row['square']:.5f}" for row in curve) + "\\n")
"""


def test_of_several_processes_one_goes_on_after_the_last_training(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    for name in ("models", "stages"):
        (tmp_path / name).symlink_to(root / name)
    (tmp_path / "job.py").write_text(SCRIPT)
    for processes in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "job.py"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(root), "SEEDMASK_PROCESSES": processes},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 2/2") == 2
    assert "in 2 processes" in done.stderr
    one, two = (tmp_path / "written.txt").read_text().splitlines()
    assert one == two
    assert not list((tmp_path / "kept").rglob("*.pt"))
