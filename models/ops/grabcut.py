"""GrabCut started from a box: which pixels of the box are the object (A2GNN section 3).

Rother et al.: https://doi.org/10.1145/1015706.1015720.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from annotated_types import Ge

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


@dataclass(frozen=True)
class View:
    """What GrabCut sees of the image around a box, described in params.yaml (`grabcut_seeds`)."""

    margin: Annotated[float, Ge(0)]
    least_side: Annotated[int, Ge(0)]
    most_side: Annotated[int, Ge(0)]


def grabcut_box(
    image: npt.NDArray[np.uint8],
    box: BoxTuple,
    iterations: int,
    min_fraction: float,
    seed: int,
    unsure: npt.NDArray[np.bool_] | None = None,
    view: View | None = None,
) -> BoxCut:
    """Cut the object of one box out of the image.

    Every pixel outside the box is background for certain; those inside start as object. The
    colour models know what is seen: the result depends on `view`.

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
        view: None is the whole image as it is.
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
    seen = (slice(None), slice(None)) if view is None else _seen((x0, y0, x1, y1), size, view)
    mask = np.zeros(size, dtype=bool)
    try:
        mask[seen] = _cut(image[seen], marks[seen], iterations, seed, view)
    except cv2.error:
        return BoxCut(whole, "failed")
    mask &= whole
    if not mask.any() or mask.sum() < min_fraction * whole.sum():
        return BoxCut(whole, "small")
    return BoxCut(mask, "full" if np.array_equal(mask, whole) else "cut")


def _seen(box: tuple[int, int, int, int], size: tuple[int, int], view: View) -> tuple[slice, slice]:
    """The box and its margin, within the image."""
    x0, y0, x1, y1 = box
    down, across = math.ceil(view.margin * (y1 - y0)), math.ceil(view.margin * (x1 - x0))
    rows = slice(max(y0 - down, 0), min(y1 + down, size[0]))
    return rows, slice(max(x0 - across, 0), min(x1 + across, size[1]))


def _cut(
    image: npt.NDArray[np.uint8],
    marks: npt.NDArray[np.uint8],
    iterations: int,
    seed: int,
    view: View | None,
) -> npt.NDArray[np.bool_]:
    """What becomes object of an image whose pixels are marked.

    Raises:
        cv2.error: a colour model has no pixels to learn from.
    """
    height, width = marks.shape
    side, scale = max(height, width), 1.0
    if view is not None and view.most_side:
        scale = min(view.most_side / side, scale)
    if view is not None:
        scale = max(view.least_side / side, scale)
    shape = max(round(scale * width), 1), max(round(scale * height), 1)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image = np.asarray(cv2.resize(image, shape, interpolation=how), dtype=np.uint8)
    marks = cv2.resize(marks, shape, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(seed)
    cv2.grabCut(
        image, marks, NO_RECTANGLE, background, foreground, iterations, cv2.GC_INIT_WITH_MASK
    )
    found = (marks == cv2.GC_PR_FGD).astype(np.float32)
    back = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(found, (width, height), interpolation=back) >= 0.5)


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
