"""The random walk by sparse steps and by Chebyshev against squaring the dense matrix.

    python -m benchmarks.random_walk [--quick]

One thread, float64, CPU seconds, the best of several runs. Edges are drawn: differences of a smooth
random field with borders, window radius 5. The last line is the peak memory of the walk on a 94 x
125 grid (a 500 x 375 image at stride 4), measured in a process of its own.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from models.ops.random_walk import affinity_matrix, power_coefficients, walk

Floats = npt.NDArray[np.floating]
Case = tuple[Floats, npt.NDArray[np.int64], Floats]
BETA = 8.0


def draw_case(grid: tuple[int, int], radius: int = 5, classes: int = 3) -> Case:
    """A table of edges [N, K], its offsets, and one-hot scores of 40 % of the nodes."""
    generator = np.random.default_rng(0)
    height, width = grid
    reach = range(-radius, radius + 1)
    offsets = np.array([(y, x) for y in reach for x in reach if y * y + x * x <= radius * radius])
    noise = 0.02 * generator.random(grid)
    field = (
        np.add.outer(np.sin(np.arange(height) / 9), np.cos(np.arange(width) / 7)).round() + noise
    )
    edges = np.zeros((height, width, len(offsets)), dtype=np.float32)
    for k, (dy, dx) in enumerate(offsets.tolist()):
        here = np.s_[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
        there = np.s_[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
        edges[here][..., k] = np.exp(-np.abs(field[here] - field[there]))
    label = generator.integers(0, classes, height * width)
    known = generator.random(height * width) < 0.4
    scores = ((label == np.arange(classes)[:, None]) & known).astype(np.float64)
    return edges.reshape(height * width, -1), offsets, scores


def dense_walk(matrix: Floats, scores: Floats, steps: int) -> Floats:
    """What the public codes do: the N x N transition matrix, squared until it holds `steps`."""
    transition = matrix / matrix.sum(0, keepdims=True)
    for _ in range(steps.bit_length() - 1):
        transition = transition @ transition
    result: Floats = scores @ transition
    return result


def best_of(function: Callable[[], Floats], repeats: int) -> tuple[float, Floats]:
    """CPU seconds of the fastest run, and its result."""
    seconds = []
    result = None
    for _ in range(repeats):
        start = time.process_time()
        result = function()
        seconds.append(time.process_time() - start)
    assert result is not None
    return min(seconds), result


def compare(grid: tuple[int, int], steps: int, repeats: int) -> bool:
    """Print one block of the table; whether the walks agree with the dense matrix."""
    edges, offsets, scores = draw_case(grid)
    built, _ = best_of(lambda: affinity_matrix(edges, offsets, grid, BETA).data, repeats)
    matrix = affinity_matrix(edges, offsets, grid, BETA)
    dense_time, expected = best_of(partial(dense_walk, matrix.toarray(), scores, steps), 1)
    size = f"N={grid[0] * grid[1]} t={steps}"
    print(f"{size:<18}{'dense squaring':<22}{dense_time * 1e3:>10.1f} ms")
    agree = True
    for tolerance in (0.0, 1e-6, 1e-12):
        name = f"Chebyshev {tolerance:g}" if tolerance else "sparse steps"
        seconds, found = best_of(partial(walk, matrix, scores, steps, tolerance=tolerance), repeats)
        products = len(power_coefficients(steps, tolerance)) - 1 if tolerance else steps
        error = float(np.abs(found - expected).max() / np.abs(expected).max())
        agree &= error <= max(10 * tolerance, 1e-11)
        print(
            f"{'':<18}{name:<22}{seconds * 1e3:>10.1f} ms {dense_time / seconds:>7.0f} x"
            f" {products:>5} products   error {error:.1e}"
        )
    print(f"{'':<18}{'(building the matrix':<22}{built * 1e3:>10.1f} ms)")
    return agree


def peak_memory(grid: tuple[int, int], steps: int) -> float:
    """MiB by which building the matrix and walking raise the peak of this process."""
    small = draw_case((20, 20))
    walk(affinity_matrix(small[0], small[1], (20, 20), BETA), small[2], steps)  # loads libraries
    edges, offsets, scores = draw_case(grid)
    table = edges.astype(np.float16)
    del edges
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident
    before = _status("VmRSS")
    walk(affinity_matrix(table, offsets, grid, BETA), scores, steps, tolerance=1e-6)
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def main() -> None:
    """Print the table; exit with 1 if a walk is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small grid and few repeats")
    parser.add_argument("--memory", action="store_true", help="only the memory, in this process")
    arguments = parser.parse_args()
    if arguments.memory:
        print(f"{peak_memory((94, 125), 256):.1f}")
        return
    cases = [((20, 30), 64)] if arguments.quick else [((47, 63), 64), ((47, 63), 256)]
    agree = all([compare(grid, steps, 3 if arguments.quick else 7) for grid, steps in cases])
    command = [sys.executable, "-m", "benchmarks.random_walk", "--memory"]
    memory = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    print(f"{'N=11750 t=256':<18}peak memory of matrix and walk: {memory} MiB")
    dense = 11750**2 * 8 * 2 / 2**20
    print(f"{'':<18}two dense matrices of this size: {dense:.0f} MiB")
    if not agree:
        raise SystemExit("a walk differs from the dense matrix")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
