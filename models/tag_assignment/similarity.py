"""The similarity graph of salient instances (Fan et al. 2018, section 4.1): exact, by blocks.

W_uv = cos(f_u, f_v) + 1 (eq. 5), and of each instance's edges only the k of largest weight. The
n x n matrix is never held: blocks of its upper triangle are multiplied in float32, and only what
may be among the k best within float32's error is looked at again. Those cosines are computed in
float64, one pair at a time, so neighbours and weights depend on the features alone, not on the
blocks, the threads or the BLAS.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Indices = npt.NDArray[np.int64]
Symmetrise = Literal["union", "mutual", "directed"]

_PAIRS = 4096  # whose cosines are computed at a time, in float64
_DIGITS = 12  # of a cosine: rows that are multiples of one another tie, whatever float64 rounds


@dataclass(frozen=True)
class SimilarityGraph:
    """Undirected edges between `nodes` instances, each once.

    Attributes:
        nodes: n.
        left, right: int64 [E], left < right, sorted.
        weight: float64 [E] W_uv + W_vu > 0, what the edge adds to x'Wx when both ends are chosen.
    """

    nodes: int
    left: Indices
    right: Indices
    weight: npt.NDArray[np.float64]


def similarity_graph(
    features: Floats, neighbours: int, *, symmetrise: Symmetrise = "union"
) -> SimilarityGraph:
    """The graph of eq. 5 between instances that are among each other's nearest.

    "Each vertex retains only those k linked edges with the largest weights" leaves open what
    becomes of an edge that only one end retains.

    Args:
        features: [n, d] of any sign and length.
        neighbours: k > 0; n - 1 where there are fewer others. Paper: 3.
        symmetrise: "union" keeps such an edge, "mutual" drops it, "directed" counts it once in x'Wx
            and not twice.

    Raises:
        ValueError: as `nearest_neighbours`.
    """
    nearest, cosines = nearest_neighbours(features, neighbours)
    nodes, kept = nearest.shape
    rows, columns = np.repeat(np.arange(nodes), kept), nearest.ravel()
    keys = np.minimum(rows, columns) * nodes + np.maximum(rows, columns)
    edges, first, times = np.unique(keys, return_index=True, return_counts=True)
    weight = 2 * (cosines.ravel()[first] + 1)
    if symmetrise == "mutual":
        weight[times == 1] = 0
    elif symmetrise == "directed":
        weight[times == 1] /= 2
    present = weight > 0
    left, right = np.divmod(edges[present], max(nodes, 1))
    return SimilarityGraph(nodes, left, right, weight[present])


def nearest_neighbours(
    features: Floats, neighbours: int, *, block: int = 1024
) -> tuple[Indices, npt.NDArray[np.float64]]:
    """The k others of largest cosine, for each row.

    Args:
        features: [n, d].
        neighbours: k > 0; n - 1 where there are fewer others.
        block: rows and columns of the cosine matrix that are held at a time.

    Returns:
        int64 and float64 [n, k]: rows and cosines in [-1, 1] to 12 digits, largest first, ties by
        row.

    Raises:
        ValueError: k < 1, or as `row_norms`.
    """
    if neighbours < 1:
        raise ValueError(f"neighbours: expected > 0, got {neighbours}")
    norms = row_norms(features)
    nodes = len(features)
    k = max(min(neighbours, nodes - 1), 0)
    if k == 0:
        return np.empty((nodes, 0), np.int64), np.empty((nodes, 0))
    unit = (features / norms[:, None]).astype(np.float32)
    candidates = _Candidates(features, norms, k)
    for i, j in _blocks(nodes, block):
        scores = unit[i : i + block] @ unit[j : j + block].T
        if i == j:
            np.fill_diagonal(scores, -np.inf)
            if len(scores) > k:
                kth = np.partition(scores, -k, axis=1)[:, -k]
                candidates.floor[i : i + block] = kth - candidates.slack
        rows, columns = _where(scores >= candidates.floor[i : i + block, None])
        candidates.add(rows + i, columns + j, scores[rows, columns])
        if i != j:
            rows, columns = _where(scores >= candidates.floor[j : j + block])
            candidates.add(columns + j, rows + i, scores[rows, columns])
    nearest, cosines = candidates.best()
    return nearest.reshape(nodes, k), cosines.reshape(nodes, k)


def row_norms(features: Floats) -> npt.NDArray[np.float64]:
    """float64 [n], the length of each row.

    Raises:
        ValueError: a row with nan or infinity or without a direction.
    """
    norms = np.empty(len(features))
    for start in range(0, len(features), _PAIRS):
        rows = features[start : start + _PAIRS].astype(np.float64)
        norms[start : start + _PAIRS] = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if len(bad):
        what = "zeros" if norms[bad[0]] == 0 else "nan or infinity"
        raise ValueError(f"features: row {bad[0]} has {what}; expected a direction")
    return norms


def _blocks(nodes: int, block: int) -> Iterator[tuple[int, int]]:
    """The corners of the upper triangle's blocks, those on the diagonal first."""
    starts = range(0, nodes, block)
    yield from ((i, i) for i in starts)
    yield from ((i, j) for i in starts for j in starts if i < j)


def _where(mask: npt.NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """Rows and columns of the few that are true."""
    rows, columns = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return rows, columns


class _Candidates:
    """Pairs (row, column) that may be among the k nearest of the row.

    Attributes:
        floor: float32 [n], what a score must reach to be a candidate of that row.
        slack: twice what float32 may do to a score: to its factors, and to a sum of products whose
            absolute values sum to 1 at most.
    """

    def __init__(self, features: Floats, norms: npt.NDArray[np.float64], k: int) -> None:
        nodes, channels = features.shape
        self.floor = np.full(nodes, -np.inf, np.float32)
        self.slack = np.float32((channels + 4) * np.finfo(np.float32).eps)
        self._features, self._norms, self._k = features, norms, k
        self._parts: list[tuple[Indices, Indices, npt.NDArray[np.float32]]] = []
        self._held, self._limit = 0, 16 * k * nodes

    def add(self, rows: Indices, columns: Indices, scores: npt.NDArray[np.float32]) -> None:
        """Hold more candidates; when they are many, drop those that others have surpassed."""
        self._parts.append((rows, columns, scores))
        self._held += len(rows)
        if self._held > self._limit:
            rows, columns, scores = self._surviving()
            if len(rows) > self._limit // 2:  # crowds of near ties: only float64 tells them apart
                rows, columns, cosines = self._exact(rows, columns)
                scores = cosines.astype(np.float32)
            self._parts, self._held = [(rows, columns, scores)], len(rows)

    def best(self) -> tuple[Indices, npt.NDArray[np.float64]]:
        """The k columns of largest cosine and their cosines, row after row, ties by column."""
        rows, columns, _ = self._surviving()
        _, columns, cosines = self._exact(rows, columns)
        return columns, cosines

    def _surviving(self) -> tuple[Indices, Indices, npt.NDArray[np.float32]]:
        """What reaches the floor, which is raised to the k-th best score less the slack."""
        rows, columns, scores = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        order = np.lexsort((-scores, rows))
        kth = order[_place(rows[order]) == self._k - 1]
        self.floor[rows[kth]] = np.maximum(self.floor[rows[kth]], scores[kth] - self.slack)
        keep = scores >= self.floor[rows]
        return rows[keep], columns[keep], scores[keep]

    def _exact(
        self, rows: Indices, columns: Indices
    ) -> tuple[Indices, Indices, npt.NDArray[np.float64]]:
        """The k best of each row by their cosines in float64 to 12 digits, ties by column."""
        cosines = np.empty(len(rows))
        for start in range(0, len(rows), _PAIRS):
            u, v = rows[start : start + _PAIRS], columns[start : start + _PAIRS]
            left = self._features[u].astype(np.float64)
            right = self._features[v].astype(np.float64)
            dots = np.einsum("ij,ij->i", left, right)
            cosines[start : start + _PAIRS] = dots / (self._norms[u] * self._norms[v])
        cosines = np.clip(np.round(cosines, _DIGITS, out=cosines), -1, 1)
        order = np.lexsort((columns, -cosines, rows))
        order = order[_place(rows[order]) < self._k]
        return rows[order], columns[order], cosines[order]


def _place(rows: Indices) -> Indices:
    """The place of each entry among those of its row; rows ascend."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    lengths = np.diff(np.append(starts, len(rows)))
    return np.arange(len(rows)) - np.repeat(starts, lengths)
