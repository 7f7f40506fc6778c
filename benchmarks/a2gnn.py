"""A2GNN against the dense reference of the tests: time, memory and exactness, one thread.

OMP_NUM_THREADS=1 python -m benchmarks.a2gnn [--quick] [--device cuda]

One image of 47 x 63 nodes with D = 5632 features, a square window of radius 5, four boxes, second
stage (all three losses). CPU seconds, median of alternating runs; memory in fresh processes.
"""

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.a2gnn.affinity_attention import attend, attention_weights
from models.a2gnn.grid_losses import cells_on_pixels
from models.a2gnn.multi_point import bilinear_taps, point_distance, point_weights, select_points
from models.a2gnn.network import A2GNN, Problem, Settings, dropout_mask, image_loss, start_network
from tests.reference import a2gnn as reference

STRIDE = 8
SETTINGS = Settings(
    hidden=256,
    layers=3,
    cosine=True,
    beta=10.0,
    dropout=0.5,
    first_epochs=50,
    second_epochs=50,
    learning_rate=0.03,
    weight_decay=5e-4,
    cross_entropy="mean",
    multi_point=1.0,
    points="probability",
    regularizer=0.01,
    sigma_xy=6.0,
    sigma_rgb=0.1,
    consistency=False,  # the reference has it pixel by pixel, which would flatter us
)


@dataclass(frozen=True)
class Case:
    """One drawn image, made ready for both sides."""

    problem: Problem
    network: A2GNN
    generator: torch.Generator
    edges: np.ndarray[Any, np.dtype[np.float64]]
    offsets: np.ndarray[Any, np.dtype[np.int64]]
    colours: np.ndarray[Any, np.dtype[np.float64]]

    @property
    def parameters(self) -> list[Tensor]:
        """Of the network."""
        return list(self.network.parameters())

    def mask(self) -> Tensor:
        """The next dropout mask."""
        drawn = dropout_mask(len(self.problem.features), SETTINGS, self.generator)
        return drawn.to(self.problem.features.dtype)


def draw_case(grid: tuple[int, int], inputs: int, dtype: torch.dtype, device: str = "cpu") -> Case:
    """Four objects of two classes on a ground, random otherwise."""
    rng = np.random.default_rng(0)
    height, width = grid[0] * STRIDE, grid[1] * STRIDE
    size = (height - 1, width - 4)
    truth = np.zeros((height, width), np.uint8)
    boxes, categories = [], []
    for index, (y, x) in enumerate(((0.1, 0.1), (0.1, 0.55), (0.55, 0.1), (0.55, 0.55))):
        top, left = int(y * height), int(x * width)
        bottom, right = top + int(0.35 * height), left + int(0.35 * width)
        truth[top:bottom, left:right] = 1 + index % 2
        boxes.append((float(left), float(top), float(right), float(bottom)))
        categories.append(1 + index % 2)
    cells = truth[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].ravel()
    features = (rng.random((3, inputs)) + 0.1)[cells] * rng.random((len(cells), inputs))
    features /= features.sum(1, keepdims=True)
    offsets = np.array([(a, b) for a in range(-5, 6) for b in range(-5, 6)])
    row, column = np.divmod(np.arange(len(cells)), grid[1])
    edges = np.zeros((len(cells), len(offsets)))
    for slot, (dy, dx) in enumerate(offsets):
        to_row, to_column = row + dy, column + dx
        inside = (to_row >= 0) & (to_row < grid[0]) & (to_column >= 0) & (to_column < grid[1])
        other = np.where(inside, to_row * grid[1] + to_column, 0)
        edges[:, slot] = inside * np.where(cells == cells[other], 0.8, 0.2)
    seeds = np.where(rng.random(truth.shape) < 0.5, truth, 255).astype(np.uint8)
    colours = rng.random((3, 3))[cells] + 0.05 * rng.normal(size=(len(cells), 3))
    generator = torch.Generator(device=device).manual_seed(0)
    problem = Problem(
        features=features,
        edges=edges,
        offsets=offsets,
        grid=grid,
        stride=STRIDE,
        seeds=seeds[: size[0], : size[1]],
        colours=colours,
        boxes=boxes,
        categories=categories,
        settings=SETTINGS,
        dtype=dtype,
        device=device,
    )
    network = start_network(problem, generator)
    return Case(problem, network, generator, edges, offsets, colours)


def ours(case: Case, kept: Tensor) -> Tensor:
    """The loss of one epoch of the second stage."""
    return image_loss(case.network, case.problem, kept, second=True)[0]


def make_dense(case: Case) -> Callable[[Case, Tensor], Tensor]:
    """The reference's loss of the same epoch; its tables are made here, once."""
    problem, dtype = case.problem, case.problem.features.dtype
    edges = reference.dense_edges(case.edges, case.offsets, problem.grid)
    connected = reference.connected(edges)
    edges = edges.to(dtype)
    kernel = reference.colour_kernel(
        case.colours, problem.grid, SETTINGS.sigma_xy, SETTINGS.sigma_rgb
    )
    kernel = torch.where(kernel < 1e-6, 0, kernel).to(dtype)

    def dense(case: Case, kept: Tensor) -> Tensor:
        embedding, attention, output = case.parameters
        hidden, logits = reference.forward(
            problem.features,
            embedding,
            list(attention),
            output,
            edges,
            connected,
            beta=SETTINGS.beta,
            kept=kept,
        )
        return reference.total_loss(
            hidden,
            logits,
            grid=problem.grid,
            size=problem.size,
            stride=STRIDE,
            seeds=problem.seeds,
            boxes=problem.boxes,
            rows=problem.rows,
            kernel=kernel,
            settings=SETTINGS,
            second=True,
        )

    return dense


def cpu_seconds(sides: list[Callable[[], object]], repeats: int) -> list[float]:
    """The median of each, alternating; one run of each before is not counted."""
    times: list[list[float]] = [[] for _ in sides]
    for repeat in range(repeats + 1):
        for side, found in zip(sides, times, strict=True):
            start = time.process_time()
            side()
            if repeat:
                found.append(time.process_time() - start)
    return [statistics.median(found) for found in times]


def with_gradients(loss: Callable[[Case, Tensor], Tensor], case: Case, kept: Tensor) -> Any:
    """Gradients of all parameters."""
    return torch.autograd.grad(loss(case, kept), case.parameters)


def pixel_losses(case: Case) -> tuple[Callable[[], object], Callable[[], object]]:
    """Cross entropy and multi-point loss with gradients, behind the network: ours, full."""
    problem = case.problem
    hidden = torch.rand(len(problem.features), SETTINGS.hidden, requires_grad=True)
    logits = torch.rand(len(problem.features), len(problem.classes), requires_grad=True)
    total = problem.weights_of_seeds

    def exact() -> object:
        on_pixels = cells_on_pixels(logits, problem.down, problem.across)
        log_probabilities = torch.log_softmax(on_pixels, 0)
        picks = select_points(log_probabilities.detach(), problem.boxes, problem.rows)
        targets = total + point_weights(picks, log_probabilities)
        features, counts = [], []
        for pick in picks:
            pixels, number = torch.unique(pick.pixels, return_counts=True)
            taps, shares = bilinear_taps(
                pixels, problem.size[1], problem.grid, STRIDE, hidden.dtype
            )
            features.append((hidden[taps] * shares[..., None]).sum(1))
            counts.append(number.to(hidden.dtype))
        loss = point_distance(features, counts) - (targets * log_probabilities.flatten(1)).sum()
        return torch.autograd.grad(loss, (hidden, logits))

    def full() -> object:
        pixels = reference.upsampled(logits, problem.grid, problem.size, STRIDE)
        features = reference.upsampled(hidden, problem.grid, problem.size, STRIDE)
        scores = torch.softmax(pixels, 0).detach()
        picks = reference.picked_points(scores, problem.boxes, problem.rows)
        loss = reference.cross_entropy(pixels, problem.seeds, "mean")
        loss = loss + reference.multi_point(pixels, features, picks, problem.rows)
        return torch.autograd.grad(loss, (hidden, logits))

    return exact, full


def attention_layer(case: Case) -> tuple[Callable[[], object], Callable[[], object]]:
    """One attention layer with gradients: ours, dense."""
    neighbours, beta = case.problem.neighbours, SETTINGS.beta
    hidden = torch.rand(neighbours.nodes, SETTINGS.hidden, requires_grad=True)
    weight = torch.tensor(0.5, requires_grad=True)
    outer = torch.rand(neighbours.nodes, SETTINGS.hidden)
    edges = reference.dense_edges(case.edges, case.offsets, case.problem.grid)
    connected, edges = reference.connected(edges), edges.float()

    def sparse() -> object:
        weights = attention_weights(hidden, weight, neighbours, beta=beta)
        return torch.autograd.grad(attend(weights, hidden, neighbours), (hidden, weight), outer)

    def dense() -> object:
        table = reference.attention(hidden, weight, edges, connected, beta=beta)
        return torch.autograd.grad(table @ hidden, (hidden, weight), outer)

    return sparse, dense


def gemm_rate() -> float:
    """GFLOP/s of a large float32 matrix product on this thread."""
    left, right = torch.rand(2048, 2048), torch.rand(2048, 2048)
    (seconds,) = cpu_seconds([lambda: left @ right], 9)
    return 2 * 2048**3 / seconds / 1e9


def least_gflop(case: Case) -> float:
    """The arithmetic that an exact epoch needs: products by width F alone."""
    nodes, inputs = case.problem.features.shape
    width, outputs = SETTINGS.hidden, len(case.problem.classes)
    entries = len(case.problem.neighbours.columns)
    embedding = 2 * 2 * nodes * inputs * width  # forward and the gradient of the weights
    # a layer: dots of half the pairs; P H, P' G and M H; G.H for the gradient of P. The last layer
    # has only the dots and M H at width F (P (H W) instead of (P H) W).
    layers = (4.5 * (SETTINGS.layers - 1) + 1.5) * 2 * entries * width
    output = 3 * 2 * nodes * width * outputs
    return float(embedding + layers + output) / 1e9


def peak_memory(side: str, grid: tuple[int, int], inputs: int) -> float:
    """MiB that one epoch adds to a fresh process that holds the image."""
    call = [sys.executable, "-m", "benchmarks.a2gnn", "--memory-of", side]
    call += ["--shape", str(grid[0]), str(grid[1]), str(inputs)]
    done = subprocess.run(call, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["mib"])


def report_memory(side: str, grid: tuple[int, int], inputs: int) -> None:
    """What `peak_memory` starts."""
    case = draw_case(grid, inputs, torch.float32)
    loss = make_dense(case) if side == "dense" else ours
    kept = case.mask()
    torch.ones(64, 64) @ torch.ones(64, 64)  # the library's own buffers are not counted
    ctypes.CDLL(None).malloc_trim(0)  # nor is it given memory that drawing the image left behind
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _status("VmRSS")
    with_gradients(loss, case, kept)
    print(json.dumps({"mib": (_status("VmHWM") - before) / 1024}))


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def largest_difference(grid: tuple[int, int], inputs: int) -> float:
    """Of loss and gradients in float64, each relative to its largest entry."""
    case = draw_case(grid, inputs, torch.float64)
    kept = case.mask()
    dense = make_dense(case)
    found = [ours(case, kept).detach(), *with_gradients(ours, case, kept)]
    expected = [dense(case, kept).detach(), *with_gradients(dense, case, kept)]
    return max(
        float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True)
    )


def on_cuda(grid: tuple[int, int], inputs: int) -> None:
    """Wall time of an epoch on a GPU."""
    case = draw_case(grid, inputs, torch.float32, "cuda")
    kept = case.mask()
    for allow in (False, True):
        torch.backends.cuda.matmul.allow_tf32 = allow
        times = []
        for _ in range(30):
            torch.cuda.synchronize()
            start = time.perf_counter()
            with_gradients(ours, case, kept)
            torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        name = "TF32" if allow else "float32"
        print(f"cuda, {name}: {1e3 * statistics.median(times):.1f} ms an epoch")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller image")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--memory-of", choices=["ours", "dense"], help=argparse.SUPPRESS)
    parser.add_argument("--shape", type=int, nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    grid, inputs = ((24, 32), 512) if arguments.quick else ((47, 63), 5632)
    if arguments.memory_of:
        rows, columns, inputs = arguments.shape
        report_memory(arguments.memory_of, (rows, columns), inputs)
        return
    if arguments.device == "cuda":
        on_cuda(grid, inputs)
        return
    repeats = 3
    case = draw_case(grid, inputs, torch.float32)
    kept, dense = case.mask(), make_dense(case)
    print(f"N = {grid[0] * grid[1]}, D = {inputs}, {len(case.problem.neighbours.columns)} edges")
    print(f"{'':34}{'dense':>10}{'ours':>10}{'ratio':>8}")

    def row(name: str, slow: float, fast: float, unit: str) -> None:
        print(f"{name:34}{slow:10.1f}{fast:10.1f}{slow / fast:8.1f}  {unit}")

    epoch = cpu_seconds(
        [lambda: with_gradients(dense, case, kept), lambda: with_gradients(ours, case, kept)],
        repeats,
    )
    row("epoch, forward and backward", 1e3 * epoch[0], 1e3 * epoch[1], "ms")
    for name, (fast, slow) in (
        ("one attention layer", attention_layer(case)),
        ("cross entropy and multi-point", pixel_losses(case)),
    ):
        times = cpu_seconds([slow, fast], repeats)
        row(name, 1e3 * times[0], 1e3 * times[1], "ms")
    row(
        "memory added by an epoch",
        peak_memory("dense", grid, inputs),
        peak_memory("ours", grid, inputs),
        "MiB",
    )
    rate = gemm_rate()
    needed = least_gflop(case)
    bound = needed / rate
    print(
        f"GEMM {rate:.0f} GFLOP/s; an epoch needs {needed:.1f} GFLOP, {1e3 * bound:.0f} ms at that "
        f"rate; ours reaches {100 * bound / epoch[1]:.0f} % of it"
    )
    print(f"float64: loss and gradients differ by {largest_difference(grid, inputs):.1e} relative")


if __name__ == "__main__":
    main()
