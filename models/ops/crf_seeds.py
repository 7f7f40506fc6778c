"""Seeds from activation maps by two CRFs that weigh the background differently (AffinityNet).

Background scores (1 - strongest activation)^alpha. With a low alpha it wins wherever no class is
strong: what is an object even then is an object for certain. With a high alpha it wins only where
there is no activation at all: what is background even then is background for certain. Where
neither can be said, the label is unknown.

AffinityNet (PSA): https://arxiv.org/abs/1803.10464; SEAM and A2GNN take the same seeds.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.ops.crf import FLOOR, Kernels, mean_field
from models.ops.labels import UNKNOWN

Floats = npt.NDArray[np.float32]
#: The public code's exponents and kernels: AffinityNet's and SEAM's are the same but for its 32.
LOW_ALPHA, HIGH_ALPHA = 4.0, 24.0
KERNELS = Kernels(
    iterations=10,
    gaussian_xy=3.0,
    gaussian_compat=3.0,
    bilateral_xy=80.0,
    bilateral_rgb=13.0,
    bilateral_compat=10.0,
)


def background_crf(
    cams: Floats, image: npt.NDArray[np.uint8], alpha: float, kernels: Kernels = KERNELS
) -> Floats:
    """The CRF of the activations beside a background of (1 - max)^alpha.

    The scores are taken as they are: they need not sum to 1, and none counts as less than 1e-5.

    Args:
        cams: [C, H, W] activations in [0, 1] of the tagged classes, C >= 1.
        image: uint8 RGB [H, W, 3].
        alpha: > 0.
        kernels: of the CRF.

    Returns:
        Probabilities, float32 [1 + C, H, W], background first.
    """
    activations = np.clip(cams, 0, 1).astype(np.float32)
    background = (1 - activations.max(axis=0, keepdims=True)) ** np.float32(alpha)
    scores = np.maximum(np.concatenate([background, activations]), np.float32(FLOOR))
    return mean_field(-np.log(scores), image, kernels)


def agreed_labels(
    low: Floats, high: Floats, classes: Sequence[int], least: float = 0.0
) -> npt.NDArray[np.uint8]:
    """What both CRFs leave no doubt of.

    An object where the one of low alpha says so (AffinityNet's "la"), background where the one of
    high alpha says so ("ha"), which goes first; unknown else, and where all scores are below 1e-5.

    Args:
        low: [1 + C, H, W] of low alpha, background first.
        high: [1 + C, H, W] of high alpha.
        classes: the C label values.
        least: the label's own probability, in `low` of an object and in `high` of the background,
            must be as high. A2GNN's public code: 0.8.

    Returns:
        uint8 [H, W], 255 = unknown.
    """
    values = np.array([0, *classes], dtype=np.uint8)
    winner = low.argmax(axis=0)
    labels = np.where((winner > 0) & (low.max(axis=0) >= least), values[winner], UNKNOWN)
    ground = high.argmax(axis=0) == 0
    labels[ground] = np.where(high[0][ground] >= least, np.uint8(0), UNKNOWN)
    labels[np.maximum(low.max(axis=0), high.max(axis=0)) < FLOOR] = UNKNOWN
    return labels.astype(np.uint8)


def crf_seeds(
    cams: Floats,
    classes: Sequence[int],
    image: npt.NDArray[np.uint8],
    *,
    low_alpha: float = LOW_ALPHA,
    high_alpha: float = HIGH_ALPHA,
    least: float = 0.0,
    kernels: Kernels = KERNELS,
) -> npt.NDArray[np.uint8]:
    """Confident seeds of the activation maps of one image.

    Args:
        cams: [C, H, W] activations in [0, 1] of the tagged classes; C may be 0.
        classes: the C label values.
        image: uint8 RGB [H, W, 3].
        low_alpha: exponent of the background for the objects; SEAM: 4.
        high_alpha: for the background; SEAM: 24, AffinityNet: 32.
        least: as for `agreed_labels`.
        kernels: of both CRFs.

    Returns:
        uint8 [H, W], 255 = unknown; background everywhere where there is no class.
    """
    if not len(classes):
        return np.zeros(image.shape[:2], dtype=np.uint8)
    low, high = (background_crf(cams, image, alpha, kernels) for alpha in (low_alpha, high_alpha))
    return agreed_labels(low, high, classes, least)
