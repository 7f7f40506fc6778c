"""Class activation maps over scales and flips, a cell and a pixel at a time."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

Floats = npt.NDArray[np.float64]


def read_at(map_: Floats, y: float, x: float, stride: int) -> float:
    """Bilinear value at pixel-edge coordinates (y, x); constant beyond the outermost centres."""
    rows, columns = map_.shape
    v = min(max(y / stride - 0.5, 0.0), rows - 1.0)
    u = min(max(x / stride - 0.5, 0.0), columns - 1.0)
    top, left = min(math.floor(v), rows - 1), min(math.floor(u), columns - 1)
    bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
    dv, du = v - top, u - left
    above = (1 - du) * map_[top, left] + du * map_[top, right]
    below = (1 - du) * map_[bottom, left] + du * map_[bottom, right]
    return float((1 - dv) * above + dv * below)


def multiscale_reference(
    class_maps: Callable[[Tensor], Tensor],
    image: Tensor,
    scales: Sequence[float],
    flip: bool,
    source_stride: int,
    stride: int,
) -> Floats:
    height, width = image.shape[-2:]
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    total: Floats | None = None
    for scale in scales:
        h, w = round(height * scale), round(width * scale)
        scaled = TF.resize(image, [h, w], antialias=True) if scale != 1 else image
        for mirrored in (False, True) if flip else (False,):
            view = scaled.flip(-1) if mirrored else scaled
            found = class_maps(view[None])[0].clamp(min=0).double().numpy()
            if total is None:
                total = np.zeros((len(found), rows, columns))
            for i in range(rows):
                for j in range(columns):
                    y, x = (i + 0.5) * stride * h / height, (j + 0.5) * stride * w / width
                    x = w - x if mirrored else x
                    for channel, map_ in enumerate(found):
                        total[channel, i, j] += read_at(map_, y, x, source_stride)
    assert total is not None
    for channel in total:
        channel /= channel.max() + 1e-5
    return total
