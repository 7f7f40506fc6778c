"""mIoU, precision and coverage pixel by pixel, class by class."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.uint8]


def iou_by_loops(truths: Sequence[Labels], predictions: Sequence[Labels], label: int) -> float:
    """Intersection over union of one label over all images; NaN where it occurs nowhere."""
    both = either = 0
    for truth, prediction in zip(truths, predictions, strict=True):
        for true, predicted in zip(truth.flat, prediction.flat, strict=True):
            if true == 255:
                continue
            both += int(true == label and predicted == label)
            either += int(true == label or predicted == label)
    return both / either if either else float("nan")


def precision_by_loops(truths: Sequence[Labels], predictions: Sequence[Labels]) -> float:
    """Share of the labelled pixels that are right."""
    right = labelled = 0
    for truth, prediction in zip(truths, predictions, strict=True):
        for true, predicted in zip(truth.flat, prediction.flat, strict=True):
            if true != 255 and predicted != 255:
                labelled += 1
                right += int(true == predicted)
    return right / labelled if labelled else float("nan")


def coverage_by_loops(truths: Sequence[Labels], predictions: Sequence[Labels]) -> float:
    """Share of the pixels with a truth that are labelled."""
    labelled = pixels = 0
    for truth, prediction in zip(truths, predictions, strict=True):
        for true, predicted in zip(truth.flat, prediction.flat, strict=True):
            pixels += int(true != 255)
            labelled += int(true != 255 and predicted != 255)
    return labelled / pixels if pixels else float("nan")
