import numpy as np
import pytest

from models.boxmask.compose import (
    Opinion,
    agreed_seeds,
    class_scores,
    form_opinion,
    label_boxes,
    likeliest,
    own_mask,
)
from models.ops.crops import window_of
from tests.reference import box_masks as reference

SIZE = (12, 14)


def opinion(
    box: tuple[int, int, int, int], category: int, chance: float | np.ndarray, *, told: bool = True
) -> Opinion:
    """A box that is its object's with this probability, by network and mixture alike."""
    window = window_of(box, SIZE, 0.25)
    shape = box[3] - box[1], box[2] - box[0]
    probability = np.broadcast_to(np.asarray(chance, np.float32), shape).copy()
    return Opinion(window, category, probability, probability, probability > 0.5 if told else None)


def drawn(seed: int) -> list[Opinion]:
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(5):
        x0, y0 = generator.integers(0, 9), generator.integers(0, 7)
        box = (x0, y0, x0 + generator.integers(2, 6), y0 + generator.integers(2, 6))
        shape = box[3] - box[1], box[2] - box[0]
        chance = generator.random(shape).astype(np.float32)
        predicted = generator.random(shape).astype(np.float32)
        cut = generator.random(shape) < 0.5 if generator.random() < 0.7 else None
        window = window_of(box, SIZE, 0.25)
        found.append(Opinion(window, int(generator.integers(1, 4)), chance, predicted, cut))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_the_loops_and_sum_to_one(seed: int) -> None:
    opinions = drawn(seed)
    scores, classes = class_scores(opinions, SIZE)
    assert classes.tolist() == sorted({0, *(one.category for one in opinions)})
    expected = reference.class_scores(opinions, SIZE, classes.tolist())
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    np.testing.assert_allclose(scores.sum(0), 1, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_every_box_has_a_pixel_and_no_label_lies_outside_of_its_boxes(seed: int) -> None:
    opinions = drawn(seed)
    scores, classes = class_scores(opinions, SIZE)
    labels = label_boxes(opinions, scores, classes)
    likely = classes[scores.argmax(0)]
    allowed = labels == 0
    for one in opinions:
        here = one.window.box_in_image()
        assert (labels[here] == one.category).any()
        allowed[here] |= labels[here] == one.category
    assert allowed.all()
    assert (labels == likely).mean() > 0.8


def test_of_two_likely_boxes_the_higher_odds_for_its_size_have_the_pixel() -> None:
    opinions = [opinion((0, 0, 8, 8), 1, 0.7), opinion((4, 4, 12, 12), 2, 0.9)]
    labels = label_boxes(opinions, *class_scores(opinions, SIZE))
    assert (labels[4:12, 4:12] == 2).all()
    opinions[1] = opinion((4, 4, 8, 8), 2, 0.6)  # a quarter as large
    scores, classes = class_scores(opinions, SIZE)
    labels = label_boxes(opinions, scores, classes)
    assert (labels[4:8, 4:8] == 2).all()
    np.testing.assert_allclose(scores[:, 5, 5] * 1.6, [0.3, 0.6, 0.7], rtol=1e-5)
    opinions[1] = opinion((4, 4, 8, 8), 2, 0.4)  # not likely: no claim
    labels = label_boxes(opinions, *class_scores(opinions, SIZE))
    assert (labels[5, 5] == 1).all()


def test_a_box_that_another_hides_or_that_is_nowhere_likely_keeps_a_tenth() -> None:
    within = np.full((4, 5), 0.3)
    within[1, 2] = within[3, 3] = 0.4
    opinions = [opinion((0, 0, 10, 10), 1, 0.9), opinion((2, 2, 7, 6), 2, within)]
    labels = label_boxes(opinions, *class_scores(opinions, SIZE))
    assert np.argwhere(labels == 2).tolist() == [[3, 4], [5, 5]]
    np.testing.assert_array_equal(own_mask(within), within > 0.3)


def test_without_boxes_all_is_background() -> None:
    scores, classes = class_scores([], SIZE)
    assert classes.tolist() == [0]
    np.testing.assert_array_equal(scores, 1)
    labels = label_boxes([], scores, classes)
    np.testing.assert_array_equal(labels, 0)
    np.testing.assert_array_equal(agreed_seeds([], labels, 0.8), 0)


@pytest.mark.parametrize("seed", range(5))
def test_seeds_are_those_of_the_loops_but_where_a_box_would_have_none(seed: int) -> None:
    opinions = drawn(seed)
    labels = label_boxes(opinions, *class_scores(opinions, SIZE))
    seeds = agreed_seeds(opinions, labels, 0.7)
    expected = reference.seeds(opinions, labels, 0.7)
    differ = seeds != expected
    np.testing.assert_array_equal(seeds[differ], labels[differ])
    for one in opinions:
        here = one.window.box_in_image()
        if (labels[here] == one.category).any():
            assert (seeds[here] == one.category).any()
    known = seeds != 255
    assert set(seeds[known & (seeds > 0)].tolist()) <= set(labels.ravel().tolist())


def test_agreement_is_the_overlap_of_network_and_cut() -> None:
    one = opinion((0, 0, 4, 4), 1, np.where(np.arange(16).reshape(4, 4) < 8, 0.9, 0.1))
    assert one.agreement == 1
    cut = np.zeros((4, 4), bool)
    cut[1:3] = True
    assert one._replace(cut=cut).agreement == pytest.approx(4 / 12)
    assert one._replace(cut=None).agreement == 0
    nothing = one._replace(cut=np.zeros((4, 4), bool), predicted=np.zeros((4, 4), np.float32))
    assert nothing.agreement == 0


def test_an_opinion_lies_on_the_pixels_of_its_box() -> None:
    window = window_of((2, 3, 10, 9), SIZE, 0.25)
    cells = np.zeros((16, 16), np.float32)
    cells[4:12, 4:12] = 1
    cut = np.zeros(SIZE, bool)
    cut[4:8, 4:8] = True
    image = np.zeros((*SIZE, 3), np.uint8)
    found = form_opinion(image, window, 3, cells, cut, 0)
    assert found.probability.shape == found.predicted.shape == (6, 8)
    assert found.cut is not None
    np.testing.assert_array_equal(found.cut, cut[3:9, 2:10])
    assert form_opinion(image, window, 3, cells, None, 0).cut is None


def test_the_likeliest_are_a_share_and_at_least_one() -> None:
    scores = np.array([[0.1, 0.3], [0.2, 0.3]], np.float32)
    np.testing.assert_array_equal(likeliest(scores, 0.5), [[False, True], [False, True]])
    np.testing.assert_array_equal(likeliest(scores, 0.01), [[False, True], [False, False]])
