"""What is salient in an image: a region, 0 and 255, and its degree, 0 to 255, as grey PNGs."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from stages.engine.errors import InputError
from stages.io.label_maps import LabelMap, read_label_map


def encode_grey(values: npt.NDArray[np.uint8]) -> bytes:
    """PNG bytes of a uint8 [H, W] grey map."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG")
    return buffer.getvalue()


def encode_region(region: npt.NDArray[np.bool_]) -> bytes:
    """PNG bytes of a bool [H, W] region: 0 and 255."""
    return encode_grey(np.where(region, np.uint8(255), np.uint8(0)))


def read_region(path: Path, size: tuple[int, int] | None = None) -> npt.NDArray[np.bool_]:
    """The region as bool [H, W]: where the map is not 0.

    Args:
        path: a grey or palette PNG.
        size: (H, W) of its image, which it must have; None: any.

    Raises:
        InputError: missing, unreadable, of another size, or with more than one value beside 0.
    """
    values = read_label_map(path, size)
    check_binary(values, path)
    return values > 0


def check_binary(values: LabelMap, path: Path) -> None:
    """A map holds 0 and at most one other value.

    Raises:
        InputError: it holds more.
    """
    found = np.unique(values[values > 0]).tolist()
    if len(found) > 1:
        shown = ", ".join(map(str, found[:4])) + (", ..." if len(found) > 4 else "")
        raise InputError(f"{path}: values {shown}: not binary; expected 0 and one other value")


def read_saliency(path: Path, size: tuple[int, int] | None = None) -> npt.NDArray[np.float32]:
    """How salient each pixel is, 0 to 1: float32 [H, W]; errors as `read_label_map`."""
    return np.asarray(read_label_map(path, size) / 255, dtype=np.float32)
