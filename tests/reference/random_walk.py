"""The random walk as the references do it: a dense transition matrix, squared."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


def dense_affinity(edges: Floats, offsets: npt.NDArray[np.int64], grid: tuple[int, int]) -> Floats:
    """E [N, N] of a table [N, K], made symmetric by the mean, with ones on the diagonal."""
    height, width = grid
    dense = np.zeros((height * width, height * width), dtype=edges.dtype)
    for y in range(height):
        for x in range(width):
            for k, (dy, dx) in enumerate(offsets.tolist()):
                if 0 <= y + dy < height and 0 <= x + dx < width:
                    dense[y * width + x, (y + dy) * width + x + dx] = edges[y * width + x, k]
    dense = (dense + dense.T) / 2
    np.fill_diagonal(dense, 1)
    return dense


def dense_walk(affinity: Floats, scores: Floats, beta: float, squarings: int) -> Floats:
    """x T^t with t = 2^squarings and T = A / column sums, A = affinity^beta."""
    matrix = affinity**beta
    transition = matrix / matrix.sum(0, keepdims=True)
    for _ in range(squarings):
        transition = transition @ transition
    result: Floats = scores @ transition
    return result
