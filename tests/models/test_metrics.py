import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.metrics import ConfusionMatrix
from tests.reference.metrics import coverage_by_loops, iou_by_loops, precision_by_loops

CLASSES = 4


def draw(seed: int, unknown: float = 0.2, shape: tuple[int, int] = (6, 7)) -> npt.NDArray[np.uint8]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, shape)
    return np.where(generator.random(shape) < unknown, 255, labels).astype(np.uint8)


def same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, abs_tol=1e-12)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 1.0]), st.integers(1, 3))
def test_agrees_with_counting_pixel_by_pixel(seed: int, unknown: float, images: int) -> None:
    truths = [draw(seed + index) for index in range(images)]
    predictions = [draw(seed + 1000 + index, unknown) for index in range(images)]
    matrix = ConfusionMatrix(CLASSES)
    for truth, prediction in zip(truths, predictions, strict=True):
        matrix.update(truth, prediction)
    expected = [iou_by_loops(truths, predictions, label) for label in range(CLASSES)]
    assert all(same(a, b) for a, b in zip(matrix.iou(), expected, strict=True))
    assert same(matrix.miou(), float(np.nanmean(expected)))
    assert same(matrix.precision(), precision_by_loops(truths, predictions))
    assert same(matrix.coverage(), coverage_by_loops(truths, predictions))


def test_truth_against_itself_is_perfect() -> None:
    matrix = ConfusionMatrix(CLASSES)
    truth = draw(0, unknown=0.0)
    matrix.update(truth, truth)
    assert matrix.miou() == matrix.precision() == matrix.coverage() == 1.0
    assert matrix.class_precision().tolist() == [1.0] * CLASSES


def test_unknown_is_a_miss_for_the_iou_and_nobodys_false_positive() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(
        np.array([[0, 0, 1, 1]], dtype=np.uint8), np.array([[0, 255, 255, 1]], dtype=np.uint8)
    )
    assert matrix.iou().tolist() == [0.5, 0.5]
    assert matrix.precision() == 1.0
    assert matrix.coverage() == 0.5


def test_absent_class_does_not_count_but_an_invented_one_does() -> None:
    truth = np.zeros((2, 2), dtype=np.uint8)
    right, invented = truth.copy(), truth.copy()
    invented[0, 0] = 2
    alone = ConfusionMatrix(3)
    alone.update(truth, right)
    assert alone.miou() == 1.0
    assert alone.present.tolist() == [True, False, False]
    wrong = ConfusionMatrix(3)
    wrong.update(truth, invented)
    assert wrong.miou() == pytest.approx((0.75 + 0.0) / 2)


def test_an_image_is_ranked_by_the_classes_that_its_truth_holds() -> None:
    """The mean of the IoU loops over these classes; an invented background is no class of 0 %."""
    truth = np.full((4, 5), 1, dtype=np.uint8)
    prediction = truth.copy()
    prediction[0, 0] = 0
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(truth, prediction)
    assert matrix.held.tolist() == [False, True, False, False]
    assert matrix.held_miou() == 0.95
    for seed in range(5):
        truth, prediction = draw(seed), draw(seed + 50)
        truth[truth == 0] = 255
        matrix = ConfusionMatrix(CLASSES)
        matrix.update(truth, prediction)
        expected = [iou_by_loops([truth], [prediction], label) for label in (1, 2, 3)]
        assert same(matrix.held_miou(), float(np.mean(expected)))
    assert math.isnan(ConfusionMatrix(2).held_miou())


def test_miou_of_chosen_labels() -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(
        np.array([[0, 0, 1, 2]], dtype=np.uint8), np.array([[0, 1, 1, 2]], dtype=np.uint8)
    )
    assert matrix.miou([1, 2]) == pytest.approx((0.5 + 1.0) / 2)


def test_set_counts_pixels_and_does_not_average_images() -> None:
    large, small = np.ones((10, 10), dtype=np.uint8), np.ones((1, 2), dtype=np.uint8)
    miss = np.zeros((1, 2), dtype=np.uint8)
    matrix = ConfusionMatrix(2)
    matrix.update(large, large)
    other = ConfusionMatrix(2)
    other.update(small, miss)
    matrix.add(other)
    assert matrix.iou()[1] == pytest.approx(100 / 102)
    assert matrix.pixels == 102


def test_nothing_counted_is_nan() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(np.full((2, 2), 255, dtype=np.uint8), np.zeros((2, 2), dtype=np.uint8))
    assert math.isnan(matrix.miou())
    assert math.isnan(matrix.precision())
    assert math.isnan(matrix.coverage())


def test_foreign_labels_and_shapes_are_refused() -> None:
    matrix = ConfusionMatrix(3)
    truth = np.zeros((2, 2), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"prediction: expected labels below 3 or 255, got 7"):
        matrix.update(truth, np.full((2, 2), 7, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"truth: expected labels below 3 or 255, got 3"):
        matrix.update(np.full((2, 2), 3, dtype=np.uint8), truth)
    with pytest.raises(ValueError, match=r"prediction: expected shape \(2, 2\)"):
        matrix.update(truth, np.zeros((2, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="classes: expected 1 to 255, got 0"):
        ConfusionMatrix(0)
    assert matrix.pixels == 0
