from collections import Counter

import pytest
import torch

from models.boxmask.teacher import first_lesson, folds_of, next_lesson

CUT = torch.tensor([[[1.0, 0.0, 1.0]], [[1.0, 1.0, 0.0]]])
KNOWN = torch.tensor([True, False])
INSIDE = torch.tensor([[[1.0, 1.0, 0.0]], [[1.0, 1.0, 0.0]]])


def test_first_the_cut_is_the_teacher_and_where_there_is_none_only_the_outside() -> None:
    targets, weights = first_lesson(CUT, KNOWN, INSIDE)
    assert targets.tolist() == [[[1, 0, 0]], [[1, 1, 0]]]
    assert weights.tolist() == [[[1, 1, 1]], [[0, 0, 1]]]


def test_then_the_mean_with_a_prediction_as_far_as_it_is_decided() -> None:
    predicted = torch.tensor([[[0.8, 0.6, 0.9]], [[0.25, 0.5, 0.9]]])
    targets, weights = next_lesson(CUT, KNOWN, INSIDE, predicted)
    assert targets.tolist() == [[[1, 0, 0]], [[0, 0, 0]]]
    torch.testing.assert_close(weights, torch.tensor([[[0.8, 0.4, 1.0]], [[0.5, 0.0, 1.0]]]))


@pytest.mark.parametrize("folds", [1, 2, 5])
def test_folds_are_of_nearly_equal_sizes_and_know_no_order(folds: int) -> None:
    names = [f"photo{number}" for number in range(23)]
    found = folds_of(names, folds)
    assert found == folds_of(reversed(names), folds)
    sizes = Counter(found.values())
    assert sorted(sizes) == list(range(folds))
    assert max(sizes.values()) - min(sizes.values()) <= 1


def test_fewer_images_than_folds_have_a_fold_each() -> None:
    assert sorted(folds_of(["a", "b"], 5).values()) == [0, 1]
    assert folds_of([], 2) == {}
