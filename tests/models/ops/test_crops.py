import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ops.crops import cut_mask, cut_out, lay_back, window_of

corner = st.floats(-3, 40, allow_nan=False)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(corner, corner, corner, corner, st.floats(0, 2))
def test_the_window_holds_the_box_and_lies_in_the_image(
    a: float, b: float, c: float, d: float, margin: float
) -> None:
    window = window_of((min(a, b), min(c, d), max(a, b), max(c, d)), (30, 37), margin)
    x0, y0, x1, y1 = window.outer
    left, top, right, bottom = window.inner
    assert 0 <= x0 <= left < right <= x1 <= 37
    assert 0 <= y0 <= top < bottom <= y1 <= 30
    image = np.zeros((30, 37), bool)
    image[window.box_in_image()] = True
    assert image.sum() == (right - left) * (bottom - top)
    part = image[window.part_in_image()]
    assert part.shape == window.shape
    assert part[window.box_in_part()].all()
    assert part.sum() == image.sum()
    shares = np.array(window.shares) * [x1 - x0, y1 - y0, x1 - x0, y1 - y0]
    np.testing.assert_allclose(shares, [left - x0, top - y0, right - x0, bottom - y0], atol=1e-9)


def test_the_margin_is_a_share_of_each_side() -> None:
    window = window_of((10, 10, 20, 14), (40, 40), 0.5)
    assert window.outer == (5, 8, 25, 16)
    assert window_of((0, 10, 20, 14), (40, 40), 0.5).outer == (0, 8, 30, 16)


@pytest.mark.parametrize("side", [16, 64])
def test_a_mask_survives_the_way_there_and_back(side: int) -> None:
    mask = np.zeros((40, 48), bool)
    mask[12:24, 16:32] = True
    window = window_of((16, 12, 32, 24), mask.shape, 0.5)
    cells = cut_mask(mask, window, side)
    assert cells.shape == (side, side)
    assert cells.mean() / 255 == pytest.approx(0.25, abs=0.01)
    back = lay_back(cells.astype(np.float32) / 255, window)
    assert back.shape == window.shape
    np.testing.assert_array_equal(back > 0.5, mask[window.part_in_image()])


def test_a_crop_that_shrinks_averages_and_one_that_grows_interpolates() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, ::2] = 200
    window = window_of((0, 0, 8, 8), (8, 8), 0)
    np.testing.assert_array_equal(cut_out(image, window, 4), 100)
    larger = cut_out(image[:, :2].repeat(4, 1), window, 16)
    assert larger.shape == (16, 16, 3)
    assert len(np.unique(larger)) > 2
