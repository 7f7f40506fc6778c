"""Boxes as pixels. A box is (x0, y0, x1, y1) in pixels, 0-based, half open."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

BoxTuple = tuple[float, float, float, float]


def pixel_box(box: BoxTuple, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The whole pixels that a box touches, clipped to the image; at least one pixel.

    Args:
        box: (x0, y0, x1, y1).
        size: (H, W) of the image.
    """
    height, width = size
    x0 = min(max(math.floor(box[0]), 0), width - 1)
    y0 = min(max(math.floor(box[1]), 0), height - 1)
    x1 = max(min(math.ceil(box[2]), width), x0 + 1)
    y1 = max(min(math.ceil(box[3]), height), y0 + 1)
    return x0, y0, x1, y1


def smaller_on_top(boxes: Sequence[BoxTuple]) -> list[int]:
    """Indices of the boxes from the largest area to the smallest: the order to paint them in."""
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes]
    return sorted(range(len(boxes)), key=lambda index: (-areas[index], index))


def filled_boxes(
    boxes: Sequence[BoxTuple], categories: Sequence[int], size: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Every box filled with its category, smaller boxes on top, 0 elsewhere: uint8 [H, W]."""
    labels = np.zeros(size, dtype=np.uint8)
    for index in smaller_on_top(boxes):
        x0, y0, x1, y1 = pixel_box(boxes[index], size)
        labels[y0:y1, x0:x1] = categories[index]
    return labels


def inside_own_boxes(
    boxes: Sequence[BoxTuple],
    categories: Sequence[int],
    classes: Sequence[int],
    size: tuple[int, int],
) -> npt.NDArray[np.bool_]:
    """Where each class may be: inside a box of its own; class 0 everywhere.

    Returns:
        bool [C, H, W] in the order of `classes`.
    """
    allowed = np.zeros((len(classes), *size), dtype=bool)
    for row, label in enumerate(classes):
        if label == 0:
            allowed[row] = True
        for box, category in zip(boxes, categories, strict=True):
            if category == label:
                x0, y0, x1, y1 = pixel_box(box, size)
                allowed[row, y0:y1, x0:x1] = True
    return allowed
