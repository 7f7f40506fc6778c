"""The affinity attention layer of A2GNN (eq. 17, 18), exact and sparse.

A node attends to the nodes within the window that it shares an edge with, and to itself. The N x N
attention matrix is never formed: its entries live in compressed rows (CSR) over a pattern that is
fixed per image. The layer is two differentiable functions, `attention_weights` (the softmax of
eq. 18) and `attend` (the product of eq. 17; `attend_at` gives some of its rows), with hand-written
backward passes, because autograd through gathered neighbours costs more time and memory than the
dense matrix does.

Let s_ij = w c_ij + beta [c_ij > 0] E_ij with c_ij = h_i.h_j / q_ij and q_ij = |h_i||h_j| + 1e-7.
With G the gradient of the weights p, g_ij = p_ij (G_ij - sum_k p_ik G_ik) is the gradient of s.
The pattern is symmetric and c is too, so with T_ij = w (g_ij + g_ji) and M = T / q:
dh_i = sum_j M_ij h_j - (sum_j M_ij c_ij |h_j|) h_i / |h_i|, one sparse product in all.

A2GNN: https://arxiv.org/abs/2106.04054.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

EPSILON = 1e-7  # added to |h_i||h_j|, as the public code does; |h| is small at the start


@dataclass(frozen=True)
class Neighbours:
    """Who attends to whom: a symmetric pattern of M entries in N rows, diagonal included.

    Attributes:
        starts: int32 [N + 1] where each row begins.
        columns: int32 [M] ascending within a row.
        rows: int64 [M] the row of each entry.
        affinity: [M] E_ij of eq. 14.
        twin: int64 [M] where entry (j, i) of each (i, j) is.
        diagonal: int64 [N] where entry (i, i) is.
        pair_starts, pair_columns, pair_rows: the same pattern without its lower triangle.
        pair: int64 [M] which entry of the upper triangle stands for each entry.
    """

    starts: Tensor
    columns: Tensor
    rows: Tensor
    affinity: Tensor
    twin: Tensor
    diagonal: Tensor
    pair_starts: Tensor
    pair_columns: Tensor
    pair_rows: Tensor
    pair: Tensor

    @property
    def nodes(self) -> int:
        """N."""
        return len(self.starts) - 1


def build_neighbours(
    edges: npt.NDArray[np.floating],
    offsets: npt.NDArray[np.int64],
    grid: tuple[int, int],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Neighbours:
    """The pattern S(i) of eq. 18 from a table of edges.

    Two nodes are connected where the edge is above 0 in either direction; every node is connected
    with itself.

    Args:
        edges: [N, K] affinity in [0, 1] to the node at each offset.
        offsets: [K, 2] (dy, dx) in cells, with the opposite of each among them, and (0, 0).
        grid: (h, w), N = h * w.
        dtype: of the affinity, and so of the layer.
        device: where the layer runs.

    Raises:
        ValueError: an offset without its opposite, or twice.
    """
    height, width = grid
    order = np.lexsort((offsets[:, 1], offsets[:, 0]))
    offsets, edges = offsets[order], edges[:, order]
    # sorted by (dy, dx), the opposite of the k-th offset is the k-th from the end
    if (offsets != -offsets[::-1]).any() or len(np.unique(offsets, axis=0)) != len(offsets):
        raise ValueError("offsets: expected each with its opposite, (0, 0) included, none twice")
    if len(offsets) % 2 == 0:
        raise ValueError("offsets: expected (0, 0) among them")
    middle = len(offsets) // 2
    y, x = np.divmod(np.arange(height * width), width)
    to_y, to_x = y[:, None] + offsets[:, 0], x[:, None] + offsets[:, 1]
    inside = (to_y >= 0) & (to_y < height) & (to_x >= 0) & (to_x < width)
    target = np.where(inside, to_y * width + to_x, 0)
    opposite = np.arange(len(offsets))[::-1]
    connected = inside & ((edges > 0) | (edges[target, opposite] > 0))
    connected[:, middle] = True

    rows, slots = np.nonzero(connected)
    position = np.full(connected.shape, -1, dtype=np.int64)
    position[rows, slots] = np.arange(len(rows))
    columns = target[rows, slots]
    upper = columns >= rows
    pair_index = np.cumsum(upper) - 1
    twin = position[columns, opposite[slots]]

    def as_tensor(values: npt.NDArray[Any], kind: torch.dtype) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device, kind)

    def starts_of(of_rows: npt.NDArray[np.int64]) -> Tensor:
        counts = np.bincount(of_rows, minlength=height * width)
        return as_tensor(np.concatenate([[0], np.cumsum(counts)]), torch.int32)

    return Neighbours(
        starts=starts_of(rows),
        columns=as_tensor(columns, torch.int32),
        rows=as_tensor(rows, torch.int64),
        affinity=as_tensor(edges[rows, slots], dtype),
        twin=as_tensor(twin, torch.int64),
        diagonal=as_tensor(position[:, middle], torch.int64),
        pair_starts=starts_of(rows[upper]),
        pair_columns=as_tensor(columns[upper], torch.int32),
        pair_rows=as_tensor(rows[upper], torch.int64),
        pair=as_tensor(np.where(upper, pair_index, pair_index[twin]), torch.int64),
    )


def attention_weights(
    hidden: Tensor, weight: Tensor, neighbours: Neighbours, *, beta: float
) -> Tensor:
    """P of eq. 18, one softmax over S(i) in each row.

    The public code masks neighbours of negative cosine instead of dropping their edge. Behind a
    ReLU no cosine is negative, but it is 0 where features share no channel, and for nodes without
    features: eq. 18 leaves the edge out there, the public code counts it.

    Args:
        hidden: [N, F].
        weight: w of eq. 18, a scalar.
        neighbours: the pattern with its edges.
        beta: weight of the edges.

    Returns:
        [M] in the order of the pattern.
    """
    values: Tensor = _AttentionWeights.apply(hidden, weight, neighbours, beta)
    return values


def attend(weights: Tensor, values: Tensor, neighbours: Neighbours) -> Tensor:
    """P V (eq. 17).

    Args:
        weights: [M] from `attention_weights`.
        values: [N, F].
        neighbours: the pattern.

    Returns:
        [N, F].
    """
    rows: Tensor = _Attend.apply(weights, values, neighbours)
    return rows


def attend_at(weights: Tensor, values: Tensor, neighbours: Neighbours, nodes: Tensor) -> Tensor:
    """Some rows of P V, at the price of those rows.

    Args:
        weights: [M] from `attention_weights`.
        values: [N, F].
        neighbours: the pattern.
        nodes: int64 [R] different nodes.

    Returns:
        [R, F].
    """
    starts = neighbours.starts.long()
    lengths = starts[nodes + 1] - starts[nodes]
    ends = lengths.cumsum(0)
    entries = torch.arange(int(ends[-1]) if len(ends) else 0, device=nodes.device)
    entries += (starts[nodes] - ends + lengths).repeat_interleave(lengths)
    rows = torch.arange(len(nodes), device=nodes.device).repeat_interleave(lengths)
    columns = neighbours.columns.index_select(0, entries)
    some: Tensor = _AttendAt.apply(
        weights.index_select(0, entries), values, rows, columns, len(nodes)
    )
    return some


class _AttentionWeights(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, neighbours: Neighbours, beta: float
    ) -> Tensor:
        norms = torch.linalg.vector_norm(hidden, dim=1)
        dots = sampled_product(
            neighbours.pair_starts, neighbours.pair_columns, hidden, hidden.contiguous()
        )
        outer = norms.index_select(0, neighbours.pair_rows)
        outer *= norms.index_select(0, neighbours.pair_columns)
        cosine = dots.div_(outer.add_(EPSILON)).index_select(0, neighbours.pair)
        gate = cosine.sign().clamp_(min=0)  # [c > 0]
        exponent = gate.mul_(neighbours.affinity).mul_(beta).addcmul_(cosine, weight)
        highest = torch.segment_reduce(exponent, "max", offsets=neighbours.starts.long())
        exponent = exponent.sub_(highest.index_select(0, neighbours.rows)).exp_()
        totals = _row_sums(exponent, neighbours)
        weights = exponent.div_(totals.index_select(0, neighbours.rows))
        ctx.save_for_backward(hidden, weight, norms, cosine, weights)
        ctx.neighbours = neighbours
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden, weight, norms, cosine, weights = ctx.saved_tensors
        neighbours: Neighbours = ctx.neighbours
        score = weights * gradient
        score -= weights * _row_sums(score, neighbours).index_select(0, neighbours.rows)
        of_weight = torch.dot(score, cosine).reshape(weight.shape)
        both = (score + score.index_select(0, neighbours.twin)).mul_(weight)
        columns_norms = norms.index_select(0, neighbours.columns)
        outer = norms.index_select(0, neighbours.rows).mul_(columns_norms).add_(EPSILON)
        matrix = both.div_(outer)
        through_norms = _row_sums((matrix * cosine).mul_(columns_norms), neighbours)
        # where |h| = 0 its gradient is taken to be 0, as torch's norm does
        through_norms = torch.where(norms > 0, through_norms / norms, 0)
        matrix[neighbours.diagonal] -= through_norms
        return product(matrix, neighbours, hidden), of_weight, None, None


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, values: Tensor, neighbours: Neighbours) -> Tensor:
        ctx.save_for_backward(weights, values)
        ctx.neighbours = neighbours
        return product(weights, neighbours, values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        weights, values = ctx.saved_tensors
        neighbours: Neighbours = ctx.neighbours
        gradient = gradient.contiguous()
        of_weights = of_values = None
        if ctx.needs_input_grad[0]:
            of_weights = sampled_product(
                neighbours.starts, neighbours.columns, gradient, values.contiguous()
            )
        if ctx.needs_input_grad[1]:
            of_values = product(weights.index_select(0, neighbours.twin), neighbours, gradient)
        return of_weights, of_values, None


class _AttendAt(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weights: Tensor, values: Tensor, rows: Tensor, columns: Tensor, number: int
    ) -> Tensor:
        starts = _starts(rows, number)
        ctx.save_for_backward(weights, values, rows, columns, starts)
        return _weighted_sums(starts, columns, weights, values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        weights, values, rows, columns, starts = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_weights = sampled_product(starts, columns, gradient, values.contiguous())
        order = torch.argsort(columns, stable=True)
        of_values = _weighted_sums(
            _starts(columns, len(values)), rows[order].int(), weights[order], gradient
        )
        return of_weights, of_values, None, None, None


def _starts(rows: Tensor, number: int) -> Tensor:
    """Where each of `number` rows begins in entries sorted by row."""
    ends = torch.bincount(rows, minlength=number).cumsum(0)
    return torch.cat([ends.new_zeros(1), ends]).int()


def compressed_rows(
    starts: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]
) -> Tensor:
    """A CSR matrix without copies, and without torch's note that they are in beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(starts, columns, values, size, check_invariants=False)


def sampled_product(starts: Tensor, columns: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """left_i . right_j for every entry (i, j) of a pattern.

    Args:
        starts: [N + 1] where the rows of the pattern begin.
        columns: [M].
        left: [N, F].
        right: [N', F].

    Returns:
        [M].
    """
    if lacking := -left.shape[1] % 8:  # the kernel is ten times slower where lanes stay empty
        left, right = F.pad(left, (0, lacking)), F.pad(right, (0, lacking))
    zeros = left.new_zeros(len(columns))
    pattern = compressed_rows(starts, columns, zeros, (len(left), len(right)))
    dots: Tensor = torch.sparse.sampled_addmm(pattern, left, right.t(), beta=0.0).values()
    return dots


def product(weights: Tensor, neighbours: Neighbours, values: Tensor) -> Tensor:
    """P V without gradients."""
    return _weighted_sums(neighbours.starts, neighbours.columns, weights, values)


def _weighted_sums(starts: Tensor, columns: Tensor, weights: Tensor, values: Tensor) -> Tensor:
    # a sparse product, 2.2 times as fast in this form as in MKL's
    return F.embedding_bag(
        columns,
        values.contiguous(),
        starts,
        mode="sum",
        per_sample_weights=weights,
        include_last_offset=True,
    )


def _row_sums(values: Tensor, neighbours: Neighbours) -> Tensor:
    size = (neighbours.nodes, neighbours.nodes)
    matrix = compressed_rows(neighbours.starts, neighbours.columns, values, size)
    sums: Tensor = matrix @ values.new_ones(neighbours.nodes)
    return sums
