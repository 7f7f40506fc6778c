"""Superpixels in the place of cells: the graph that A2GNN is compared with (section 6.3).

The graph keeps its grid: all cells of a superpixel get the mean features of that superpixel, so
that they are one node in all but name.

SLIC: Achanta et al. 2012, as scikit-image has it.
"""

import numpy as np
import numpy.typing as npt
import torch
from skimage.segmentation import slic
from torch import Tensor

from models.ops.cells import pixels_to_cells
from models.ops.grid import grid_size

#: Cells per superpixel, on average.
SHARE = 4


def superpixel_cells(image: npt.NDArray[np.uint8], stride: int) -> Tensor:
    """The superpixel at the centre of each cell.

    Args:
        image: uint8 RGB [H, W, 3].
        stride: pixels per cell.

    Returns:
        int64 [ceil(H / stride), ceil(W / stride)], numbers from 0 on.
    """
    rows, columns = grid_size((image.shape[0], image.shape[1]), stride)
    pixels = slic(image, n_segments=max(rows * columns // SHARE, 1), start_label=0)
    return torch.from_numpy(pixels_to_cells(pixels.astype(np.int64), stride))


def superpixel_means(maps: Tensor, superpixels: Tensor) -> Tensor:
    """Features with every cell's replaced by the mean over its superpixel.

    Args:
        maps: (C, h, w).
        superpixels: int64 [h, w].
    """
    groups = superpixels.flatten()
    sums = maps.new_zeros(len(maps), int(groups.max()) + 1)
    sums.index_add_(1, groups, maps.flatten(1))
    counts = torch.bincount(groups, minlength=sums.shape[1]).clamp(min=1)
    return (sums / counts)[:, groups].view_as(maps)
