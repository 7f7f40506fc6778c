"""Training: one visible loop for every network, over Lightning Fabric (device and precision).

The loop holds no hidden state: what is random in epoch n depends on (seed, n) alone, so a run that
is resumed after epoch n ends with the same bits as one that was never stopped.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from lightning_fabric import Fabric
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.optim import Optimizer

BatchT = TypeVar("BatchT")


class NonFiniteLossError(ArithmeticError):
    """A loss term became nan or infinite; the message names the term, the epoch and the step."""


@dataclass(frozen=True)
class Schedule:
    """Numbers of a training run, described in params.yaml; a stage checks the ranges."""

    seed: Annotated[int, Ge(0)]
    epochs: Annotated[int, Gt(0)]
    min_steps: Annotated[int, Ge(0)]
    batch: Annotated[int, Gt(0)]
    learning_rate: Annotated[float, Gt(0)]
    head_factor: Annotated[float, Gt(0)]
    momentum: Annotated[float, Ge(0), Lt(1)]
    weight_decay: Annotated[float, Ge(0)]

    def passes(self, count: int) -> int:
        """How often to go over `count` images: `epochs` times, or until `min_steps` are made."""
        return max(self.epochs, math.ceil(self.min_steps / steps_per_epoch(count, self.batch)))


@dataclass(frozen=True)
class Epoch:
    """What one epoch of `fit` left.

    Attributes:
        number: counts from 1.
        losses: mean over the epoch's steps of "loss" (the sum) and of each term.
        state: what `fit(start=...)` resumes from. Its tensors are the live ones: save or copy it
            before asking for the next epoch.
    """

    number: int
    losses: dict[str, float]
    state: dict[str, Any]


def fit(
    network: nn.Module,
    optimizer: Optimizer,
    batches: Callable[[torch.Generator], Iterable[BatchT]],
    loss: Callable[[nn.Module, BatchT], Mapping[str, Tensor]],
    *,
    epochs: int,
    steps: int,
    seed: int,
    fabric: Fabric,
    power: float = 0.9,
    start: Mapping[str, Any] | None = None,
) -> Iterator[Epoch]:
    """Train `network` in place, an epoch per item asked for; the learning rate decays as a poly.

    Batch norm whose weights are frozen (`requires_grad` off) also keeps its statistics. The network
    stays on the fabric's device.

    Args:
        network: only its `forward` may be called by `loss` (that is what Fabric autocasts).
        optimizer: over the network's parameters; the learning rates of its groups are the initial
            ones, multiplied by (1 - step / total) ** power at every step.
        batches: the batches of one epoch, `steps` of them, given a generator seeded from (seed,
            epoch); a batch is a tensor or a NamedTuple, tuple or dict of tensors and plain values,
            and is moved to the device.
        loss: (network, batch) -> scalar terms by name, weights included; their sum is minimised.
        epochs: how many in all, those before `start` included.
        steps: batches per epoch.
        seed: of shuffling, augmentation and dropout.
        fabric: device, precision and processes. Each of several processes takes its part of every
            batch and the gradients are averaged: as one process, where the loss is a mean over the
            batch's samples and batch norm keeps its statistics.
        power: of the poly schedule; 0 keeps the learning rate.
        start: `state` of an earlier Epoch of the same run, to go on after it.

    Yields:
        An Epoch after each epoch.

    Raises:
        NonFiniteLossError: a term is nan or infinite; the weights keep their last sound step.
        ValueError: `batches` yields another number of batches than `steps`, no loss term, or a
            batch that the processes cannot share evenly.
    """
    model, stepper = fabric.setup(network, optimizer)
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    done = 0 if start is None else _restore(start, network, optimizer, fabric)
    for number in range(done + 1, epochs + 1):
        generator = epoch_generator(seed, number)
        # dropout has no generator of its own
        torch.manual_seed(generator.initial_seed() + 1 + fabric.global_rank)
        _train_mode(network)
        sums: dict[str, float] = {}
        step = 0
        for step, batch in enumerate(batches(generator), start=1):
            _set_learning_rate(optimizer, (number - 1) * steps + step - 1, epochs * steps, power)
            mine = own_share(batch, fabric.global_rank, fabric.world_size)
            terms = loss(model, fabric.to_device(mine))
            total = torch.stack(list(terms.values())).sum()
            for name, value in (*terms.items(), ("loss", total)):
                mean = _mean_of_all(fabric, value)
                if not math.isfinite(mean):
                    place = f"in epoch {number}, step {step} of {steps}"
                    raise NonFiniteLossError(f"loss term {name!r} is {mean} {place}")
                sums[name] = sums.get(name, 0.0) + mean
            stepper.zero_grad()
            fabric.backward(total)
            stepper.step()
        if step != steps:
            raise ValueError(f"batches: expected {steps} in epoch {number}, got {step}")
        losses = {"loss": sums.pop("loss")} | sums
        state = {
            "epoch": number,
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "precision": fabric.strategy.precision.state_dict(),
        }
        yield Epoch(number, {name: value / steps for name, value in losses.items()}, state)


def own_share(batch: BatchT, rank: int, processes: int) -> BatchT:
    """Every `processes`-th sample of a batch, from the `rank`-th on.

    Tensors are cut along their first dimension; in tuples, lists and dicts too.

    Raises:
        ValueError: the samples do not divide by the number of processes.
    """
    if processes == 1:
        return batch

    def cut(part: Tensor) -> Tensor:
        if len(part) % processes:
            raise ValueError(f"batch: expected a multiple of {processes} samples, got {len(part)}")
        return part[rank::processes]

    share: BatchT = apply_to_collection(batch, Tensor, cut)
    return share


def _mean_of_all(fabric: Fabric, value: Tensor) -> float:
    if fabric.world_size == 1:
        return value.item()
    mean = fabric.all_reduce(value.detach(), reduce_op="mean")
    assert isinstance(mean, Tensor)
    return mean.item()


def _restore(
    start: Mapping[str, Any], network: nn.Module, optimizer: Optimizer, fabric: Fabric
) -> int:
    network.load_state_dict(start["network"], strict=True)
    optimizer.load_state_dict(start["optimizer"])
    fabric.strategy.precision.load_state_dict(start["precision"])
    epoch: int = start["epoch"]
    return epoch


def _set_learning_rate(optimizer: Optimizer, step: int, total: int, power: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * (1 - step / total) ** power


def _train_mode(network: nn.Module) -> None:
    network.train()
    for part in network.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.affine:
            part.train(part.weight.requires_grad)


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """A generator whose numbers depend on (seed, epoch) alone; neighbours share nothing."""
    mixed = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed) >> 2)


def shuffled(count: int, batch: int, generator: torch.Generator) -> list[list[int]]:
    """The indices 0 .. count - 1 in random order, in `steps_per_epoch(count, batch)` batches.

    What does not fill a batch is left out of this epoch (batch norm needs more than a few
    samples); fewer than `batch` indices are one batch.
    """
    order = torch.randperm(count, generator=generator).tolist()
    steps = steps_per_epoch(count, batch)
    return [order[step * batch : (step + 1) * batch] for step in range(steps)]


def steps_per_epoch(count: int, batch: int) -> int:
    """The number of batches that `shuffled` makes of `count` samples."""
    return max(count // batch, 1)


def parameter_groups(
    backbone: nn.Module,
    head_modules: Sequence[nn.Module],
    schedule: Schedule,
) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer, as in PSA, SEAM and DeepLab; frozen ones are left out.

    Backbone weights get the learning rate; biases twice that and no weight decay; new layers
    `head_factor` times the rate of the backbone's.

    Args:
        backbone: pretrained part.
        head_modules: new layers; what they share with the backbone counts as the backbone's.
        schedule: learning rate, weight decay and the head's factor, 10 in the papers.

    Returns:
        Up to four groups: backbone weights, backbone biases, new weights, new biases.
    """
    groups: list[dict[str, Any]] = []
    seen: set[int] = set()
    for modules, factor in (([backbone], 1.0), (head_modules, schedule.head_factor)):
        weights: list[nn.Parameter] = []
        biases: list[nn.Parameter] = []
        for module in modules:
            for name, parameter in module.named_parameters():
                if parameter.requires_grad and id(parameter) not in seen:
                    seen.add(id(parameter))
                    (biases if name.split(".")[-1] == "bias" else weights).append(parameter)
        rate = factor * schedule.learning_rate
        groups.append({"params": weights, "lr": rate, "weight_decay": schedule.weight_decay})
        groups.append({"params": biases, "lr": 2 * rate, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def build_optimizer(
    name: Literal["sgd", "adamw"], groups: list[dict[str, Any]], *, momentum: float
) -> Optimizer:
    """An optimizer over `parameter_groups`, whose learning rates it keeps.

    Args:
        name: sgd, as in the papers, or adamw, steadier where features are not centred and further
            in few steps from a random start.
        groups: each with its own "lr" and "weight_decay".
        momentum: of sgd.
    """
    if name == "adamw":
        return torch.optim.AdamW(groups)
    return torch.optim.SGD(groups, momentum=momentum)
