import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from models.backbones import freeze_batch_norm
from models.fit import (
    Epoch,
    NonFiniteLossError,
    Schedule,
    build_optimizer,
    epoch_generator,
    fit,
    own_share,
    parameter_groups,
    shuffled,
    steps_per_epoch,
)


class Batch(NamedTuple):
    x: Tensor
    y: Tensor


X = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
Y = X.sum(1, keepdim=True)


def build() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1)
    )
    return network, torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)


def batches(generator: torch.Generator) -> Iterator[Batch]:
    for rows in shuffled(len(X), 6, generator):
        noise = torch.randn(len(rows), 3, generator=generator)
        yield Batch(X[rows] + 0.1 * noise, Y[rows])


def loss(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    predicted = network(batch.x)
    return {"fit": (predicted - batch.y).square().mean(), "size": 0.1 * predicted.abs().mean()}


def run(network: nn.Module, optimizer: torch.optim.Optimizer, **options: object) -> Iterator[Epoch]:
    arguments = {"epochs": 4, "steps": 3, "seed": 7} | options
    fabric = Fabric(accelerator="cpu", devices=1)
    return fit(network, optimizer, batches, loss, fabric=fabric, **arguments)  # type: ignore[arg-type]


def test_a_resumed_run_ends_with_the_same_bits() -> None:
    whole, optimizer = build()
    losses = [epoch.losses for epoch in run(whole, optimizer)]

    first, optimizer = build()
    stopped = run(first, optimizer)
    next(stopped)
    state = copy.deepcopy(next(stopped).state)
    torch.rand(5)  # what else happens in the process does not matter
    second, optimizer = build()
    rest = [epoch.losses for epoch in run(second, optimizer, start=state)]

    assert rest == losses[2:]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_the_loss_is_the_sum_of_the_terms_and_falls() -> None:
    network, optimizer = build()
    epochs = list(run(network, optimizer, epochs=30))
    assert [epoch.number for epoch in epochs] == list(range(1, 31))
    for epoch in epochs:
        assert list(epoch.losses) == ["loss", "fit", "size"]
        assert epoch.losses["loss"] == pytest.approx(epoch.losses["fit"] + epoch.losses["size"])
    assert epochs[-1].losses["loss"] < 0.7 * epochs[0].losses["loss"]


def test_learning_rate_follows_the_poly_schedule_and_momentum_is_momentum() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9)
    run = fit(
        network,
        optimizer,
        lambda generator: [torch.ones(1)] * 2,
        lambda model, batch: {"w": model(batch).sum()},
        epochs=2,
        steps=2,
        seed=0,
        fabric=Fabric(accelerator="cpu", devices=1),
        power=0.9,
    )
    assert len(list(run)) == 2
    value, velocity = 1.0, 0.0
    for step in range(4):
        velocity = 0.9 * velocity + 1.0  # the gradient is 1
        value -= 0.5 * (1 - step / 4) ** 0.9 * velocity
    assert network.weight.item() == pytest.approx(value, rel=1e-6)


def test_a_non_finite_loss_stops_and_names_term_epoch_and_step() -> None:
    network, optimizer = build()
    seen = []

    def breaks(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        seen.append(1)
        factor = torch.inf if len(seen) == 5 else 1.0
        return {"good": network(batch.x).mean(), "bad": factor * network(batch.x).square().mean()}

    fabric = Fabric(accelerator="cpu", devices=1)
    run = fit(network, optimizer, batches, breaks, epochs=4, steps=3, seed=0, fabric=fabric)
    next(run)
    with pytest.raises(NonFiniteLossError, match="loss term 'bad' is inf in epoch 2, step 2 of 3"):
        next(run)
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_frozen_batch_norm_stays_frozen() -> None:
    norm, last = nn.BatchNorm2d(3), nn.Linear(3, 1)
    network = nn.Sequential(nn.Unflatten(1, (3, 1, 1)), norm, nn.Flatten(), last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    freeze_batch_norm(network)
    before = copy.deepcopy(network.state_dict())
    list(run(network, optimizer, epochs=1))
    changed = [k for k, value in network.state_dict().items() if not torch.equal(value, before[k])]
    assert changed == ["3.weight", "3.bias"]


def test_a_wrong_number_of_steps_is_an_error() -> None:
    network, optimizer = build()
    with pytest.raises(ValueError, match="batches: expected 5 in epoch 1, got 3"):
        list(run(network, optimizer, steps=5))


def _schedule(learning_rate: float, weight_decay: float) -> Schedule:
    return Schedule(0, 1, 0, 1, learning_rate, 10.0, 0.9, weight_decay)


def test_parameter_groups_follow_psa() -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
    backbone[2].weight.requires_grad_(False)
    head = nn.Conv2d(4, 2, 1)
    groups = parameter_groups(backbone, [head], _schedule(0.1, 5e-4))
    found = [(len(g["params"]), g["lr"], g["weight_decay"]) for g in groups]
    assert found == [
        (2, 0.1, 5e-4),
        (3, pytest.approx(0.2), 0.0),
        (1, pytest.approx(1.0), 5e-4),
        (1, pytest.approx(2.0), 0.0),
    ]
    assert groups[2]["params"][0] is head.weight


def test_parameter_groups_count_what_is_shared_once_and_leave_out_empty_groups() -> None:
    layer = nn.Conv2d(3, 4, 1, bias=False)
    groups = parameter_groups(layer, [layer], _schedule(0.1, 0.0))
    assert len(groups) == 1


def test_shuffled_covers_every_index_once_and_leaves_out_the_remainder() -> None:
    rows = shuffled(10, 3, torch.Generator().manual_seed(0))
    flat = [row for batch in rows for row in batch]
    assert [len(batch) for batch in rows] == [3, 3, 3]
    assert steps_per_epoch(10, 3) == 3
    assert len(set(flat)) == 9
    assert shuffled(2, 3, torch.Generator())[0] in ([0, 1], [1, 0])


@pytest.mark.parametrize(("images", "passes"), [(100, 4), (30, 4), (20, 5), (3, 10)])
def test_few_images_are_passed_over_until_the_least_steps_are_made(
    images: int, passes: int
) -> None:
    numbers = {"learning_rate": 0.1, "head_factor": 1.0, "momentum": 0.0, "weight_decay": 0.0}
    schedule = Schedule(seed=0, epochs=4, min_steps=10, batch=8, **numbers)
    assert schedule.passes(images) == passes


def test_generators_of_neighbouring_epochs_and_seeds_differ() -> None:
    draws = {
        torch.rand(1, generator=epoch_generator(seed, epoch)).item()
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(draws) == 16


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_an_optimizer_keeps_the_rates_of_its_groups(name: str) -> None:
    groups = parameter_groups(nn.Linear(2, 2), [nn.Linear(2, 1)], _schedule(0.01, 0.1))
    optimizer = build_optimizer(name, groups, momentum=0.8)  # type: ignore[arg-type]
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(
        [0.01, 0.02, 0.1, 0.2]
    )
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0, 0.1, 0]
    assert (optimizer.param_groups[0].get("momentum") == 0.8) == (name == "sgd")


def test_processes_share_a_batch_without_overlap() -> None:
    batch = Batch(torch.arange(6.0), torch.arange(12.0).view(6, 2))
    shares = [own_share(batch, rank, 3) for rank in range(3)]
    assert [share.x.tolist() for share in shares] == [[0, 3], [1, 4], [2, 5]]
    assert torch.equal(torch.cat([share.y for share in shares]).sort(0).values, batch.y)
    with pytest.raises(ValueError, match="expected a multiple of 4 samples, got 6"):
        own_share(batch, 0, 4)


SCRIPT = """
import json, sys
import torch
from lightning_fabric import Fabric
from torch import nn
from models.fit import fit, shuffled

processes = int(sys.argv[1])
strategy = "ddp" if processes > 1 else "auto"
fabric = Fabric(accelerator="cpu", devices=processes, strategy=strategy, precision="64-true")
fabric.launch()
torch.manual_seed(0)
x = torch.randn(24, 3, dtype=torch.float64)
network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)

def batches(generator):
    for rows in shuffled(len(x), 8, generator):
        yield x[rows] + 0.1 * torch.randn(len(rows), 3, generator=generator, dtype=torch.float64)

def loss(model, batch):
    return {"square": (model(batch) - batch.sum(1, keepdim=True)).square().mean()}

run = fit(network, optimizer, batches, loss, epochs=5, steps=3, seed=1, fabric=fabric)
losses = [epoch.losses["square"] for epoch in run]
if fabric.is_global_zero:
    print(json.dumps(losses))
"""


def test_two_processes_learn_as_one_does_with_the_whole_batch(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)
    curves = []
    for processes in (1, 2):
        done = subprocess.run(
            [sys.executable, str(script), str(processes)],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        curves.append(json.loads(done.stdout.splitlines()[-1]))
    assert curves[0][-1] < 0.5 * curves[0][0]
    assert curves[1] == pytest.approx(curves[0], rel=1e-10)
