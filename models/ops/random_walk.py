"""The random walk of AffinityNet (Ahn and Kwak 2018) without its dense N x N matrix.

A walker on node i steps to node j with probability T_ij = A_ij / sum_i A_ij, where A is the
affinity to the power beta (the column normalisation is the public code's). The references square T
until it holds t steps. Only x T^t is wanted, and that is t products of a sparse matrix with the few
rows of x; a Chebyshev expansion of T^t needs about 5 sqrt(t) products instead of t.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.floating]


def affinity_matrix(
    edges: Floats,
    offsets: npt.NDArray[np.int64],
    grid: tuple[int, int],
    beta: float,
    dtype: type[np.float32] | type[np.float64] = np.float64,
) -> sparse.csr_array:
    """The exactly symmetric sparse matrix A = E^beta with ones on the diagonal.

    The two directions of an edge may differ in their rounding; A holds their mean.

    Args:
        edges: [N, K] affinity in [0, 1] to the node at each offset.
        offsets: [K, 2] (dy, dx), symmetric, (0, 0) included or not.
        grid: (h, w), N = h * w.
        beta: power, > 0.
        dtype: of the matrix.

    Returns:
        CSR [N, N] without stored zeros.
    """
    height, width = grid
    order = np.lexsort((offsets[:, 1], offsets[:, 0]))
    mirror = order[::-1]
    if not np.array_equal(offsets[order], -offsets[mirror]):
        raise ValueError("offsets: expected (-dy, -dx) for every (dy, dx)")
    centre = (offsets[order] == 0).all(1)
    kept = np.zeros((height * width, len(order)), dtype=bool)
    weights = np.zeros((height * width, len(order)), dtype=dtype)
    table, stored = weights.reshape(height, width, -1), kept.reshape(height, width, -1)
    forward = edges.reshape(height, width, -1)
    for column, (k, m) in enumerate(zip(order, mirror, strict=True)):
        dy, dx = (int(step) for step in offsets[k])
        rows, columns = height - abs(dy), width - abs(dx)
        if rows <= 0 or columns <= 0:
            continue
        y, x = max(-dy, 0), max(-dx, 0)
        here = np.s_[y : y + rows, x : x + columns]
        there = np.s_[y + dy : y + dy + rows, x + dx : x + dx + columns]
        both = forward[here][..., k].astype(dtype) + forward[there][..., m].astype(dtype)
        table[here][..., column] = (both / 2) ** beta
        stored[here][..., column] = table[here][..., column] > 0
    if centre.any():
        weights[:, centre], kept[:, centre] = 1, True
    steps = (offsets[order] @ (width, 1)).astype(np.int32)
    neighbours = np.arange(height * width, dtype=np.int32)[:, None] + steps
    bounds = np.concatenate([[0], np.cumsum(kept.sum(1))]).astype(np.int32)
    matrix = sparse.csr_array((weights[kept], neighbours[kept], bounds), shape=(len(kept),) * 2)
    return matrix if centre.any() else sparse.csr_array(matrix + sparse.eye_array(len(kept)))


def walk(matrix: sparse.csr_array, scores: Floats, steps: int, *, tolerance: float = 0.0) -> Floats:
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
    inverse = (1 / matrix.sum(1)).astype(matrix.dtype)[:, None]
    x = np.ascontiguousarray(scores.T, dtype=matrix.dtype)
    if tolerance == 0:
        for _ in range(steps):
            x = inverse * (matrix @ x)
        return np.ascontiguousarray(x.T)
    coefficients = power_coefficients(steps, tolerance)
    older, old = x, x
    result = coefficients[0] * x
    for degree, coefficient in enumerate(coefficients[1:], start=1):
        product = inverse * (matrix @ old)
        older, old = old, product if degree == 1 else 2 * product - older
        if coefficient:
            result += coefficient * old
    return np.ascontiguousarray(result.T)


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
