"""Colours as the backbones see them, of an image or of its cells."""

import torch.nn.functional as F
from torch import Tensor

from models.ops.grid import grid_size

#: ImageNet's mean and standard deviation of RGB in [0, 1]: backbones subtract and divide by these.
MEAN_COLOUR = (0.485, 0.456, 0.406)
COLOUR_SPREAD = (0.229, 0.224, 0.225)


def cell_colours(images: Tensor, stride: int) -> Tensor:
    """RGB at the cells' centres, normalised as the backbones do.

    Args:
        images: RGB in [0, 1], (B, 3, H, W).
        stride: pixels per cell.

    Returns:
        (B, 3, ceil(H / stride), ceil(W / stride)).
    """
    height, width = images.shape[-2:]
    rows, columns = grid_size((height, width), stride)
    missing = (0, columns * stride - width, 0, rows * stride - height)
    padded = F.pad(images, missing, mode="replicate")
    cells = F.interpolate(padded, (rows, columns), mode="bilinear", align_corners=False)
    mean = cells.new_tensor(MEAN_COLOUR).view(3, 1, 1)
    std = cells.new_tensor(COLOUR_SPREAD).view(3, 1, 1)
    return (cells - mean) / std
