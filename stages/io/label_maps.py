"""Label maps: palette PNG in VOC colours, 255 = unknown; and binary masks as COCO RLE."""

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from pycocotools import mask as coco_mask

from models.ops.labels import UNKNOWN as UNKNOWN  # for pipelines too, which know no models
from stages.engine.errors import InputError
from stages.io.user_files import read_user_bytes

LabelMap = npt.NDArray[np.uint8]


@cache
def palette() -> bytes:
    """The 768 bytes of the VOC palette: bit i of a label goes to bit 7-i//3 of channel i%3."""
    colours = np.zeros((256, 3), dtype=np.uint8)
    for label in range(256):
        for bit in range(8):
            for channel in range(3):
                value = (label >> (3 * bit + channel)) & 1
                colours[label, channel] |= value << (7 - bit)
    return colours.tobytes()


def encode_label_map(labels: LabelMap) -> bytes:
    """PNG bytes of a uint8 [H, W] label map with the VOC palette."""
    if labels.dtype != np.uint8 or labels.ndim != 2:
        raise ValueError(f"labels: expected uint8 [H, W], got {labels.dtype} {labels.shape}")
    image = Image.fromarray(labels).convert("P")
    image.putdata(labels.ravel())
    image.putpalette(palette())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def read_label_map(path: Path, size: tuple[int, int] | None = None) -> LabelMap:
    """Read a palette or grey PNG as uint8 [H, W] of label values.

    Args:
        path: the file.
        size: (H, W) of its image, which it must have; None: any.

    Raises:
        InputError: missing, unreadable, of another size, or an image with colours instead of label
            values.
    """
    if not path.exists():
        raise InputError(f"{path}: no such label map")
    content = read_user_bytes(path)
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            mode, labels = image.mode, np.array(image, dtype=np.uint8)
    except UnidentifiedImageError as error:  # its own text holds an address of memory
        raise InputError(f"{path}: not a readable PNG") from error
    except Exception as error:  # whatever a broken file makes a decoder raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: not a readable PNG: {reason}") from error
    if mode not in ("P", "L"):
        raise InputError(f"{path}: mode {mode}; expected a palette or grey PNG")
    if size is not None and labels.shape != size:
        raise InputError(f"{path}: size {labels.shape}; expected {size} of its image")
    return labels


def encode_rle(mask: npt.NDArray[np.bool_]) -> str:
    """COCO compressed run lengths of a boolean [H, W] mask, as text."""
    return str(coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"].decode())


def decode_rle(counts: str, height: int, width: int) -> npt.NDArray[np.bool_]:
    """The boolean [height, width] mask of COCO compressed run lengths."""
    rle: dict[str, Any] = {"size": [height, width], "counts": counts.encode()}
    return np.asarray(coco_mask.decode(rle), dtype=bool)
