"""Consistency checking of A2GNN (eq. 27, 28): seeds that do not look like their box are left out.

# differs from the paper: as printed, eq. 28 keeps seeds with d > 0 where d = 1 - cos, which holds
for all; the public code drops seeds of negative cosine, which a ReLU network does not have. Here
the sign test has its origin between the two alternatives: a seed stays if its feature has a larger
cosine with the prototype of its box than with that of the background. Labels of other classes in
the box stay (eq. 28 erases them), a box gives up at most half of the cells that hold its seeds
(which may hold more than half of the seeds), and every check starts from the original seeds.

A2GNN: https://arxiv.org/abs/2106.04054.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.a2gnn.multi_point import PixelBox


@dataclass(frozen=True)
class BoxSeeds:
    """The seeds of a box's own class inside it.

    Attributes:
        pixels: int64 [P] flat indices into the image.
        cells: int64 [S] the cells that hold them.
        cell: int64 [P] index into `cells` of each pixel.
    """

    pixels: Tensor
    cells: Tensor
    cell: Tensor


def seeds_in_boxes(
    seeds: Tensor,
    boxes: Sequence[PixelBox],
    rows: Sequence[int],
    size: tuple[int, int],
    columns: int,
    stride: int,
) -> list[BoxSeeds]:
    """Gather the seeds of each box; the same in every epoch.

    Args:
        seeds: int64 [H W] row of the class, -1 = unlabelled.
        boxes: whole pixels (x0, y0, x1, y1), half open.
        rows: the row of each box's class.
        size: (H, W) pixels.
        columns: cells per row of the grid.
        stride: pixels per cell.
    """
    image = seeds.reshape(size)
    box_seeds = []
    for (x0, y0, x1, y1), row in zip(boxes, rows, strict=True):
        y, x = (image[y0:y1, x0:x1] == row).nonzero(as_tuple=True)
        y, x = y + y0, x + x0
        of_pixel = _cells_of(y, x, columns, stride)
        cells, cell = torch.unique(of_pixel, return_inverse=True)
        box_seeds.append(BoxSeeds(y * size[1] + x, cells, cell))
    return box_seeds


def background_share(
    seeds: Tensor, size: tuple[int, int], grid: tuple[int, int], stride: int
) -> Tensor:
    """What each cell holds of the background's seeds; the same for all when there are none.

    Args:
        seeds: int64 [H W] row of the class, 0 = background.
        size: (H, W) pixels.
        grid: (h, w) cells.
        stride: pixels per cell.

    Returns:
        float64 [h w], summing to 1.
    """
    y, x = (seeds == 0).reshape(size).nonzero(as_tuple=True)
    counts = torch.bincount(_cells_of(y, x, grid[1], stride), minlength=grid[0] * grid[1])
    counts = counts.double() if len(y) else torch.ones_like(counts, dtype=torch.float64)
    return counts / counts.sum()


def _cells_of(y: Tensor, x: Tensor, columns: int, stride: int) -> Tensor:
    rows = y.div(stride, rounding_mode="floor")
    return rows * columns + x.div(stride, rounding_mode="floor")


def check_directions(prototypes: Tensor, background: Tensor) -> Tensor:
    """Directions along which a feature's sign tells box (+) from background (-).

    cos(f, P) >= cos(f, B) exactly when f . (P/|P| - B/|B|) >= 0, so the norm of f is not needed.

    Args:
        prototypes: [boxes, F], eq. 27.
        background: [F], the mean feature of the background's seeds.

    Returns:
        [boxes, F].
    """
    units = torch.nn.functional.normalize(prototypes, dim=1)
    directions: Tensor = units - torch.nn.functional.normalize(background, dim=0)
    return directions


def consistent_seeds(seeds: Tensor, boxes: Sequence[BoxSeeds], scores: Tensor) -> Tensor:
    """The seeds without those that disagree with all boxes of their class around them.

    Args:
        seeds: int64 [H W] row of the class, -1 = unlabelled.
        boxes: from `seeds_in_boxes`, of the same seeds.
        scores: [N, boxes] feature times direction of each box.

    Returns:
        int64 [H W], a new tensor.
    """
    inconsistent = torch.zeros(len(seeds), dtype=torch.bool, device=seeds.device)
    consistent = torch.zeros_like(inconsistent)
    for box, score in zip(boxes, scores.t(), strict=True):
        if not len(box.cells):
            continue
        of_cell = score[box.cells]
        # strictly below the median: never more than half of the cells
        bad = (of_cell < of_cell.median().clamp_max(0))[box.cell]
        inconsistent[box.pixels[bad]] = True
        consistent[box.pixels[~bad]] = True
    return seeds.masked_fill(inconsistent & ~consistent, -1)
