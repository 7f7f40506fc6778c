"""What the mask branch sees of the feature map for each proposal (CGCNet section III.D, eq. 2).

Eq. 2 takes all proposals out of the map and puts one back. As a mask of cells to keep that is one
byte per cell and proposal; the map itself, `channels` times 4 bytes as large, is copied for those
proposals alone that are computed at a time. At the paper's scale (256 channels, 200 x 333 cells) a
proposal is held in 65 kB, not in 68 MB.

CGCNet: https://arxiv.org/abs/2008.09246. RoIMasking is S4Net's: https://arxiv.org/abs/1711.07618.
"""

import torch
from torch import Tensor
from torchvision.ops import box_iou

#: LFR sees a fifth of a box's sides more, half of it on each side.
LFR_MARGIN = 0.1


def cell_boxes(boxes: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """The cells that boxes touch: int64 (N, 4), half open, clipped to the map, at least one cell.

    Args:
        boxes: (N, 4) pixels, half open.
        size: (h, w) of the map.
        stride: pixels per cell.
    """
    last = boxes.new_tensor([size[1] - 1, size[0] - 1])
    first = (boxes[:, :2] / stride).floor().clamp(min=0).minimum(last)
    end = (boxes[:, 2:] / stride).ceil().minimum(last + 1).maximum(first + 1)
    return torch.cat([first, end], dim=1).long()


def inside_boxes(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Bool (N, h, w): true in the cells of each box (N, 4), which may reach beyond the map."""
    x0, y0, x1, y1 = (side[:, None] for side in cells.unbind(dim=1))
    rows = torch.arange(size[0], device=cells.device)
    columns = torch.arange(size[1], device=cells.device)
    down: Tensor = (rows >= y0) & (rows < y1)
    across: Tensor = (columns >= x0) & (columns < x1)
    both: Tensor = down[:, :, None] & across[:, None, :]
    return both


def rivals(boxes: Tensor, others: Tensor, own: Tensor, bound: float) -> Tensor:
    """Which of the other boxes are other objects: bool (N, M).

    # differs from the paper, which takes out all proposals: most are the same object once more.

    Args:
        boxes: (N, 4).
        others: (M, 4).
        own: int64 (N), the one of `others` that a box stands for itself; -1: none of them.
        bound: a box that overlaps by this IoU or more is the same object.
    """
    columns = torch.arange(len(others), device=boxes.device)
    is_apart: Tensor = box_iou(boxes, others) < bound
    return is_apart & (columns != own[:, None])


def global_cells(inside: Tensor, other: Tensor, is_rival: Tensor) -> Tensor:
    """GFR: a box's own cells and all that lie in no rival, bool (N, h, w).

    Args:
        inside: (N, h, w), the cells of each box.
        other: (M, h, w), the cells of the other boxes.
        is_rival: (N, M), see `rivals`.
    """
    taken = torch.einsum("nm,mhw->nhw", is_rival.float(), other.float()) > 0
    return inside | ~taken


def local_cells(kept: Tensor, boxes: Tensor, stride: int) -> Tensor:
    """LFR: those of `global_cells` (N, h, w) that lie in the box widened by a fifth."""
    size = kept.shape[1], kept.shape[2]
    margin = (boxes[:, 2:] - boxes[:, :2]) * LFR_MARGIN
    wider = torch.cat([boxes[:, :2] - margin, boxes[:, 2:] + margin], dim=1)
    return kept & inside_boxes(cell_boxes(wider, size, stride), size)


def ternary_cells(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """RoIMasking: 1 in a box, -1 in a ring around it, 0 elsewhere: float (N, h, w).

    The ring is a third of the box's height and width wide, rounded down, and ends at the map's rim;
    in S4Net's public code a box whose ring would begin before the first row or column has none.

    Args:
        cells: int64 (N, 4), see `cell_boxes`.
        size: (h, w) of the map.
    """
    sides = (cells[:, 2:] - cells[:, :2]) // 3
    wider = torch.cat([cells[:, :2] - sides, cells[:, 2:] + sides], dim=1)
    return 2 * inside_boxes(cells, size).float() - inside_boxes(wider, size).float()


def kept_features(features: Tensor, kept: Tensor) -> Tensor:
    """Copies of a map with its channels' means where cells are not kept (eq. 2).

    Args:
        features: (C, h, w).
        kept: bool (N, h, w).

    Returns:
        (N, C, h, w).
    """
    mean = features.mean(dim=(1, 2), keepdim=True)
    return torch.where(kept[:, None], features, mean)
