"""Boxes as pixels. A box is (x0, y0, x1, y1) in pixels, 0-based, half open."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.ops.labels import UNKNOWN

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


def widened(box: BoxTuple, margin: float) -> BoxTuple:
    """The box with each side moved outwards by this share of its width or height."""
    x0, y0, x1, y1 = box
    across, down = margin * (x1 - x0), margin * (y1 - y0)
    return x0 - across, y0 - down, x1 + across, y1 + down


def reach(mask: npt.NDArray[np.bool_]) -> float:
    """Share of a box that the bounding box of a mask in it covers, 0 to 1; mask: bool [h, w]."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0.0
    covered = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    return float(covered / mask.size)


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


def outside_boxes(boxes: Sequence[BoxTuple], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Bool [H, W]: true where no box is."""
    outside = np.ones(size, dtype=bool)
    for box in boxes:
        x0, y0, x1, y1 = pixel_box(box, size)
        outside[y0:y1, x0:x1] = False
    return outside


def with_emptied_boxes(
    labels: npt.NDArray[np.uint8],
    source: npt.NDArray[np.uint8],
    boxes: Sequence[BoxTuple],
    categories: Sequence[int],
) -> npt.NDArray[np.uint8]:
    """The labels with the source's pixels back in every box that lost all pixels of its class.

    So no box that has its class in the source is without it here.

    Args:
        labels: [H, W] label values, made of `source`.
        source: [H, W] label values.
        boxes: the boxes of the image.
        categories: one label value per box.

    Returns:
        uint8 [H, W], a new array.
    """
    labels = labels.copy()
    while True:  # what is put back may be the last pixel of another box, but is never lost again
        before = labels.copy()
        for box, category in zip(boxes, categories, strict=True):
            x0, y0, x1, y1 = pixel_box(box, (labels.shape[0], labels.shape[1]))
            found = labels[y0:y1, x0:x1]
            if not (found == category).any():
                found[source[y0:y1, x0:x1] == category] = category
        if np.array_equal(labels, before):
            return labels


def unknown_in_region(
    labels: npt.NDArray[np.uint8],
    region: npt.NDArray[np.bool_],
    boxes: Sequence[BoxTuple],
    categories: Sequence[int],
) -> npt.NDArray[np.uint8]:
    """The labels with 255 in a region of objects that have no boxes: nobody knows what is there.

    A label stays where a box of its own class holds the pixel.

    Args:
        labels: [H, W] label values.
        region: [H, W], true in the region.
        boxes: the boxes of the image.
        categories: one label value per box.

    Returns:
        uint8 [H, W], a new array.
    """
    claimed = np.zeros(labels.shape, dtype=bool)
    for box, category in zip(boxes, categories, strict=True):
        x0, y0, x1, y1 = pixel_box(box, (labels.shape[0], labels.shape[1]))
        claimed[y0:y1, x0:x1] |= labels[y0:y1, x0:x1] == category
    return np.where(region & ~claimed, np.uint8(UNKNOWN), labels)
