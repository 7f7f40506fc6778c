"""What every training stage does around models/fit.py: device, log, curve, checkpoints.

    with Checkpoint("classifier_train", params, inputs=(images, tags)) as checkpoint:
        curve = train(network, optimizer, batches, loss, schedule=params, ...)
        write_curve(out / "curve.csv", curve)
        save_weights(out / "weights.pt", network.state_dict(), {...})

A run that is killed goes on after its last whole epoch when it is started again with the same
params, inputs and code, and ends with the same bits. The checkpoint lies outside the stage's outs
(.seedmask/checkpoints, safe to delete) and goes when the `with` block ends without an error.
"""

import csv
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from models.fit import NonFiniteLossError, Schedule, fit, steps_per_epoch
from stages.engine.environment import read_count
from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.engine.memo import code_digest, memo_key
from stages.engine.progress import Count
from stages.engine.sealed import read_sealed, write_sealed
from stages.io.data_set import ImageFile

BatchT = TypeVar("BatchT")
Arithmetic = Literal["32-true", "bf16-mixed", "16-mixed"]
Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
Curve = list[dict[str, float]]

#: Sums of floats depend on the number of threads, so it is the same on every machine. One: stages
#: run side by side, and threads that wait for cores spin (8 photographs forward and backward took
#: 8 CPU-s in two threads on two busy cores, 1.2 in one). Who trains for long has a GPU.
TRAINING_THREADS = 1
FOLDER = Path(".seedmask/checkpoints")


class Checkpoint:
    """The last epoch of one training run, kept across kills."""

    def __init__(
        self, stage: str, params: object, inputs: Sequence[Path], *, folder: Path = FOLDER
    ) -> None:
        """Name the run.

        Args:
            stage: its name.
            params: its Params dataclass (plain values).
            inputs: every file and folder that the weights depend on; they count by content.
                images.parquet stands for the images, whose hashes it holds.
            folder: of all checkpoints.
        """
        self.stage = stage
        files = tuple(
            (str(place.relative_to(path)), place)
            for path in inputs
            for place in (sorted(path.rglob("*")) if path.is_dir() else [path])
            if place.is_file()
        )
        key = memo_key(code_digest(stage), (params, files))
        self.path = folder / stage / f"{key[:32]}.pt"

    def load(self) -> dict[str, Any] | None:
        """What was saved last, or None; a damaged file counts as none, and it is said."""
        kept = read_sealed(self.path)
        if kept is None:
            return None
        content: dict[str, Any] = torch.load(
            io.BytesIO(kept), map_location="cpu", weights_only=True
        )
        return content

    def save(self, content: Mapping[str, Any]) -> None:
        """Keep `content`, atomically."""
        buffer = io.BytesIO()
        torch.save(dict(content), buffer)
        write_sealed(self.path, buffer.getbuffer())

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.path.unlink(missing_ok=True)


def train(
    network: nn.Module,
    optimizer: Optimizer,
    batches: Callable[[torch.Generator], Iterable[BatchT]],
    loss: Callable[[nn.Module, BatchT], Mapping[str, Tensor]],
    *,
    schedule: Schedule,
    images: int,
    precision: Precision,
    checkpoint: Checkpoint,
) -> Curve:
    """Run `models.fit.fit` to its end, from the checkpoint if there is one; a line per epoch.

    The network is trained in place and comes back on the CPU in eval mode.

    Args:
        network: as `fit`, like the optimizer and the loss.
        optimizer: over its parameters.
        batches: as many as `shuffled` makes of the images.
        loss: scalar terms by name.
        schedule: epochs, images per batch and seed.
        images: how many there are.
        precision: see `arithmetic_of`.
        checkpoint: where a killed run goes on.

    Returns:
        One row per epoch: "epoch", "loss" and the mean of each term.

    Raises:
        InputError: a loss became nan or infinite.
        SystemExit: in all of several processes but the first, at the end.
    """
    set_training_threads()
    epochs, steps = schedule.passes(images), steps_per_epoch(images, schedule.batch)
    arithmetic = arithmetic_of(precision)
    fabric = build_fabric(arithmetic)
    # above the bar where there is one
    tell = partial(tqdm.write, file=sys.stderr if fabric.is_global_zero else io.StringIO())
    shared = f" in {fabric.world_size} processes" if fabric.world_size > 1 else ""
    tell(f"{checkpoint.stage}: {arithmetic} on {fabric.device.type}{shared}")
    kept = checkpoint.load()
    start, curve = (None, []) if kept is None else (kept["state"], kept["curve"])
    if curve:
        tell(f"{checkpoint.stage}: going on after epoch {len(curve)}")
    count = Count(checkpoint.stage, epochs * steps, "batches", done=len(curve) * steps)
    run = fit(
        network,
        optimizer,
        partial(_counted_epoch, batches, count),
        loss,
        epochs=epochs,
        steps=steps,
        seed=schedule.seed,
        fabric=fabric,
        start=start,
    )
    try:
        for epoch in run:
            curve.append({"epoch": epoch.number, **epoch.losses})
            if fabric.is_global_zero:
                checkpoint.save({"state": epoch.state, "curve": curve})
            terms = " ".join(f"{name} {value:.4f}" for name, value in epoch.losses.items())
            tell(f"{checkpoint.stage}: epoch {epoch.number}/{epochs} {terms}")
    except NonFiniteLossError as error:
        raise InputError(f"{error}; a lower learning_rate may help") from error
    if not fabric.is_global_zero:
        raise SystemExit  # one process writes the weights
    network.to("cpu").eval()
    return curve


def _counted_epoch(
    batches: Callable[[torch.Generator], Iterable[BatchT]], count: Count, generator: torch.Generator
) -> Iterator[BatchT]:
    for batch in batches(generator):
        yield batch
        count.step()


def build_fabric(arithmetic: Arithmetic) -> Fabric:
    """One device; or SEEDMASK_PROCESSES of them, in as many processes, which start here.

    Under `torchrun` the processes are there already, on one machine or several.

    Raises:
        InputError: SEEDMASK_PROCESSES is no number.
    """
    local = read_count("LOCAL_WORLD_SIZE", read_count("SEEDMASK_PROCESSES", 1))
    world = read_count("WORLD_SIZE", local) if "LOCAL_WORLD_SIZE" in os.environ else local
    if world == 1:
        return Fabric(accelerator="auto", devices=1, precision=arithmetic)
    fabric = Fabric(
        accelerator="auto",
        strategy="ddp",
        devices=local,
        num_nodes=world // local,
        precision=arithmetic,
    )
    fabric.launch()
    return fabric


def arithmetic_of(precision: Precision) -> Arithmetic:
    """What `precision` means on this machine: "auto" is bf16-mixed where the device computes in it.

    A device that only emulates bfloat16 is slower with it; one that has it is twice as fast.
    """
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has = torch.cpu.get_capabilities()
        native = any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16", "sve_bf16"))
    return "bf16-mixed" if native else "32-true"


class TrainingImages:
    """The images of a training stage by index, kept decoded in memory as long as they fit."""

    def __init__(self, files: Sequence[ImageFile], *, budget: int = 1 << 30) -> None:
        """Read nothing yet; `budget` is in bytes."""
        self.files = files
        self._left = budget
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        """Uint8 RGB (3, H, W); not to be changed in place."""
        image = self._kept.get(index)
        if image is None:
            image = torch.from_numpy(self.files[index].read()).permute(2, 0, 1).contiguous()
            if image.numel() <= self._left:
                self._left -= image.numel()
                self._kept[index] = image
        return image


def set_training_threads() -> None:
    """Fix the number of threads; at the start of a stage, before the network is built."""
    torch.set_num_threads(TRAINING_THREADS)


def write_curve(path: Path, curve: Curve) -> None:
    """Write the rows of `train` as CSV: epoch, loss, terms."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(curve[0]) if curve else ["epoch", "loss"])
    writer.writeheader()
    writer.writerows(curve)
    write_bytes(path, text.getvalue().encode())
