"""Fully connected conditional random field over the pixels of an image.

Mean field inference with a Gaussian kernel over positions and a bilateral kernel over positions and
colours, Potts compatibility (Kraehenbuehl and Koltun, 2011). The only place that knows pydensecrf.

Kraehenbuehl and Koltun: https://arxiv.org/abs/1210.5644.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pydensecrf.densecrf as densecrf
from annotated_types import Ge, Gt

#: No probability counts as lower than this: its logarithm is the unary energy.
FLOOR = 1e-5


@dataclass(frozen=True)
class Kernels:
    """The two kernels and the mean field steps, described in params.yaml; a stage checks ranges."""

    iterations: Annotated[int, Ge(0)]
    gaussian_xy: Annotated[float, Gt(0)]
    gaussian_compat: Annotated[float, Ge(0)]
    bilateral_xy: Annotated[float, Gt(0)]
    bilateral_rgb: Annotated[float, Gt(0)]
    bilateral_compat: Annotated[float, Ge(0)]


def dense_crf(
    probabilities: npt.NDArray[np.float32], image: npt.NDArray[np.uint8], kernels: Kernels
) -> npt.NDArray[np.float32]:
    """Refine class probabilities so that they follow the edges of the image.

    Args:
        probabilities: [C, H, W], of the classes present only: absent ones cost time and, as long as
            they hold little mass, change nothing. Normalised over C here, not below `FLOOR`.
        image: uint8 RGB [H, W, 3].
        kernels: see `Kernels`.

    Returns:
        float32 [C, H, W], sums over C to 1. With one class there is nothing to decide: ones.

    Raises:
        ValueError: the shapes do not fit.
    """
    classes, height, width = probabilities.shape
    if image.shape != (height, width, 3) or image.dtype != np.uint8:
        expected = (height, width, 3)
        raise ValueError(f"image: expected uint8 {expected}, got {image.dtype} {image.shape}")
    start = normalized(probabilities)
    if classes == 1 or kernels.iterations == 0:
        return start
    return mean_field(-np.log(start), image, kernels)


def mean_field(
    energies: npt.NDArray[np.float32], image: npt.NDArray[np.uint8], kernels: Kernels
) -> npt.NDArray[np.float32]:
    """Mean field inference from unary energies.

    Args:
        energies: [C, H, W], -log of a score; what all classes of a pixel have in common cancels.
        image: uint8 RGB [H, W, 3].
        kernels: see `Kernels`.

    Returns:
        Probabilities, float32 [C, H, W].
    """
    classes, height, width = energies.shape
    field = densecrf.DenseCRF2D(width, height, classes)
    field.setUnaryEnergy(np.ascontiguousarray(energies.reshape(classes, -1)))
    field.addPairwiseGaussian(sxy=kernels.gaussian_xy, compat=kernels.gaussian_compat)
    field.addPairwiseBilateral(
        sxy=kernels.bilateral_xy,
        srgb=kernels.bilateral_rgb,
        rgbim=np.ascontiguousarray(image),
        compat=kernels.bilateral_compat,
    )
    refined = np.array(field.inference(kernels.iterations), dtype=np.float32)  # [C, H W]
    return refined.reshape(classes, height, width)


def normalized(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """[C, H, W] divided by its sum over C, no value below `FLOOR`; equal shares where all are 0."""
    clipped = np.maximum(probabilities, 0.0)
    total = clipped.sum(axis=0, keepdims=True)
    shares = np.where(total > 0, clipped / np.where(total > 0, total, 1), 1 / len(probabilities))
    floored = np.maximum(shares, FLOOR)
    return np.asarray(floored / floored.sum(axis=0, keepdims=True), dtype=np.float32)


def allowed_only(
    probabilities: npt.NDArray[np.float32], allowed: npt.NDArray[np.bool_], fallback: int
) -> npt.NDArray[np.float32]:
    """The probabilities with 0 where a class cannot be; `fallback` is certain if nothing is left.

    Args:
        probabilities: [C, H, W].
        allowed: bool [C, H, W].
        fallback: row of the class that may be everywhere.
    """
    restricted = np.where(allowed, probabilities, np.float32(0))
    restricted[fallback][restricted.max(axis=0) <= 0] = 1
    return restricted


def label_probabilities(
    labels: npt.NDArray[np.uint8], classes: Sequence[int], confidence: float
) -> npt.NDArray[np.float32]:
    """Probabilities that stand for hard labels.

    Args:
        labels: [H, W] label values; 255 (unknown) and values not in `classes` become equal shares.
        classes: label values, one per row of the result.
        confidence: probability of the given label; the others share the rest. IRN: 0.7.

    Returns:
        float32 [C, H, W].
    """
    count = len(classes)
    if count == 1:
        return np.ones((1, *labels.shape), dtype=np.float32)
    own = np.stack([labels == label for label in classes])  # [C, H, W]
    shares = np.where(own, confidence, (1 - confidence) / (count - 1))
    return np.where(own.any(axis=0), shares, 1 / count).astype(np.float32)
