"""Class activation maps over several scales and the mirrored image, on the cells of the image.

CAM: https://arxiv.org/abs/1512.04150.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.ops.grid import grid_size

#: Added to the maximum; a class without evidence keeps a map of zeros.
EPSILON = 1e-5


def multiscale_cams(
    class_maps: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    scales: Sequence[float],
    flip: bool,
    source_stride: int,
    stride: int,
    from_least: bool = False,
) -> Tensor:
    """Positive evidence summed over scales and flips; each class divided by its maximum + 1e-5.

    Every map is read at the centres of the result's cells, whatever size the scaled image was
    rounded to, so that nothing is stretched (the public code resizes maps to the image, border on
    border, which moves them by up to half a cell).

    Args:
        class_maps: images (B, 3, h, w) -> (B, C, ceil(h / source_stride), ceil(w / source_stride)),
            cell (i, j) centred on pixel ((i + 0.5) source_stride - 0.5, ...).
        image: RGB in [0, 1], (3, H, W).
        scales: factors of the image's size.
        flip: also look at the mirrored image.
        source_stride: pixels per cell of `class_maps`.
        stride: pixels per cell of the result.
        from_least: stretch each class between its least and its greatest sum instead (`stretched`),
            for maps that are nowhere 0.

    Returns:
        (C, ceil(H / stride), ceil(W / stride)), in [0, 1).
    """
    height, width = image.shape[-2:]
    down, across = grid_size((height, width), stride)
    rows = (torch.arange(down, device=image.device) + 0.5) * (stride / height)
    columns = (torch.arange(across, device=image.device) + 0.5) * (stride / width)
    scores = []
    for scale in scales:
        size = [max(round(height * scale), 1), max(round(width * scale), 1)]
        scaled = image if scale == 1 else _resize(image, size)
        views = [scaled, scaled.flip(-1)] if flip else [scaled]
        coordinates = [columns, 1 - columns]
        for view, x in zip(class_maps(torch.stack(views)), coordinates, strict=False):
            scores.append(read_cells(view.relu(), rows * size[0], x * size[1], source_stride))
    total = torch.stack(scores).sum(0)  # [C, M, N]
    if from_least:
        return stretched(total)
    return total / (total.amax((1, 2), keepdim=True) + EPSILON)


def stretched(maps: Tensor) -> Tensor:
    """Positive evidence, each map stretched to [0, 1) between its least and its greatest value.

    max(0, x - min - 1e-5) / (max - min + 1e-5) with x = max(0, maps), over the cells.

    Args:
        maps: of any sign, (..., h, w).
    """
    positive = maps.relu()
    least, most = (found((-2, -1), keepdim=True) for found in (positive.amin, positive.amax))
    return (positive - least - EPSILON).relu() / (most - least + EPSILON)


def _resize(image: Tensor, size: list[int]) -> Tensor:
    """(3, H, W) to (3, *size), bilinear with antialiasing."""
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]


def read_cells(maps: Tensor, y: Tensor, x: Tensor, stride: int) -> Tensor:
    """Maps on cells, read bilinearly where rows y and columns x cross; constant beyond the centres.

    Args:
        maps: (C, h, w) on cells of `stride` pixels.
        y: (M,) in pixels from the image's upper edge (the first pixel's centre is at 0.5).
        x: (N,) in pixels from the left edge.
        stride: pixels per cell.

    Returns:
        (C, M, N).
    """
    height, width = maps.shape[-2:]
    across = (2 * x / (width * stride) - 1).to(maps.dtype)
    down = (2 * y / (height * stride) - 1).to(maps.dtype)
    grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)  # [M, N, 2]
    scores = F.grid_sample(
        maps[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return scores[0]
