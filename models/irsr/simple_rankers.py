"""Rankers without training, to hold a network against: how salient each instance is, larger = more.

The bottom-up map is the spectral residual (Hou and Zhang, CVPR 2007), written here because OpenCV's
own stands in its contrib modules, which the locked package has not.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from scipy.fft import fft2, ifft2
from scipy.ndimage import gaussian_filter, uniform_filter

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
SIDE = 64  # pixels of the shrunk image's shorter side; the paper's number


def by_area(masks: Sequence[Bools]) -> list[float]:
    """The share of the image that each mask covers."""
    return [float(mask.mean()) for mask in masks]


def by_centrality(masks: Sequence[Bools]) -> list[float]:
    """Minus the distance of each mask's middle from that of the image, in shares of its sides."""
    found = []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        height, width = mask.shape
        down, across = (rows.mean() + 0.5) / height - 0.5, (columns.mean() + 0.5) / width - 0.5
        found.append(-float(np.hypot(down, across)))
    return found


def by_mean(masks: Sequence[Bools], saliency: npt.NDArray[np.floating]) -> list[float]:
    """The mean of a saliency map [H, W] inside each mask."""
    return [float(saliency[mask].mean()) for mask in masks]


def spectral_residual(image: npt.NDArray[np.uint8]) -> Floats:
    """How far each pixel stands out of what the image's spectrum lets expect: [H, W], up to 1.

    The log amplitude less its local mean, back in the image with the phase as it was, squared and
    blurred.

    Args:
        image: [H, W, 3].
    """
    height, width = image.shape[:2]
    factor = SIDE / min(height, width)
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float64).mean(axis=2)
    spectrum = fft2(small)
    amplitude = np.log(np.abs(spectrum) + 1e-8)
    residual = amplitude - uniform_filter(amplitude, 3, mode="wrap")
    back = np.abs(ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    blurred = gaussian_filter(back, 2.5)
    found = cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(found / max(float(found.max()), 1e-12), dtype=np.float64)
