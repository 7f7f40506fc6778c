"""Between pixels and the cells of models/ops/grid.py (numpy, no torch)."""

from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

NumberT = TypeVar("NumberT", np.uint8, np.int64)


def cells_to_pixels(
    scores: npt.NDArray[np.floating], size: tuple[int, int], stride: int
) -> npt.NDArray[np.float32]:
    """Bilinear interpolation of scores at the cells' centres, constant beyond the outermost.

    Args:
        scores: [C, h, w] with h = ceil(H / stride), w = ceil(W / stride).
        size: (H, W) pixels.
        stride: pixels per cell.

    Returns:
        float32 [C, H, W].
    """
    height, width = size
    if stride == 1:
        return scores.astype(np.float32)
    pixels = np.empty((len(scores), height, width), dtype=np.float32)
    columns, rows = scores.shape[2] * stride, scores.shape[1] * stride
    for row, score in zip(pixels, scores, strict=True):
        full = cv2.resize(score.astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR)
        row[:] = full[:height, :width]
    return pixels


def pixels_to_cells(labels: npt.NDArray[NumberT], stride: int) -> npt.NDArray[NumberT]:
    """The label at the centre of each cell; of a cell cut by the border, at the border.

    Args:
        labels: [H, W] label values (255 = unknown), or whatever else pixels are numbered with.
        stride: pixels per cell.

    Returns:
        [ceil(H / stride), ceil(W / stride)].
    """
    height, width = labels.shape
    rows = np.minimum(np.arange(0, height, stride) + stride // 2, height - 1)
    columns = np.minimum(np.arange(0, width, stride) + stride // 2, width - 1)
    return np.ascontiguousarray(labels[np.ix_(rows, columns)])


def scores_to_cells(scores: npt.NDArray[np.float32], stride: int) -> npt.NDArray[np.float32]:
    """The mean over the pixels of each cell, of one cut by the border over those that it has.

    Args:
        scores: [C, H, W].
        stride: pixels per cell.

    Returns:
        float32 [C, ceil(H / stride), ceil(W / stride)].
    """
    height, width = scores.shape[1:]
    rows, columns = np.arange(0, height, stride), np.arange(0, width, stride)
    sums = np.add.reduceat(np.add.reduceat(scores, rows, axis=1), columns, axis=2)
    sides = (np.diff(np.append(rows, height)), np.diff(np.append(columns, width)))
    return np.asarray(sums / np.outer(*sides), dtype=np.float32)
