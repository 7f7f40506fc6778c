"""Seeds where there is no box: from strokes, points and tags (A2GNN section 7.1).

Labels are uint8 [H, W]: 0 background, 1..254 categories, 255 unknown.

A2GNN: https://arxiv.org/abs/2106.04054. SLIC: https://doi.org/10.1109/TPAMI.2012.120.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from skimage.segmentation import slic

from models.ops.labels import UNKNOWN

Labels = npt.NDArray[np.uint8]


def superpixels(
    image: npt.NDArray[np.uint8], pixels: int, compactness: float
) -> npt.NDArray[np.int64]:
    """SLIC's superpixels of an RGB image [H, W, 3]: a number from 0 for each pixel, [H, W].

    Args:
        image: uint8 RGB.
        pixels: how many one should have, about.
        compactness: weight of the place against the colour; higher: squarer.
    """
    count = max(round(image.shape[0] * image.shape[1] / pixels), 1)
    found = slic(image, n_segments=count, compactness=compactness, start_label=0, channel_axis=-1)
    return np.asarray(found, dtype=np.int64)


def point_marks(points: Iterable[tuple[int, float, float]], size: tuple[int, int]) -> Labels:
    """A map of marks, 255 elsewhere: each (category, x, y) on the pixel that it lies in."""
    marks = np.full(size, UNKNOWN, dtype=np.uint8)
    for category, x, y in points:
        marks[int(y), int(x)] = category
    return marks


def expanded_marks(marks: Labels, segments: npt.NDArray[np.int64]) -> Labels:
    """M_S, M_P: every superpixel that holds marks of one label alone takes it.

    In one that holds several the marked pixels alone are known.

    Args:
        marks: 255 where nothing is marked.
        segments: [H, W] numbers from 0, of the superpixels.
    """
    expanded = marks.copy()
    known = marks != UNKNOWN
    held = np.zeros((int(segments.max()) + 1, 256), dtype=bool)
    held[segments[known], marks[known]] = True
    alone = held.sum(axis=1) == 1
    return np.where(alone[segments], held.argmax(axis=1)[segments], expanded).astype(np.uint8)


def merged_seeds(marks: Labels, activated: Labels) -> Labels:
    """M_g of section 7.1: what is marked, and elsewhere what is activated (M'_I)."""
    return np.where(marks != UNKNOWN, marks, activated)


def salient_seeds(
    activated: Labels, saliency: npt.NDArray[np.float32], background: float
) -> Labels:
    """Seeds of tags with a saliency map: what is not salient is background, nothing else is.

    A class that is activated where nothing is salient is unknown: one of both errs.

    Args:
        activated: M'_I.
        saliency: [H, W], 0 to 1.
        background: what is below is not salient.
    """
    calm = saliency < background
    objects = np.where(activated == 0, UNKNOWN, activated)
    quiet = np.where(objects == UNKNOWN, np.uint8(0), UNKNOWN)
    return np.where(calm, quiet, objects)
