"""The multi-point loss of A2GNN (eq. 23-26): a tight box holds its object in each row and column.

At pixel resolution, though nothing but the class scores is ever upsampled to it: the features of
the selected pixels are interpolated one by one.

A2GNN: https://arxiv.org/abs/2106.04054.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.a2gnn.grid_losses import cell_coordinates

PixelBox = tuple[int, int, int, int]


@dataclass(frozen=True)
class Picks:
    """The selected pixels K_j of one box, one per row and one per column (eq. 24).

    Attributes:
        row: index of the box's class among the classes of the image.
        pixels: int64 [h + w] flat indices into the image; a pixel may occur twice.
    """

    row: int
    pixels: Tensor


def select_points(scores: Tensor, boxes: Sequence[PixelBox], rows: Sequence[int]) -> list[Picks]:
    """The best pixel of each row and column of each box (eq. 23); the first of equal ones.

    Args:
        scores: [C, H, W], probabilities or logits.
        boxes: whole pixels (x0, y0, x1, y1), half open, not empty.
        rows: the index of each box's class in `scores`.
    """
    width = scores.shape[2]
    picks = []
    for (x0, y0, x1, y1), row in zip(boxes, rows, strict=True):
        inside = scores[row, y0:y1, x0:x1]
        down = torch.arange(y0, y1, device=scores.device)
        across = torch.arange(x0, x1, device=scores.device)
        by_row = down * width + x0 + inside.argmax(1)
        by_column = (y0 + inside.t().contiguous().argmax(1)) * width + across
        picks.append(Picks(row, torch.cat([by_row, by_column])))
    return picks


def point_weights(picks: Sequence[Picks], like: Tensor) -> Tensor:
    """How often each pixel is selected for each class, over N_p: [C, H W] for `like` [C, H W].

    The first term of eq. 26 is minus the sum of these times the log-probabilities.
    """
    weights = like.new_zeros(len(like), like[0].numel())
    total = sum(len(pick.pixels) for pick in picks)
    for pick in picks:
        share = like.new_full((len(pick.pixels),), 1 / total)
        weights[pick.row].index_add_(0, pick.pixels, share)
    return weights


def bilinear_taps(
    pixels: Tensor, width: int, grid: tuple[int, int], stride: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The four cells around each pixel and their shares, as torch's interpolation has them.

    Args:
        pixels: int64 [n] flat indices into an image.
        width: of that image, in pixels.
        grid: (h, w) cells.
        stride: pixels per cell.
        dtype: of the shares.

    Returns:
        int64 [n, 4] flat indices of cells, and their shares [n, 4], which sum to 1.
    """
    low, high, share = [], [], []
    for position, cells in zip((pixels // width, pixels % width), grid, strict=True):
        source = cell_coordinates(position.to(dtype), cells, stride)
        first = source.floor().long()
        low.append(first)
        high.append((first + 1).clamp_(max=cells - 1))
        share.append(source - first)
    (top, left), (bottom, right), (down, across) = low, high, share
    around = [row * grid[1] + column for row in (top, bottom) for column in (left, right)]
    shares = [a * b for a in (1 - down, down) for b in (1 - across, across)]
    return torch.stack(around, 1), torch.stack(shares, 1)


def point_distance(features: Sequence[Tensor], counts: Sequence[Tensor]) -> Tensor:
    """The mean of 1 - cosine over the pairs of different points of each box (eq. 26, second term).

    With u the unit features, the sum of u_m . u_n over all pairs is |sum u|^2, so that no table of
    pairs is needed.

    Args:
        features: one [n_j, F] per box, of its different pixels.
        counts: one [n_j] per box, how often each was selected.

    Returns:
        A scalar; 0 when no box has two different points.
    """
    total = features[0].new_zeros(())
    pairs = 0.0
    for box_features, count in zip(features, counts, strict=True):
        norms = torch.linalg.vector_norm(box_features, dim=1, keepdim=True)
        units = box_features / norms.clamp_min(1e-12)
        same = (count * count).sum()
        number = count.sum() ** 2 - same
        together = count @ units
        cosines = (together * together).sum() - (count * count) @ (units * units).sum(1)
        total = total + (number - cosines)
        pairs += float(number)
    return total / max(pairs, 1.0)
