import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stages.engine.errors import InputError
from stages.io.photographs import decode_image, read_image
from tests.stages.devkits import picture, picture_bytes


def test_rgb_comes_back_unchanged() -> None:
    image = picture()
    np.testing.assert_array_equal(decode_image(picture_bytes(image)), np.asarray(image))


def test_grey_is_repeated() -> None:
    grey = picture().convert("L")
    decoded = decode_image(picture_bytes(grey))
    assert decoded.shape == (40, 48, 3)
    assert (decoded == np.asarray(grey)[..., None]).all()


def test_palette_is_looked_up() -> None:
    image = picture().quantize(16)
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode_image(picture_bytes(image)), expected)


def test_transparent_pixels_are_black_and_half_transparent_ones_half_dark() -> None:
    values = np.full((2, 3, 4), 200, dtype=np.uint8)
    values[..., 3] = [[255, 0, 128], [255, 0, 128]]
    decoded = decode_image(picture_bytes(Image.fromarray(values)))
    assert decoded[0, :, 0].tolist() == [200, 0, 100]


def test_a_transparent_palette_entry_is_black() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30, 250, 250, 250])
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", transparency=1)
    assert not decode_image(buffer.getvalue()).any()


def test_16_bits_keep_their_high_byte() -> None:
    values = np.array([[0, 255, 256, 40000, 65535]], dtype=np.uint16)
    decoded = decode_image(picture_bytes(Image.fromarray(values)))
    assert decoded[0, :, 0].tolist() == [0, 0, 1, 156, 255]


def test_cmyk_keeps_its_colours_about() -> None:
    image = Image.new("RGB", (16, 16), (200, 60, 30)).convert("CMYK")
    decoded = decode_image(picture_bytes(image, "JPEG"))
    assert np.abs(decoded.astype(int) - [200, 60, 30]).max() < 12


@settings(deadline=None, max_examples=30, derandomize=True)
@given(cut=st.integers(0, 1200), place=st.integers(0, 1200), value=st.integers(0, 255))
def test_broken_bytes_raise_only_what_is_promised(cut: int, place: int, value: int) -> None:
    content = bytearray(picture_bytes(picture(), "JPEG"))
    content[place % len(content)] = value
    try:
        decoded = decode_image(bytes(content[:cut]))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return
    assert decoded.dtype == np.uint8


def test_a_file_that_changed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(picture_bytes(picture(seed=1)))
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    np.testing.assert_array_equal(read_image(path, md5), np.asarray(picture(seed=1)))
    path.write_bytes(picture_bytes(picture(seed=2)))
    with pytest.raises(InputError, match=r"a\.png: content changed since the dataset stage"):
        read_image(path, md5)
    path.unlink()
    with pytest.raises(InputError, match=r"a\.png: cannot be read: No such file"):
        read_image(path, md5)
