"""Seeds of strokes, points and tags, against pixel by pixel versions."""

import numpy as np
import pytest

from models.a2gnn.marks import (
    expanded_marks,
    merged_seeds,
    point_marks,
    salient_seeds,
    superpixels,
)
from tests.reference import seeds as reference


@pytest.mark.parametrize("seed", range(8))
def test_marks_grow_to_the_superpixels_that_they_alone_hold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    segments = rng.integers(0, 6, (7, 9))
    marks = rng.choice([255, 255, 255, 255, 255, 255, 0, 3, 7], (7, 9)).astype(np.uint8)
    before = marks.copy()
    found = expanded_marks(marks, segments)
    np.testing.assert_array_equal(found, reference.expanded_marks(marks, segments))
    np.testing.assert_array_equal(marks, before)
    assert (found == marks)[marks != 255].all()


def test_nothing_marked_is_nothing_known() -> None:
    nothing = np.full((4, 5), 255, np.uint8)
    assert (expanded_marks(nothing, np.zeros((4, 5), np.int64)) == 255).all()


def test_superpixels_follow_colours_and_have_about_their_size() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 23:] = (200, 30, 30)
    found = superpixels(image, 100, 10.0)
    assert found.shape == (40, 60)
    assert 12 <= found.max() + 1 <= 40
    assert not set(found[:, :23].ravel()) & set(found[:, 23:].ravel())
    np.testing.assert_array_equal(superpixels(image, 100, 10.0), found)
    assert superpixels(image, 10**6, 10.0).max() == 0


def test_a_point_marks_the_pixel_that_it_lies_in() -> None:
    marks = point_marks([(3, 1.9, 0.0), (0, 4.0, 2.5)], (3, 5))
    expected = np.full((3, 5), 255)
    expected[0, 1], expected[2, 4] = 3, 0
    np.testing.assert_array_equal(marks, expected)


@pytest.mark.parametrize("seed", range(4))
def test_marks_stand_above_activations_and_saliency_sets_the_background(seed: int) -> None:
    rng = np.random.default_rng(seed)
    marks, activated = rng.choice([0, 2, 5, 255], (2, 6, 7)).astype(np.uint8)
    saliency = rng.random((6, 7), dtype=np.float32)
    merged, salient = merged_seeds(marks, activated), salient_seeds(activated, saliency, 0.4)
    for at in np.ndindex(6, 7):
        assert merged[at] == (activated[at] if marks[at] == 255 else marks[at])
        is_object = activated[at] not in (0, 255)
        if saliency[at] < 0.4:
            assert salient[at] == (255 if is_object else 0)
        else:
            assert salient[at] == (activated[at] if is_object else 255)
