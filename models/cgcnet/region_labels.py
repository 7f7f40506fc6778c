"""Weak instance labels from a binary salient region and boxes (CGCNet section III.C, eq. 1).

The label of a box is what is salient in it, less the patches that two priors discard. The paper
words them so that one has to choose; here:

* one region: a closed region of the map that lies whole in a smaller box belongs to that box, and
  no larger one has it, unless that would leave the larger box empty;
* the largest: of the closed areas that a box holds, it keeps the largest. An object behind a pole
  is several.

CGCNet: https://arxiv.org/abs/2008.09246.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from models.ops.boxes import BoxTuple, pixel_box, smaller_on_top

Bools = npt.NDArray[np.bool_]
Priors = Literal["none", "one_region", "both"]


class RegionLabels(NamedTuple):
    """The labels of the boxes of an image, and what they did not account for.

    Attributes:
        masks: bool [boxes, H, W]; empty where a box holds nothing salient.
        regions_without_box: closed regions of the map that no box touches.
        shared_patches: closed areas that several labels hold.
        discarded: pixels of the boxes that the priors took away, one number per box.
    """

    masks: Bools
    regions_without_box: int
    shared_patches: int
    discarded: npt.NDArray[np.int64]


def label_regions(
    region: Bools, boxes: Sequence[BoxTuple], *, priors: Priors, least_fit: float = 0.0
) -> RegionLabels:
    """Give each box its part of the salient region.

    Args:
        region: bool [H, W].
        boxes: of the image.
        priors: which of the two; with none a label is all that is salient in its box.
        least_fit: share of a box that its label must span, from its first to its last row and
            column, or it is another object's and comes back empty: boxes are tight.
    """
    size = region.shape[0], region.shape[1]
    inside = np.zeros((len(boxes), *size), dtype=bool)
    for mask, box in zip(inside, boxes, strict=True):
        x0, y0, x1, y1 = pixel_box(box, size)
        mask[y0:y1, x0:x1] = True
    salient = inside & region
    masks = salient.copy()
    closed, count = areas(region)
    if priors != "none":
        order = smaller_on_top(boxes)[::-1]  # the smallest first
        for position, small in enumerate(order):
            own = enclosed(closed, inside[small])
            for large in order[position + 1 :]:
                rest = masks[large] & ~own
                if rest.any():
                    masks[large] = rest
    if priors == "both":
        masks = np.array([largest(mask) for mask in masks], dtype=bool).reshape(masks.shape)
    for mask, box in zip(masks, boxes, strict=True):
        if span(mask) < least_fit * box_area(box, size):
            mask[:] = False
    touched = np.unique(closed[inside.any(axis=0)]) if len(boxes) else np.zeros(0)
    return RegionLabels(
        masks,
        count - int((touched > 0).sum()),
        areas(masks.sum(axis=0) > 1)[1],
        (salient & ~masks).sum(axis=(1, 2)),
    )


def span(mask: Bools) -> int:
    """Pixels of the smallest box around a mask; 0 where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(np.ptp(rows) + 1) * int(np.ptp(columns) + 1) if len(rows) else 0


def box_area(box: BoxTuple, size: tuple[int, int]) -> int:
    """Whole pixels that a box touches in an image (H, W)."""
    x0, y0, x1, y1 = pixel_box(box, size)
    return (x1 - x0) * (y1 - y0)


def areas(mask: Bools) -> tuple[npt.NDArray[np.int32], int]:
    """The closed areas (8-connected) of a mask: their number at each pixel, 0 outside; how many."""
    count, numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return np.asarray(numbers, dtype=np.int32), count - 1


def enclosed(closed: npt.NDArray[np.int32], inside: Bools) -> Bools:
    """The closed areas of which no pixel lies outside of a box: bool [H, W]."""
    leaves = np.unique(closed[~inside])
    return (closed > 0) & ~np.isin(closed, leaves)


def largest(mask: Bools) -> Bools:
    """The closed area with the most pixels, of equal ones the first; an empty mask stays."""
    numbers, count = areas(mask)
    if count == 0:
        return mask
    return np.asarray(numbers == np.bincount(numbers[mask]).argmax(), dtype=bool)
