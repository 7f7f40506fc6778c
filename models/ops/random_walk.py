"""The random walk of AffinityNet (Ahn and Kwak 2018) without its dense N x N matrix.

x T^t with T_ij = A_ij / sum_i A_ij, where A is the affinity to the power beta (the column
normalisation is the public code's). The columns of T sum to 1, so that T_ij is the probability of a
step from j to i (not from i to j: the rows do not sum to 1). So each node sends walkers of t steps
and gets the mean score x of where they end. The references square T until it holds t steps. Only
x T^t is wanted, and that is t products of a banded matrix with the few rows of x; a Chebyshev
expansion of T^t needs about 5 sqrt(t) products instead of t.

AffinityNet (PSA): https://arxiv.org/abs/1803.10464.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[Any]


def affinity_matrix(
    edges: Floats,
    offsets: npt.NDArray[np.int64],
    grid: tuple[int, int],
    beta: float,
    dtype: type[np.float32] | type[np.float64] = np.float64,
) -> sparse.dia_array:
    """The exactly symmetric matrix A = E^beta with ones on its diagonal.

    Stored by diagonals, for an offset (dy, dx) is the diagonal dy * w + dx: that needs no indices
    and multiplies three times as fast as CSR. The two directions of an edge may differ in their
    rounding; A holds their mean.

    Args:
        edges: [N, K] affinity in [0, 1] to the node at each offset.
        offsets: [K, 2] (dy, dx), symmetric, (0, 0) included or not.
        grid: (h, w), N = h * w.
        beta: power, > 0.
        dtype: of the matrix.

    Raises:
        ValueError: an offset without its opposite.
    """
    height, width = grid
    table = edges.reshape(height, width, -1)
    columns = {(int(dy), int(dx)): k for k, (dy, dx) in enumerate(offsets)}
    if any((-dy, -dx) not in columns for dy, dx in columns):
        raise ValueError("offsets: expected (-dy, -dx) for every (dy, dx)")
    on_grid = [o for o in columns if abs(o[0]) < height and abs(o[1]) < width and o != (0, 0)]
    # on a grid narrower than the window two offsets may lie on one diagonal, at different places
    steps = sorted({dy * width + dx for dy, dx in on_grid} | {0})
    diagonals = np.zeros((len(steps), height, width), dtype=dtype)
    for dy, dx in on_grid:
        here = np.s_[max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)]
        there = np.s_[max(dy, 0) : height - max(-dy, 0), max(dx, 0) : width - max(-dx, 0)]
        out: Floats = table[here][..., columns[dy, dx]].astype(dtype)
        back: Floats = table[there][..., columns[-dy, -dx]].astype(dtype)
        diagonals[steps.index(dy * width + dx)][there] += ((out + back) / 2) ** beta
    diagonals[steps.index(0)] += 1
    nodes = height * width
    return sparse.dia_array((diagonals.reshape(len(steps), nodes), steps), shape=(nodes, nodes))


def walk(matrix: sparse.dia_array, scores: Floats, steps: int, *, tolerance: float = 0.0) -> Floats:
    """Walk: x T^t, the `scores` after `steps` steps on the graph.

    T is A with its columns normalised and A is symmetric, so x T^t is the transpose of P^t x' with
    P the row-normalised A: averages over neighbours. Constant scores stay as they are.

    Args:
        matrix: A from `affinity_matrix`: symmetric, no empty row; its dtype is the precision.
        scores: x, [C, N].
        steps: t >= 0.
        tolerance: 0 multiplies t times: no score turns negative, however small. Else the Chebyshev
            sum, without the terms that add at most so much, relative to x, in the norm
            sum_i A_i x_i^2 (A_i: sum of row i) in which P contracts.

    Returns:
        [C, N] in the dtype of `matrix`.
    """
    total = matrix @ np.ones(matrix.shape[1], dtype=matrix.dtype)
    # one row after the other keeps matrix, row and result in the cache
    return np.stack([_walk_row(matrix, total, row, steps, tolerance) for row in scores])


def _walk_row(
    matrix: sparse.dia_array, total: Floats, scores: Floats, steps: int, tolerance: float
) -> Floats:
    x: Floats = scores.astype(matrix.dtype)
    if tolerance == 0:
        for _ in range(steps):
            x = (matrix @ x) / total
        return x
    coefficients = power_coefficients(steps, tolerance)
    older, old = x, x
    result: Floats = coefficients[0] * x
    for degree, coefficient in enumerate(coefficients[1:], start=1):
        product = (matrix @ old) / total
        older, old = old, product if degree == 1 else 2 * product - older
        if coefficient:
            result += coefficient * old
    return result


def power_coefficients(steps: int, tolerance: float) -> Sequence[float]:
    """The Chebyshev coefficients c_k of z^t on [-1, 1], cut where the rest sums to <= tolerance.

    z^t = 2^(1-t) sum_k binom(t, (t-k)/2) T_k(z) over the k <= t of t's parity, the term of k = 0
    halved; all are positive and they sum to 1.
    """
    if steps < 0:
        raise ValueError(f"steps: expected >= 0, got {steps}")
    scale = 1 << steps
    exact = [0] * (steps + 1)
    for degree in range(steps % 2, steps + 1, 2):
        exact[degree] = math.comb(steps, (steps - degree) // 2) * (1 if degree == 0 else 2)
    rest, last = 0, steps
    while last > 0 and (rest + exact[last]) / scale <= tolerance:
        rest += exact[last]
        last -= 1
    return [value / scale for value in exact[: last + 1]]
