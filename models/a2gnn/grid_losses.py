"""Losses of a network on a grid of cells whose labels are on pixels (A2GNN eq. 13, 21, 22).

A2GNN: https://arxiv.org/abs/2106.04054.
"""

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.a2gnn.affinity_attention import compressed_rows

NEGLIGIBLE = 1e-6  # kernel values below are dropped; a row of N loses less than N times this


def cell_coordinates(pixels: Tensor, cells: int, stride: int) -> Tensor:
    """Where pixels lie between the centres of the cells: cell i at i, nothing beyond the outermost.

    Args:
        pixels: floating point, indices along one side.
        cells: of that side.
        stride: pixels per cell.
    """
    return ((pixels + 0.5) / stride - 0.5).clamp_(0, cells - 1)


def interpolation_matrix(cells: int, pixels: int, stride: int, dtype: torch.dtype) -> Tensor:
    """Linear interpolation along one side: [pixels, cells], two shares that sum to 1 in each row.

    Beyond the outermost centres of cells the value is constant.
    """
    source = cell_coordinates(torch.arange(pixels, dtype=dtype), cells, stride)
    first = source.floor().long()[:, None]
    share = source[:, None] - first
    matrix = torch.zeros(pixels, cells, dtype=dtype)
    matrix.scatter_add_(1, first, 1 - share)
    return matrix.scatter_add_(1, (first + 1).clamp_(max=cells - 1), share)


def cells_on_pixels(values: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Bilinear interpolation as two matrix products, which are faster than torch's own.

    Args:
        values: [h w, C] of the cells.
        down: [H, h] from `interpolation_matrix`.
        across: [W, w].

    Returns:
        [C, H, W].
    """
    cells = values.t().reshape(-1, down.shape[1], across.shape[1])
    return down @ (cells @ across.t())


def seed_weights(
    seeds: Tensor, classes: int, average: Literal["mean", "balanced"], dtype: torch.dtype
) -> Tensor:
    """The share of each labelled pixel in the cross entropy (eq. 21), at the row of its class.

    Minus the sum of these times the log-probabilities is the loss.

    Args:
        seeds: int64 [H W] row of the class, 0 = background, -1 = unlabelled.
        classes: how many rows, C.
        average: mean: one mean over all labelled pixels (paper); balanced: the mean over the
            background plus the mean over the foreground (public code).
        dtype: of the weights.

    Returns:
        [C, H W]; all 0 without labels.
    """
    weights = torch.zeros(classes, len(seeds), dtype=dtype, device=seeds.device)
    parts = [seeds >= 0] if average == "mean" else [seeds == 0, seeds > 0]
    for part in parts:
        pixels = part.nonzero()[:, 0]
        if len(pixels):
            weights[seeds[pixels], pixels] = 1 / len(pixels)
    return weights


def colour_kernel(
    colours: npt.NDArray[np.floating],
    grid: tuple[int, int],
    *,
    sigma_xy: float,
    sigma_rgb: float,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """G of eq. 13 over all pairs of nodes, as a sparse matrix; values below 1e-6 are left out.

    # differs from the paper: squared norms, as in every Gaussian and in the public code

    Args:
        colours: [N, 3] normalised RGB of the cells.
        grid: (h, w), N = h * w.
        sigma_xy: in cells.
        sigma_rgb: in units of `colours`.
        dtype: of the kernel.
        device: of the kernel.

    Returns:
        Sparse CSR [N, N], symmetric, empty diagonal.
    """
    nodes = grid[0] * grid[1]
    position = np.stack(np.divmod(np.arange(nodes), grid[1]), 1)
    points = np.concatenate([position / sigma_xy, colours / sigma_rgb], 1, dtype=np.float64)
    squares = (points * points).sum(1)
    farthest = -2 * math.log(NEGLIGIBLE)
    starts, columns, values = [np.zeros(1, np.int64)], [], []
    block = max(1, 2**20 // nodes)
    for first in range(0, nodes, block):
        rows = slice(first, min(first + block, nodes))
        distance = squares[rows, None] + squares - 2 * (points[rows] @ points.T)
        near = distance < farthest
        near[np.arange(rows.stop - first), np.arange(first, rows.stop)] = False
        starts.append(near.sum(1))
        columns.append(np.nonzero(near)[1])
        values.append(np.exp(-0.5 * np.maximum(distance[near], 0)))
    return compressed_rows(
        torch.from_numpy(np.concatenate(starts).cumsum()).to(device, torch.int32),
        torch.from_numpy(np.concatenate(columns)).to(device, torch.int32),
        torch.from_numpy(np.concatenate(values)).to(device, dtype),
        (nodes, nodes),
    )


def regularized_loss(probabilities: Tensor, kernel: Tensor) -> Tensor:
    """Eq. 22, read as Potts: the mean over nodes of sum_b G_ab (1 - <O_a, O_b>).

    # differs from the paper: as printed, over all pairs of classes, it is a constant, so only pairs
    # of different classes count; and a sum over the nodes would grow with the image, so it is their
    # mean. The public code does both.

    Args:
        probabilities: [N, C].
        kernel: sparse CSR [N, N], symmetric.
    """
    loss: Tensor = _Potts.apply(probabilities, kernel)
    return loss


class _Potts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, probabilities: Tensor, kernel: Tensor) -> Tensor:
        spread = kernel @ probabilities
        ctx.save_for_backward(spread)
        return (kernel.values().sum() - (probabilities * spread).sum()) / len(probabilities)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (spread,) = ctx.saved_tensors
        return spread * (-2 * gradient / len(spread)), None
