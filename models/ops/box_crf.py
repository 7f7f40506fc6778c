"""Dense CRF box by box, each at the scale of its object.

One CRF over the image has one scale: kernels that clean up an object of 300 pixels wipe out one of
20. Here the range of the bilateral kernel is bounded by the size of the box, small boxes are
refined on an enlarged crop, and a pixel belongs to the smallest box that holds it. A box is tight:
its object reaches all four sides. Where the CRF wears an object away from them (the legs of a
chair, a tail), or gives most of it to something else (a cat in the arms of a person), its word on
that box does not count.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import cv2
import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le

from models.ops.boxes import BoxTuple, pixel_box, reach, smaller_on_top
from models.ops.crf import Kernels, dense_crf, normalized

#: What a box's CRF sees around it, as a share of its width and height on each side.
SURROUNDINGS = 0.5


@dataclass(frozen=True)
class BoxKernels(Kernels):
    """The kernels and how they follow the size of a box, described in params.yaml."""

    box_share: Annotated[float, Gt(0)]
    least_side: Annotated[int, Ge(0)]
    least_reach: Annotated[float, Ge(0), Le(1)]
    least_kept: Annotated[float, Ge(0), Le(1)]


def crf_in_boxes(
    probabilities: npt.NDArray[np.float32],
    allowed: npt.NDArray[np.bool_],
    image: npt.NDArray[np.uint8],
    boxes: Sequence[BoxTuple],
    own: Sequence[int],
    kernels: BoxKernels,
) -> npt.NDArray[np.int64]:
    """The row that wins each pixel of the boxes.

    Within a box that is the row of the CRF, or of the probabilities themselves where the CRF leaves
    of the pixels of the box's own row less than `least_kept`, or of their reach
    (`models.ops.boxes.reach`) less than `least_reach`.

    Args:
        probabilities: [C, H, W].
        allowed: bool [C, H, W] which rows may win a pixel; at least one everywhere.
        image: uint8 RGB [H, W, 3].
        boxes: the boxes of the image.
        own: the row of each box's class; -1 where it has none.
        kernels: see `BoxKernels`.

    Returns:
        [H, W] rows, 0 outside of all boxes: nothing is decided there.
    """
    size = image.shape[0], image.shape[1]
    before = np.where(allowed, probabilities, -1).argmax(axis=0)
    winner = np.zeros(size, dtype=np.int64)
    for index in smaller_on_top(boxes):
        x0, y0, x1, y1 = pixel_box(boxes[index], size)
        down, across = _around(y0, y1, size[0]), _around(x0, x1, size[1])
        rows = np.flatnonzero(allowed[:, down, across].any(axis=(1, 2)))
        refined = _at_scale(
            probabilities[rows, down, across],
            np.ascontiguousarray(image[down, across]),
            (y1 - y0, x1 - x0),
            kernels,
        )
        refined[~allowed[rows, down, across]] = -1
        won = rows[refined.argmax(axis=0)]
        top, left = y0 - down.start, x0 - across.start
        after = won[top : top + y1 - y0, left : left + x1 - x0]
        start = before[y0:y1, x0:x1]
        is_worn = _is_worn(start == own[index], after == own[index], kernels)
        winner[y0:y1, x0:x1] = start if is_worn else after
    return winner


def _is_worn(
    before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_], kernels: BoxKernels
) -> bool:
    """Whether too little is left of the object of a box; masks [h, w] over its pixels."""
    is_short = reach(after) < kernels.least_reach * reach(before)
    is_taken = (before & after).sum() < kernels.least_kept * before.sum()
    return bool(is_short or is_taken)


def _around(first: int, end: int, length: int) -> slice:
    """A side of a box with its surroundings, within the image."""
    margin = math.ceil(SURROUNDINGS * (end - first))
    return slice(max(first - margin, 0), min(end + margin, length))


def _at_scale(
    probabilities: npt.NDArray[np.float32],
    image: npt.NDArray[np.uint8],
    sides: tuple[int, int],
    kernels: BoxKernels,
) -> npt.NDArray[np.float32]:
    """The CRF on the crop of a box with these sides, enlarged where the box is small."""
    height, width = image.shape[:2]
    if kernels.iterations == 0:  # nothing that would need a scale
        return normalized(probabilities)
    scale = max(kernels.least_side / max(sides), 1.0)
    shape = round(scale * width), round(scale * height)
    widest = kernels.box_share * scale * math.sqrt(sides[0] * sides[1])
    bounded = replace(kernels, bilateral_xy=min(kernels.bilateral_xy, widest))
    enlarged = np.asarray(cv2.resize(image, shape), dtype=np.uint8)
    refined = dense_crf(_resized(probabilities, shape), enlarged, bounded)
    return _resized(refined, (width, height))


def _resized(maps: npt.NDArray[np.float32], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Bilinear interpolation of [C, h, w] to (width, height); a copy where nothing changes."""
    return np.stack([cv2.resize(np.ascontiguousarray(one), shape) for one in maps])
