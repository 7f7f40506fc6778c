"""p of eq. 2 from score maps, and the baselines of table 1a."""

import numpy as np
import pytest
import torch

from models.cam import tag_loss
from models.tag_assignment.attention import attention_probabilities, box_means
from models.tag_assignment.baselines import attention_tags, random_tags


def test_probability_is_the_mean_of_the_sigmoid_over_the_box() -> None:
    scores = np.random.default_rng(0).standard_normal((3, 6, 8))
    boxes = [(1.0, 2.0, 5.0, 4.0), (0.0, 0.0, 8.0, 6.0)]
    found = attention_probabilities(scores, boxes, (6, 8), 1)
    for row, (x0, y0, x1, y1) in zip(found, boxes, strict=True):
        for column in range(3):
            total = 0.0
            for y in range(int(y0), int(y1)):
                for x in range(int(x0), int(x1)):
                    total += 1 / (1 + np.exp(-scores[column, y, x]))
            expected = total / ((x1 - x0) * (y1 - y0))
            assert row[column] == pytest.approx(expected, abs=1e-6)


def test_larger_evidence_is_a_larger_probability() -> None:
    scores = np.stack([np.full((4, 4), value) for value in (-1e4, -1.0, 2.0, 1e4)])
    found = attention_probabilities(scores, [(0, 0, 4, 4)], (4, 4), 1)
    assert (np.diff(found[0]) > 0).all()
    assert found.min() >= 0
    assert found.max() <= 1


def test_cells_are_as_large_as_their_stride() -> None:
    maps = np.zeros((1, 2, 3))
    maps[0, :, 2] = 1
    found = box_means(maps, [(0, 0, 8, 16), (20, 0, 24, 16), (0, 0, 24, 16)], (16, 24), 8)
    np.testing.assert_allclose(found[:, 0], [0, 1, 1 / 3], atol=0.03)


def test_boxes_beyond_the_image_count_what_lies_in_it() -> None:
    maps = np.arange(16.0).reshape(1, 4, 4)
    found = box_means(maps, [(-5, -5, 1, 1), (3.5, 3.2, 9, 9), (9, 9, 12, 12)], (4, 4), 1)
    np.testing.assert_array_equal(found[:, 0], [0, 15, 15])


def test_no_boxes_and_no_classes_are_empty_tables() -> None:
    assert attention_probabilities(np.zeros((2, 4, 4)), [], (4, 4), 1).shape == (0, 2)
    assert attention_probabilities(np.zeros((0, 4, 4)), [(0, 0, 2, 2)], (4, 4), 1).shape == (1, 0)


def test_eq_1_is_the_loss_of_the_classifier() -> None:
    generator = np.random.default_rng(1)
    logits, tags = generator.standard_normal((4, 5)), generator.integers(0, 2, (4, 5))
    y = 1 / (1 + np.exp(-logits))
    expected = -(tags * np.log(y) + (1 - tags) * np.log(1 - y)).sum(axis=1) / 5
    found = tag_loss(torch.from_numpy(logits), torch.from_numpy(tags).double())
    assert float(found) == pytest.approx(expected.mean())


def test_attention_takes_the_keyword_of_largest_probability() -> None:
    probabilities = np.array([[0.9, 0.2, 0.3], [0.1, 0.5, 0.5], [0.9, 0.9, 0.9], [0, 0, 0]])
    keywords = np.array([[0, 1, 1], [0, 1, 1], [0, 0, 0], [0, 0, 1]], dtype=bool)
    assert attention_tags(probabilities, keywords).tolist() == [2, 1, -1, 2]


def test_random_tags_are_keywords_and_all_as_likely() -> None:
    keywords = np.repeat([[True, False, True, True], [False] * 4], 3000, axis=0)
    found = random_tags(keywords, np.random.default_rng(0))
    assert (found[3000:] == -1).all()
    counts = np.bincount(found[:3000], minlength=4)
    assert counts[1] == 0
    assert (abs(counts[[0, 2, 3]] - 1000) < 120).all()
    again = random_tags(keywords, np.random.default_rng(0))
    np.testing.assert_array_equal(found, again)


def test_baselines_of_no_instances_are_empty() -> None:
    none = np.zeros((0, 3), dtype=bool)
    assert attention_tags(np.zeros((0, 3)), none).shape == (0,)
    assert random_tags(none, np.random.default_rng(0)).shape == (0,)
