"""Which way up an image is stored, and boxes and maps turned with it."""

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from stages.engine.errors import InputError
from stages.io.label_maps import LabelMap, read_label_map
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


@dataclass(frozen=True)
class Layout:
    """How an image lies in its file, and what was drawn on it.

    Attributes:
        root: of the data set.
        size: upright (W, H).
        stored: stored (W, H).
        turn: EXIF orientation to apply to what was drawn on the stored image; 1: to nothing.
    """

    root: Path
    size: tuple[int, int]
    stored: tuple[int, int]
    turn: int

    @property
    def drawn(self) -> tuple[int, int]:
        """(W, H) of the image that annotations were drawn on."""
        return self.stored if self.turn > 1 else self.size

    def read_map(self, file: str) -> LabelMap:
        """A map of the image, upright.

        Raises:
            InputError: not one of this image.
        """
        values = read_label_map(self.root / file)
        if values.shape[::-1] != self.drawn:
            found = f"mask {file} is {values.shape[1]}x{values.shape[0]}"
            raise InputError(f"{found}, its image {self.drawn[0]}x{self.drawn[1]}")
        return upright_map(values, self.turn)

    def upright_point(self, place: tuple[float, float]) -> tuple[float, float]:
        """A point (x, y) in the upright image; a turned one lies in the middle of its pixel."""
        if self.turn == 1:
            return place
        x, y = (math.floor(value) + 0.5 for value in place)
        return upright_box((x, y, x, y), self.stored, self.turn)[:2]
