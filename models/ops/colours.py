"""The colours of an image on a grid of cells."""

import torch.nn.functional as F
from torch import Tensor


def cell_colours(images: Tensor, stride: int) -> Tensor:
    """RGB at the cells' centres, normalised as the backbones do.

    Args:
        images: RGB in [0, 1], (B, 3, H, W).
        stride: pixels per cell.

    Returns:
        (B, 3, ceil(H / stride), ceil(W / stride)).
    """
    height, width = images.shape[-2:]
    rows, columns = -(-height // stride), -(-width // stride)
    missing = (0, columns * stride - width, 0, rows * stride - height)
    padded = F.pad(images, missing, mode="replicate")
    cells = F.interpolate(padded, (rows, columns), mode="bilinear", align_corners=False)
    mean = cells.new_tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = cells.new_tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return (cells - mean) / std
