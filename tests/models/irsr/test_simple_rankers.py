"""Rankers without training."""

import numpy as np
import pytest

from models.irsr.curation import Looks, halves_agree
from models.irsr.simple_rankers import by_area, by_centrality, by_mean, spectral_residual


def rectangle(
    x0: int, y0: int, x1: int, y1: int
) -> "np.ndarray[tuple[int, int], np.dtype[np.bool_]]":
    mask = np.zeros((48, 64), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_area_centrality_and_mean_are_counted_pixel_by_pixel() -> None:
    masks = [rectangle(0, 0, 8, 6), rectangle(28, 20, 36, 28)]
    assert by_area(masks) == [48 / 3072, 64 / 3072]
    away = [np.hypot(4 / 64 - 0.5, 3 / 48 - 0.5), 0.0]
    assert by_centrality(masks) == pytest.approx([-value for value in away])
    grey = np.arange(48 * 64).reshape(48, 64) / 3072
    assert by_mean(masks, grey) == pytest.approx(
        [
            sum(grey[y, x] for y, x in zip(*np.nonzero(mask), strict=True)) / mask.sum()
            for mask in masks
        ]
    )


def test_the_spectral_residual_is_high_where_a_pattern_is_broken() -> None:
    image = np.zeros((48, 64, 3), dtype=np.uint8)
    image[:, ::4], image[::4] = 200, 200
    odd = rectangle(40, 20, 50, 30)
    image[odd] = 230
    found = spectral_residual(image)
    assert found.shape == (48, 64)
    assert found.max() == pytest.approx(1)
    assert found[odd].mean() > 2 * found[~odd].mean()


def test_the_halves_of_the_subjects_agree_on_the_pairs_that_both_order_alike() -> None:
    masks = [rectangle(0, 0, 8, 8), rectangle(20, 20, 28, 28), rectangle(40, 0, 48, 8)]
    places = {
        0: [(4, 4)] * 3 + [(24, 24)] * 2 + [(44, 4)],
        1: [(4, 4)] * 3 + [(24, 24)] + [(44, 4)] * 2,
    }
    whose = np.array([half for half, own in places.items() for _ in own])
    looks = Looks(whose, np.array([place for own in places.values() for place in own]))
    for measure in ("max", "fixations"):
        agree = halves_agree(masks, looks, measure=measure, sigma=1.0)  # type: ignore[arg-type]
        assert agree == (2.0, 3)
