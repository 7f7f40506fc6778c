from dataclasses import replace

import numpy as np
import pytest

from models.ops import box_crf
from models.ops.box_crf import SURROUNDINGS, BoxKernels, crf_in_boxes
from models.ops.boxes import inside_own_boxes, reach
from models.ops.crf import dense_crf, label_probabilities
from tests.reference.box_crf import crf_in_boxes as one_pixel_at_a_time

KERNELS = BoxKernels(5, 3, 3, 50, 5, 10, box_share=100, least_side=0, least_reach=0, least_kept=0)


def photograph(generator, size):
    """Two colours with some noise."""
    split = np.arange(size[1])[None, :, None] < size[1] // 2
    return (np.where(split, 60, 170) + generator.integers(0, 25, (*size, 3))).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_a_pixel_is_decided_by_the_crf_of_the_smallest_box_that_holds_it(seed):
    generator = np.random.default_rng(seed)
    size = (14, 17)
    image = photograph(generator, size)
    corners = np.sort(generator.integers(0, (17, 14), (4, 2, 2)), axis=1)
    boxes = [(int(x0), int(y0), int(x1) + 1, int(y1) + 1) for (x0, y0), (x1, y1) in corners]
    categories = [1, 2, 1, 2]
    allowed = inside_own_boxes(boxes, categories, [0, 1, 2], size)
    probabilities = generator.random((3, *size)).astype(np.float32) * allowed + 1e-3

    def crf(rows, columns):
        crop = np.ix_(range(3), rows, columns)
        here = allowed[crop].any(axis=(1, 2))
        refined = np.zeros((3, len(rows), len(columns)))
        part = np.ascontiguousarray(image[np.ix_(rows, columns)])
        refined[here] = dense_crf(probabilities[crop][here], part, KERNELS)
        return refined

    expected = one_pixel_at_a_time(allowed, boxes, SURROUNDINGS, crf)
    found = crf_in_boxes(probabilities, allowed, image, boxes, categories, KERNELS)
    np.testing.assert_array_equal(found, expected)


def overlap(found, true):
    return (found & true).sum() / (found | true).sum()


def test_a_small_object_gains_where_a_crf_of_the_image_wears_it_away():
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:60, :80]
    true = np.hypot(rows - 30, columns - 40) < 4.5
    image = np.where(true[..., None], [150, 90, 80], 110) + generator.normal(0, 20, (60, 80, 3))
    image = np.clip(image, 0, 255).astype(np.uint8)
    labels = true & (generator.random((60, 80)) < 0.75)
    boxes = [(36, 26, 45, 35)]
    allowed = inside_own_boxes(boxes, [1], [0, 1], (60, 80))
    start = label_probabilities(labels.astype(np.uint8), [0, 1], 0.7)
    kernels = BoxKernels(
        10, 3, 3, 50, 5, 10, box_share=1, least_side=64, least_reach=0, least_kept=0
    )
    whole = np.where(allowed, dense_crf(start, image, kernels), -1).argmax(axis=0) > 0
    found = crf_in_boxes(start, allowed, image, boxes, [1], kernels) > 0
    assert overlap(whole, true) < 0.6 < overlap(labels, true) < 0.8 < overlap(found, true)


def test_the_range_follows_the_size_of_the_box_and_small_boxes_are_enlarged(monkeypatch):
    seen = []

    def keep(probabilities, image, kernels):
        seen.append((image.shape[:2], kernels.bilateral_xy))
        return probabilities

    monkeypatch.setattr(box_crf, "dense_crf", keep)
    boxes = [(0, 0, 200, 200), (50, 50, 70, 90)]
    kernels = replace(KERNELS, box_share=0.1, least_side=100)
    image, start = np.zeros((200, 200, 3), np.uint8), np.ones((1, 200, 200), np.float32)
    crf_in_boxes(start, start > 0, image, boxes, [0, 0], kernels)
    assert seen[0] == ((200, 200), 20)
    assert seen[1][0] == (200, 100)  # half of it more on each side, 2.5 times as large
    assert seen[1][1] == pytest.approx(0.1 * 2.5 * np.sqrt(20 * 40))


def test_a_row_that_may_not_be_never_wins_and_nothing_is_decided_outside():
    generator = np.random.default_rng(0)
    image = photograph(generator, (30, 40))
    boxes = [(3, 4, 20, 25), (15, 10, 35, 28)]
    allowed = inside_own_boxes(boxes, [1, 2], [0, 1, 2], (30, 40))
    start = np.full((3, 30, 40), 0.1, np.float32)
    start[1:] = 0.9
    found = crf_in_boxes(start, allowed, image, boxes, [1, 2], replace(KERNELS, least_side=50))
    assert set(np.unique(found)) == {0, 1, 2}
    rows, columns = np.mgrid[:30, :40]
    assert allowed[found, rows, columns].all()
    assert not crf_in_boxes(start, allowed, image, [], [], KERNELS).any()


@pytest.mark.parametrize("least_side", [0, 90])
def test_without_steps_the_most_probable_row_wins(least_side):
    generator = np.random.default_rng(0)
    boxes = [(3, 4, 20, 25), (15, 10, 35, 28)]
    allowed = inside_own_boxes(boxes, [1, 2], [0, 1, 2], (30, 40))
    start = (generator.random((3, 30, 40)) * allowed).astype(np.float32)
    kernels = replace(KERNELS, iterations=0, least_side=least_side)
    found = crf_in_boxes(start, allowed, photograph(generator, (30, 40)), boxes, [1, 2], kernels)
    inside = allowed[1:].any(axis=0)
    np.testing.assert_array_equal(found[inside], start.argmax(axis=0)[inside])


def box_with_a_thin_leg():
    """A body with a leg of the background's colour, which a CRF takes for noise."""
    image = np.full((60, 60, 3), 120, np.uint8)
    image[10:30, 10:50] = 200
    true = np.zeros((60, 60), bool)
    true[10:30, 10:50] = True
    true[30:50, 20] = True
    start = label_probabilities(true.astype(np.uint8), [0, 1], 0.7)
    boxes = [(10, 10, 50, 50)]
    return image, true, start, boxes, inside_own_boxes(boxes, [1], [0, 1], (60, 60))


@pytest.mark.parametrize(
    ("least_reach", "is_kept"), [(0, False), (0.4, False), (0.7, True), (1, True)]
)
def test_an_object_that_the_crf_wears_away_from_its_box_stays_as_it_was(least_reach, is_kept):
    image, true, start, boxes, allowed = box_with_a_thin_leg()
    kernels = replace(KERNELS, least_reach=least_reach)
    found = crf_in_boxes(start, allowed, image, boxes, [1], kernels) > 0
    assert found[30:50, 20].any() == is_kept
    if is_kept:
        np.testing.assert_array_equal(found, true)


@pytest.mark.parametrize(("least_kept", "is_kept"), [(0, False), (0.1, False), (0.3, True)])
def test_an_object_that_the_crf_gives_to_another_class_stays_as_it_was(
    monkeypatch, least_kept, is_kept
):
    def leave_the_outline(probabilities, image, kernels):
        """A fifth of the object, on all four sides of its box; the other class has the rest."""
        refined = np.zeros_like(probabilities)
        refined[2] = 1
        refined[1:, 20:60, 20:60] = np.array([1, 0])[:, None, None]
        refined[1:, 22:58, 22:58] = np.array([0, 1])[:, None, None]
        return refined

    monkeypatch.setattr(box_crf, "dense_crf", leave_the_outline)
    boxes = [(20, 20, 60, 60), (0, 0, 80, 80)]
    allowed = inside_own_boxes(boxes, [1, 2], [0, 1, 2], (80, 80))
    start = np.full((3, 80, 80), 0.1, np.float32)
    start[2] = 0.5
    start[1, 20:60, 20:60] = 0.8
    image = np.zeros((80, 80, 3), np.uint8)
    kernels = replace(KERNELS, least_reach=0.95, least_kept=least_kept)
    found = crf_in_boxes(start, allowed, image, boxes, [1, 2], kernels)[20:60, 20:60] == 1
    assert reach(found) == 1
    assert found.mean() == (1 if is_kept else pytest.approx(1 - 0.9**2))


def test_the_crf_decides_boxes_whose_class_the_source_does_not_show():
    image, _, start, boxes, allowed = box_with_a_thin_leg()
    with_own, without = (
        crf_in_boxes(
            start,
            allowed,
            image,
            boxes,
            [own],
            replace(KERNELS, least_reach=least, least_kept=least),
        )
        for own, least in ((-1, 1.0), (1, 0.0))
    )
    np.testing.assert_array_equal(with_own, without)
