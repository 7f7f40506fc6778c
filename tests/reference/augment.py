"""A random crop, pixel by pixel."""

import torch
from torch import Tensor


def paste(
    image: Tensor, crop: int, window: tuple[int, int, int, int, int, int], fill: Tensor
) -> Tensor:
    """The crop of (C, H, W) that `crop_window` describes; `fill` (C) outside the image."""
    top, left, height, width, above, before = window
    result = torch.empty(image.shape[0], crop, crop, dtype=image.dtype)
    for y in range(crop):
        for x in range(crop):
            inside = above <= y < above + height and before <= x < before + width
            result[:, y, x] = image[:, top + y - above, left + x - before] if inside else fill
    return result
