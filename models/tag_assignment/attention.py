"""Attention probabilities of salient instances (Fan et al. 2018, eq. 1 and 2).

Eq. 1 is the loss of the classifier, `models.cam.tag_loss`: its logits are the means of the class
score maps, through a sigmoid.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from models.ops.boxes import BoxTuple, pixel_box
from models.ops.cells import cells_to_pixels

Floats = npt.NDArray[np.floating]


def attention_probabilities(
    scores: Floats, boxes: Sequence[BoxTuple], size: tuple[int, int], stride: int
) -> npt.NDArray[np.float64]:
    """Eq. 2, p: how probable each class is within each box, by the sigmoid of its score map.

    # differs from the paper: eq. 2 has a minus in front, with which the arg-max would be the least
    # probable class; and it sums x0..x1 but divides by x1 - x0. It is a mean over the box here.

    Args:
        scores: [C, h, w] class score maps of any sign (`CamClassifier.class_maps`).
        boxes: N boxes; of each, the whole pixels it touches count.
        size: (H, W) of the image.
        stride: pixels per cell of the maps.

    Returns:
        [N, C] in [0, 1].
    """
    return box_means(expit(scores.astype(np.float32)), boxes, size, stride)


def box_means(
    maps: Floats, boxes: Sequence[BoxTuple], size: tuple[int, int], stride: int
) -> npt.NDArray[np.float64]:
    """The mean of each map over each box: eq. 2 for maps that are in [0, 1] as they are.

    Args:
        maps: [C, h, w], between the cells' centres interpolated as in `cells_to_pixels`.
        boxes: N boxes.
        size: (H, W) of the image.
        stride: pixels per cell of the maps.

    Returns:
        [N, C].
    """
    pixels = cells_to_pixels(maps, size, stride)
    means = np.empty((len(boxes), len(maps)))
    for row, box in zip(means, boxes, strict=True):
        x0, y0, x1, y1 = pixel_box(box, size)
        row[:] = pixels[:, y0:y1, x0:x1].mean(axis=(1, 2), dtype=np.float64)
    return means
