"""Two label maps of one image, pixel by pixel, label by label."""

import numpy as np
import numpy.typing as npt

from tests.reference.metrics import iou_by_loops

Labels = npt.NDArray[np.uint8]


def changed_pixels_by_loops(first: Labels, second: Labels) -> int:
    """How many pixels have another label."""
    return sum(int(a != b) for a, b in zip(first.flat, second.flat, strict=True))


def agreement_by_sets(first: Labels, second: Labels) -> float:
    """Mean IoU in percent over the labels in either; unknown is a label like the others."""
    ious = []
    for label in {*first.flat, *second.flat}:
        here = {index for index, value in enumerate(first.flat) if value == label}
        there = {index for index, value in enumerate(second.flat) if value == label}
        ious.append(len(here & there) / len(here | there))
    return 100 * sum(ious) / len(ious)


def truth_iou_by_loops(truth: Labels, prediction: Labels) -> float:
    """Mean IoU in percent over the labels of the truth; NaN where no pixel is known."""
    labels = sorted({int(label) for label in truth.flat} - {255})
    ious = [iou_by_loops([truth], [prediction], label) for label in labels]
    return 100 * sum(ious) / len(ious) if ious else float("nan")
