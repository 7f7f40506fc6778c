"""Reading photographs: whatever the file holds, uint8 RGB [H, W, 3] the right way up comes out."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from stages.engine.errors import InputError
from stages.engine.files import md5_of
from stages.io.user_files import read_user_bytes

RGB = npt.NDArray[np.uint8]
#: What may be opened as a photograph. Without a list Pillow tries all it knows, whatever the name
#: says, and of those EPS starts a program.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")


def decode_image(content: bytes) -> RGB:
    """Decode image bytes to uint8 RGB [H, W, 3]; the EXIF orientation is applied.

    Grey, palette, CMYK and 16-bit images are converted (16 bits keep their high byte); a
    transparent image is laid on black.

    Raises:
        OSError, ValueError, SyntaxError, Image.DecompressionBombError: not a sound image.
    """
    with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
        opened.load()
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode in ("I;16", "I;16B", "I;16L", "I"):
            values = np.asarray(image).astype(np.int64).clip(0, 65535) >> 8
            image = Image.fromarray(values.astype(np.uint8))
        elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            ground = Image.new("RGBA", image.size, (0, 0, 0, 255))
            image = Image.alpha_composite(ground, image)
        return np.array(image.convert("RGB"), dtype=np.uint8)


def read_image(path: Path, md5: str) -> RGB:
    """Read the image whose content the `dataset` stage has seen.

    Args:
        path: the image file.
        md5: hexadecimal hash of the file's bytes, as in images.parquet.

    Raises:
        InputError: the file is missing or is not the one that images.parquet describes.
    """
    content = read_user_bytes(path)
    found = md5_of(content)
    if found != md5:
        raise InputError(
            f"{path}: content changed since the dataset stage (md5 {found}, expected {md5}); "
            "run the dataset stage again"
        )
    return decode_image(content)
