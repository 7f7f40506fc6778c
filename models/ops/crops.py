"""The window around a box, cut out and laid back (numpy; sides scaled apart to a square)."""

from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from models.ops.boxes import BoxTuple, pixel_box, widened

Floats = npt.NDArray[np.float32]


class Window(NamedTuple):
    """The part of an image that the network sees of one box, in whole pixels, half open.

    Attributes:
        outer: (x0, y0, x1, y1) of the part.
        inner: (x0, y0, x1, y1) of the box.
    """

    outer: tuple[int, int, int, int]
    inner: tuple[int, int, int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the part."""
        x0, y0, x1, y1 = self.outer
        return y1 - y0, x1 - x0

    @property
    def shares(self) -> tuple[float, float, float, float]:
        """The corners of the box as shares of the part's width and height."""
        (left, top, _, _), (x0, y0, x1, y1) = self.outer, self.inner
        rows, columns = self.shape
        return (x0 - left) / columns, (y0 - top) / rows, (x1 - left) / columns, (y1 - top) / rows

    def box_in_part(self) -> tuple[slice, slice]:
        """Where the box lies in the part, as rows and columns."""
        (left, top, _, _), (x0, y0, x1, y1) = self.outer, self.inner
        return slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)

    def box_in_image(self) -> tuple[slice, slice]:
        """Where the box lies in the image, as rows and columns."""
        x0, y0, x1, y1 = self.inner
        return slice(y0, y1), slice(x0, x1)

    def part_in_image(self) -> tuple[slice, slice]:
        """Where the part lies in the image, as rows and columns."""
        x0, y0, x1, y1 = self.outer
        return slice(y0, y1), slice(x0, x1)


def window_of(box: BoxTuple, size: tuple[int, int], margin: float) -> Window:
    """The box with a margin on each side, a share of its width or height, within the image."""
    inner = pixel_box(box, size)
    return Window(pixel_box(widened(inner, margin), size), inner)


def cut_out(image: npt.NDArray[np.uint8], window: Window, side: int) -> npt.NDArray[np.uint8]:
    """The part of the image [H, W, 3] as uint8 [side, side, 3]."""
    return np.asarray(resized(image[window.part_in_image()], (side, side)), dtype=np.uint8)


def cut_mask(mask: npt.NDArray[np.bool_], window: Window, side: int) -> npt.NDArray[np.uint8]:
    """The part of the mask [H, W] as shares of 255, uint8 [side, side]."""
    part = mask[window.part_in_image()].astype(np.uint8) * np.uint8(255)
    return np.asarray(resized(part, (side, side)), dtype=np.uint8)


def lay_back(cells: Floats, window: Window) -> Floats:
    """The probabilities of the crop's cells [side, side] on the pixels of the part."""
    return np.asarray(resized(cells, window.shape), dtype=np.float32)


def resized(values: npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Each side by its own factor to (rows, columns): means when shrunk, bilinear when enlarged."""
    rows, columns = shape
    smaller_rows = min(rows, values.shape[0])
    smaller_columns = min(columns, values.shape[1])
    # INTER_AREA enlarges by blocks, so each side that grows does so in a second step
    found = np.ascontiguousarray(values)
    if found.shape[:2] != (smaller_rows, smaller_columns):
        found = cv2.resize(found, (smaller_columns, smaller_rows), interpolation=cv2.INTER_AREA)
    if found.shape[:2] != (rows, columns):
        found = cv2.resize(found, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return found
