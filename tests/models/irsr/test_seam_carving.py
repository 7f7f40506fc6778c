"""Seams against the letter of forward energy, and what ranks do to them."""

import numpy as np
import pytest

from models.irsr.seam_carving import (
    Costs,
    cheapest_paths,
    distortion,
    kept_pixels,
    retarget,
    seam_costs,
)
from tests.reference import seam_carving as slow

ONE = Costs(multiply=3.0, add=5.0, together=1)


def drawn(seed: int, size: tuple[int, int] = (7, 9)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((*size, 3), np.float32) * 255, (rng.random(size) < 0.3).astype(np.float32)


@pytest.mark.parametrize("seed", range(6))
def test_one_by_one_the_cheapest_seams_of_the_letter_are_taken_out(seed: int) -> None:
    colours, levels = drawn(seed)
    grey = colours.mean(axis=2, dtype=np.float32)
    total, _ = cheapest_paths(*seam_costs(grey, levels, ONE))
    assert float(total.min()) == pytest.approx(slow.best_seam(grey, levels, 3.0, 5.0)[0], rel=1e-5)
    index = np.arange(levels.size).reshape(levels.shape)
    left, own = grey, levels
    for _ in range(4):
        _, columns = slow.best_seam(left, own, 3.0, 5.0)
        left, own, index = (slow.without(each, columns) for each in (left, own, index))
    kept = kept_pixels(colours, levels, 4, ONE)
    np.testing.assert_array_equal(np.flatnonzero(kept), np.sort(index.ravel()))


@pytest.mark.parametrize("size", [(12, 9), (12, 30), (6, 16), (20, 10), (12, 16), (12, 50)])
def test_an_image_gets_the_size_that_is_asked_for_from_its_own_pixels(
    size: tuple[int, int],
) -> None:
    colours, levels = drawn(0, (12, 16))
    image = colours.astype(np.uint8)
    found = retarget(image, levels, size, Costs(3.0, 5.0, 4))
    assert found.image.shape == (*size, 3)
    assert found.source.shape == size
    rows, columns = np.divmod(found.source, 16)
    if size[0] == 12:  # a row keeps its pixels in their order
        np.testing.assert_array_equal(rows, np.arange(12)[:, None] * np.ones(size, int))
        assert (np.diff(columns, axis=1) >= 0).all()
        assert all(len(set(row)) == min(size[1], 16) for row in columns.tolist())
    if size == (12, 9):
        np.testing.assert_array_equal(found.image, image[rows, columns])
    with pytest.raises(ValueError, match="sides of 2"):
        retarget(image, levels, (1, 9), ONE)


def test_several_at_a_time_share_no_pixel_and_cost_little_more() -> None:
    colours, levels = drawn(3, (30, 60))
    for together in (1, 8):
        kept = kept_pixels(colours, levels, 20, Costs(3.0, 5.0, together))
        assert (kept.sum(axis=1) == 40).all()


def test_what_ranks_high_is_kept_and_the_lesser_object_gives_way() -> None:
    """Two alike objects on a ground of stripes: half the width, and only one is to be spared."""
    rng = np.random.default_rng(0)
    image = np.repeat(rng.integers(90, 110, (24, 48, 1), dtype=np.uint8), 3, axis=2)
    first, second = np.zeros((24, 48), bool), np.zeros((24, 48), bool)
    first[6:18, 4:18], second[6:18, 28:42] = True, True
    image[first | second] += rng.integers(0, 4, (2 * 12 * 14, 3), dtype=np.uint8)
    levels = (1.0 * first + 0.2 * second).astype(np.float32)
    costs = Costs(multiply=4.0, add=40.0, together=4)
    plain = retarget(image, 0 * levels, (24, 24), costs)
    ours = retarget(image, levels, (24, 24), costs)
    spared, given = distortion(first, ours.source), distortion(second, ours.source)
    assert spared.area > 0.9
    assert abs(spared.aspect) < 0.1
    assert given.area < spared.area
    assert distortion(first, plain.source).area < 0.75
    same = distortion(first, np.arange(24 * 48).reshape(24, 48).astype(np.int32))
    assert (same.area, same.aspect) == (1, 0)
    assert np.isnan(distortion(first, np.zeros((2, 2), np.int32)).aspect)
