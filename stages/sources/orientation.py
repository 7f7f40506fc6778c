"""Which way up an image is stored, and boxes and maps turned with it."""

import io

import numpy as np
from PIL import Image

from stages.io.label_maps import LabelMap
from stages.io.photographs import FORMATS

_TAG = 0x0112
#: EXIF orientations that exchange width and height.
SWAPPING = (5, 6, 7, 8)


def stored_layout(content: bytes) -> tuple[tuple[int, int], int]:
    """The stored (W, H) of an image file and its EXIF orientation 1..8.

    Raises:
        OSError, ValueError, SyntaxError, Image.DecompressionBombError: not an image.
    """
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        orientation = image.getexif().get(_TAG, 1)
        return image.size, orientation if orientation in range(1, 9) else 1


def upright_box(
    corners: tuple[float, float, float, float], size: tuple[int, int], orientation: int
) -> tuple[float, float, float, float]:
    """A box of the stored image, in the upright image.

    Args:
        corners: (x0, y0, x1, y1), pixels of the stored image, half open.
        size: stored (W, H).
        orientation: EXIF, 1..8.
    """
    x0, y0, x1, y1 = corners
    width, height = size
    if orientation in (2, 3, 7, 8):
        x0, x1 = width - x1, width - x0
    if orientation in (3, 4, 6, 7):
        y0, y1 = height - y1, height - y0
    return (y0, x0, y1, x1) if orientation in SWAPPING else (x0, y0, x1, y1)


def upright_map(values: LabelMap, orientation: int) -> LabelMap:
    """A map [H, W] of the stored image as [H', W'] of the upright image (EXIF orientation 1..8)."""
    if orientation in (2, 3, 7, 8):
        values = values[:, ::-1]
    if orientation in (3, 4, 6, 7):
        values = values[::-1]
    return np.ascontiguousarray(values.T if orientation in SWAPPING else values)
