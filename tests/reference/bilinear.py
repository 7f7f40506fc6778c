"""Bilinear interpolation between the centres of square cells, pixel by pixel."""

import math

import numpy as np
import numpy.typing as npt


def cells_to_pixels_by_loops(
    cells: npt.NDArray[np.float64], size: tuple[int, int], stride: int
) -> npt.NDArray[np.float64]:
    """[C, h, w] -> [C, H, W]; cell (i, j) is centred on pixel ((i + 0.5) stride - 0.5, ...)."""
    channels, rows, columns = cells.shape
    pixels = np.zeros((channels, *size))
    for y in range(size[0]):
        for x in range(size[1]):
            row = min(max((y + 0.5) / stride - 0.5, 0), rows - 1)
            column = min(max((x + 0.5) / stride - 0.5, 0), columns - 1)
            top, left = math.floor(row), math.floor(column)
            below, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            part = column - left
            upper = (1 - part) * cells[:, top, left] + part * cells[:, top, right]
            lower = (1 - part) * cells[:, below, left] + part * cells[:, below, right]
            pixels[:, y, x] = (1 - row + top) * upper + (row - top) * lower
    return pixels
