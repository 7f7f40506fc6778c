"""Instances from labels and boxes (A2GNN section 5, BSIS).

The paper gives a box all pixels inside it that have its class. It does not say whose pixel it is
where boxes of one class overlap; here it goes to one of them, see `owners`.

A2GNN: https://arxiv.org/abs/2106.04054.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.ops.boxes import BoxTuple, pixel_box


class Instance(NamedTuple):
    """The mask of one box.

    Attributes:
        mask: bool [H, W], never empty.
        is_seen: whether any pixel of the box has its class; if none has, the mask is the whole box.
    """

    mask: npt.NDArray[np.bool_]
    is_seen: bool


def split_instances(
    labels: npt.NDArray[np.uint8], boxes: Sequence[BoxTuple], categories: Sequence[int]
) -> list[Instance]:
    """One instance per box: its pixels of its class, less those that another box owns.

    A box that would lose all of its pixels to others keeps them all, shared.

    Args:
        labels: uint8 [H, W] label values.
        boxes: (x0, y0, x1, y1) pixels, 0-based, half open.
        categories: one label value per box.
    """
    size = labels.shape[0], labels.shape[1]
    owned = owners(boxes, categories, size)
    instances = []
    for index, (box, category) in enumerate(zip(boxes, categories, strict=True)):
        inside = np.zeros(size, dtype=bool)
        x0, y0, x1, y1 = pixel_box(box, size)
        inside[y0:y1, x0:x1] = True
        own = inside & (labels == category)
        mask = own & owned[index]
        if mask.any():
            instances.append(Instance(mask, True))
        else:
            instances.append(Instance(own if own.any() else inside, bool(own.any())))
    return instances


def owners(
    boxes: Sequence[BoxTuple], categories: Sequence[int], size: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Which of the boxes of its class each pixel belongs to: bool [boxes, H, W].

    A box counts as a Gaussian about its centre with a quarter of its sides as standard deviations;
    of the boxes that hold the pixel the likeliest has it. So a pixel goes to the box it lies more
    centrally in, and the smaller of two boxes with a common centre is on top. A pixel in no box of
    a class belongs to none of them.
    """
    height, width = size
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    owned = np.zeros((len(boxes), height, width), dtype=bool)
    for category in set(categories):
        members = [index for index, other in enumerate(categories) if other == category]
        costs = np.full((len(members), height, width), np.inf)
        for cost, index in zip(costs, members, strict=True):
            x0, y0, x1, y1 = boxes[index]
            half_width, half_height = max((x1 - x0) / 2, 0.5), max((y1 - y0) / 2, 0.5)
            across = ((columns - (x0 + x1) / 2) / half_width) ** 2
            down = ((rows - (y0 + y1) / 2) / half_height) ** 2
            left, top, right, bottom = pixel_box(boxes[index], size)
            likely = 2 * (down[:, None] + across[None, :]) + np.log(half_width * half_height)
            cost[top:bottom, left:right] = likely[top:bottom, left:right]
        nearest = costs.argmin(axis=0)
        for row, index in enumerate(members):
            owned[index] = (nearest == row) & np.isfinite(costs[row])
    return owned
