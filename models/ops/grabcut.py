"""GrabCut started from a box: which pixels of the box are the object (A2GNN section 3).

Rother et al.: https://doi.org/10.1145/1015706.1015720.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from models.ops.boxes import BoxTuple, pixel_box, smaller_on_top

Kind = Literal["cut", "full", "small", "failed"]
NO_RECTANGLE = (0, 0, 0, 0)  # OpenCV wants one, and looks at the marks alone


class BoxCut(NamedTuple):
    """What GrabCut made of one box.

    Attributes:
        mask: bool [H, W], true on the object; false outside the box.
        kind: "cut" when part of the box is object; "full" when GrabCut kept the whole box; "small"
            when it kept next to nothing; "failed" when it could not run. In the last two cases the
            mask is the whole box: it is known to hold an object, and nothing says where.
    """

    mask: npt.NDArray[np.bool_]
    kind: Kind


def grabcut_box(
    image: npt.NDArray[np.uint8],
    box: BoxTuple,
    iterations: int,
    min_fraction: float,
    seed: int,
    unsure: npt.NDArray[np.bool_] | None = None,
) -> BoxCut:
    """Cut the object of one box out of the whole image.

    Every pixel outside the box is background for certain; those inside start as object. The
    colour models see the whole image: cutting the image to a neighbourhood of the box would change
    the background model and so the result.

    # differs from the paper: it takes every cut as it comes; `min_fraction` discards small ones,
    # which would teach that the object is background.

    Args:
        image: uint8 RGB [H, W, 3].
        box: (x0, y0, x1, y1) pixels, 0-based, half open.
        iterations: rounds of colour models and graph cut, at least 1.
        min_fraction: an object below this share of its box is a failure of the cut: a box is tight,
            and an object that touches its four sides is rarely that thin.
        seed: of OpenCV's generator, set for every call, so that a result depends on no other.
        unsure: bool [H, W], where more objects may be, which is no certain background: it starts as
            background and may become object. None is nowhere.
    """
    size = image.shape[0], image.shape[1]
    x0, y0, x1, y1 = pixel_box(box, size)
    whole = np.zeros(size, dtype=bool)
    whole[y0:y1, x0:x1] = True
    if whole.all():  # no background to learn from
        return BoxCut(whole, "failed")
    marks = np.full(size, cv2.GC_BGD, dtype=np.uint8)
    if unsure is not None:
        marks[unsure] = cv2.GC_PR_BGD
    marks[whole] = cv2.GC_PR_FGD
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(seed)
    try:
        cv2.grabCut(
            image, marks, NO_RECTANGLE, background, foreground, iterations, cv2.GC_INIT_WITH_MASK
        )
    except cv2.error:
        return BoxCut(whole, "failed")
    mask = whole & (marks == cv2.GC_PR_FGD)
    if not mask.any() or mask.sum() < min_fraction * whole.sum():
        return BoxCut(whole, "small")
    return BoxCut(mask, "full" if np.array_equal(mask, whole) else "cut")


def label_cuts(
    masks: Sequence[npt.NDArray[np.bool_]],
    boxes: Sequence[BoxTuple],
    categories: Sequence[int],
    size: tuple[int, int],
) -> npt.NDArray[np.uint8]:
    """What was cut out of each box painted with its category, smaller boxes on top, 0 elsewhere.

    Args:
        masks: bool [H, W], one per box, false outside the box.
        boxes: the boxes of the image.
        categories: one label value per box.
        size: (H, W).

    Returns:
        uint8 [H, W].
    """
    labels = np.zeros(size, dtype=np.uint8)
    for index in smaller_on_top(boxes):
        labels[masks[index]] = categories[index]
    return labels
