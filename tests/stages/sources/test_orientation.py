import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from stages.sources.orientation import stored_layout, upright_box, upright_map


def stored(values: np.ndarray, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG", exif=exif)
    return buffer.getvalue()


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    orientation=st.integers(1, 8),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_maps_turn_as_pillow_turns_images(
    orientation: int, height: int, width: int, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    content = stored(values, orientation)
    assert stored_layout(content) == ((width, height), orientation)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(upright_map(values, orientation), expected)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(orientation=st.integers(1, 8), seed=st.integers(0, 999))
def test_a_box_turns_with_its_pixels(orientation: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(2, 12, 2)
    (x0, x1), (y0, y1) = (np.sort(rng.choice(n + 1, 2, replace=False)) for n in (width, height))
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[y0:y1, x0:x1] = 1
    turned = upright_map(mask, orientation)
    rows, columns = np.nonzero(turned)
    expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert upright_box((x0, y0, x1, y1), (width, height), orientation) == expected


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_does_not_exist_counts_as_none(orientation: int) -> None:
    assert stored_layout(stored(np.zeros((2, 3), dtype=np.uint8), orientation)) == ((3, 2), 1)
