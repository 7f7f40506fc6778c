"""What class activations leave no doubt of, by two CRFs of hard labels (IRN, section 3.3).

An object where a CRF says so that starts from the activations above a high threshold, background
where one says so that starts from those above a low one, unknown between.

IRN: https://arxiv.org/abs/1904.05044.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.ops.crf import Kernels, dense_crf, label_probabilities
from models.ops.labels import UNKNOWN

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.uint8]


def confident_labels(
    cams: Floats,
    classes: Sequence[int],
    image: Labels,
    *,
    high: float,
    low: float,
    confidence: float,
    kernels: Kernels,
) -> Labels:
    """Labels of the pixels that both CRFs agree on.

    Args:
        cams: [C, H, W] activations in [0, 1] of the tagged classes; C may be 0.
        classes: the C label values.
        image: uint8 RGB [H, W, 3].
        high: a stronger activation may be an object. IRN: 0.3.
        low: a weaker one may be background. IRN: 0.05.
        confidence: probability of a hard label before the CRF. IRN: 0.7.
        kernels: of both CRFs.

    Returns:
        uint8 [H, W], 255 = unknown; background everywhere where there is no class.
    """
    if not len(classes):
        return np.zeros(image.shape[:2], dtype=np.uint8)
    certain, possible = (
        refined_labels(_strongest(cams, classes, threshold), image, confidence, kernels)
        for threshold in (high, low)
    )
    labels = np.where(certain > 0, certain, UNKNOWN)
    labels[(certain == 0) & (possible == 0)] = 0
    return labels.astype(np.uint8)


def refined_labels(labels: Labels, image: Labels, confidence: float, kernels: Kernels) -> Labels:
    """Hard labels after a CRF; of unknown pixels the CRF alone decides.

    Args:
        labels: uint8 [H, W], 255 = unknown.
        image: uint8 RGB [H, W, 3].
        confidence: probability of a label before it, more than that of any other class.
        kernels: of the CRF; without iterations the labels stay, unknown ones become background.
    """
    values = np.union1d(labels[labels != UNKNOWN], 0).astype(np.uint8)
    probabilities = label_probabilities(labels, values.tolist(), confidence)
    winner = dense_crf(probabilities, image, kernels).argmax(axis=0)
    found: Labels = values[winner]
    return found


def _strongest(cams: Floats, classes: Sequence[int], threshold: float) -> Labels:
    """The class of the strongest activation; background where none is above the threshold."""
    values = np.array([0, *classes], dtype=np.uint8)
    winner = np.where(cams.max(axis=0) > threshold, cams.argmax(axis=0) + 1, 0)
    found: Labels = values[winner]
    return found
