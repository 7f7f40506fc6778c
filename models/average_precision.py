"""Average precision of instances: as the VOC devkit counts since 2010, and image by image.

COCO's differs from VOC's in two ways: a detection whose best object is taken may have its second
best there, and precision is read at 101 recalls; here it is a false positive, and the area is
exact. What salient instances were measured with (S4Net, CGCNet) looks at each image alone.
"""

import math
from collections.abc import Sequence

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


def voc_instance_precision(
    images: Sequence[tuple[Floats, Floats, npt.NDArray[np.bool_]]], threshold: float
) -> float:
    """VOC's average precision of one class over a set of images, in [0, 1].

    Args:
        images: what `voc_hits` takes, image by image: overlaps [D, T], scores [D], ignored [T].
        threshold: least IoU.

    Returns:
        NaN when there is no object.
    """
    hits = [voc_hits(*image, threshold) for image in images]
    return voc_average_precision(
        np.concatenate([np.zeros(0), *(scores for _, scores, _ in images)]),
        np.concatenate([np.zeros(0, np.int8), *hits]),
        int(sum((~ignored).sum() for _, _, ignored in images)),
    )


def image_average_precision(overlaps: Floats, scores: Floats, threshold: float) -> float:
    """Average precision of one image, as the public code of S4Net counts it.

    After each detection, from the highest score on, true objects take turns in their order; each
    takes the free detection that it overlaps most, above the threshold. The area is the trapezoids'
    under the best *recall* at each *precision*: that code has exchanged the two, and so a single
    right detection among many wrong ones of lower score keeps the precision and with it the area.

    Args:
        overlaps: [D, T] IoU of detection and true object.
        scores: [D]; of equal ones the first goes first.
        threshold: the IoU must exceed it.

    Returns:
        In [0, 1]; 0 without detections, where that code stops; NaN when there is no object.

    S4Net: https://arxiv.org/abs/1711.07618.
    """
    found, objects = overlaps.shape
    if objects == 0:
        return float("nan")
    ordered = overlaps[np.argsort(-scores, kind="stable")]
    best: dict[float, float] = {}  # recall by precision
    for count in range(1, found + 1):
        free = ordered[:count].copy()
        matched = 0
        for true in range(objects):
            taken = int(free[:, true].argmax())
            if free[taken, true] > threshold:
                matched += 1
                free[taken] = 0
        precision = matched / count
        best[precision] = max(best.get(precision, 0.0), matched / objects)
    if not best:
        return 0.0
    precisions = sorted(best)
    recalls = [best[precision] for precision in precisions]
    return float(np.trapezoid([recalls[0], *recalls], [0.0, *precisions]))


def found_share(overlaps: Floats, threshold: float) -> float:
    """Share of the true objects of one image that some detection overlaps enough (CGCNet eq. 10).

    The paper calls it precision; wrong detections cost nothing, and scores do not count.

    Args:
        overlaps: [D, T] IoU of detection and true object.
        threshold: least IoU.

    Returns:
        In [0, 1]; NaN when there is no object.

    CGCNet: https://arxiv.org/abs/2008.09246.
    """
    if overlaps.shape[1] == 0:
        return float("nan")
    return float((overlaps.max(axis=0, initial=0.0) >= threshold).mean())


def mask_overlaps(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """IoU of every mask of [A, H, W] with every one of [B, H, W]: [A, B]; 0 for two empty ones."""
    one, other = (
        masks.reshape(len(masks), math.prod(masks.shape[1:])).astype(np.float64)
        for masks in (first, second)
    )
    both = one @ other.T
    union = one.sum(axis=1)[:, None] + other.sum(axis=1) - both
    shares: npt.NDArray[np.float64] = np.zeros_like(both)
    np.divide(both, union, out=shares, where=union > 0)
    return shares
