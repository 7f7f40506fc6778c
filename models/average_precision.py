"""Average precision of instances as the VOC devkit counts it since 2010.

COCO's differs in two ways: a detection whose best object is taken may have its second best there,
and precision is read at 101 recalls; here it is a false positive, and the area is exact.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


def voc_hits(
    overlaps: Floats, scores: Floats, ignored: npt.NDArray[np.bool_], threshold: float
) -> npt.NDArray[np.int8]:
    """Which detections of one class in one image are right.

    The detections take turns from the highest score to the lowest, of equal ones the first; each
    stands for the object that it overlaps most, or for none below the threshold.

    Args:
        overlaps: [D, T] IoU of detection and true object.
        scores: [D].
        ignored: [T] objects that need not be found; what stands for one counts neither way.
        threshold: least IoU.

    Returns:
        [D] 1 the first for its object, 0 wrong, -1 not counted.
    """
    hits = np.zeros(len(scores), dtype=np.int8)
    taken = np.zeros(len(ignored), dtype=bool)
    if not len(ignored):
        return hits
    for detection in np.argsort(-scores, kind="stable"):
        best = int(overlaps[detection].argmax())
        if overlaps[detection, best] < threshold:
            continue
        if ignored[best]:
            hits[detection] = -1
        elif not taken[best]:
            hits[detection] = 1
            taken[best] = True
    return hits


def voc_average_precision(scores: Floats, hits: npt.NDArray[np.int8], objects: int) -> float:
    """The area under precision, made to fall with recall, over the whole set, in [0, 1].

    Args:
        scores: [D] of all detections of a class; of equal ones the first goes first.
        hits: [D] from `voc_hits`.
        objects: how many there are to find.

    Returns:
        NaN when there is no object.
    """
    if objects == 0:
        return float("nan")
    ordered = hits[np.argsort(-scores, kind="stable")]
    right = ordered[ordered >= 0].cumsum()
    precision = right / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    recall = np.concatenate([[0], right / objects])
    return float((np.diff(recall) * envelope).sum())
