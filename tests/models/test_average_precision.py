import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.average_precision import (
    found_share,
    image_average_precision,
    mask_overlaps,
    voc_average_precision,
    voc_hits,
    voc_instance_precision,
)
from tests.reference import average_precision as reference


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 2**16), st.integers(1, 4), st.sampled_from([0.3, 0.5, 0.7]))
def test_a_set_scores_as_when_its_detections_are_taken_one_by_one(seed, images, threshold):
    generator = np.random.default_rng(seed)
    objects, detections, scores, hits = {}, [], [], []
    for image in range(images):
        objects[image] = generator.random(generator.integers(0, 4)) < 0.2
        found = int(generator.integers(0, 6))
        overlaps = generator.random((found, len(objects[image])))
        # different scores: of equal ones the order within the set is nobody's business
        score = generator.permutation(1000)[:found] + image / 10
        detections += [(s, image, row) for s, row in zip(score, overlaps.tolist(), strict=True)]
        scores.append(score)
        hits.append(voc_hits(overlaps, score, objects[image], threshold))
    number = int(sum((~ignored).sum() for ignored in objects.values()))
    area = voc_average_precision(np.concatenate(scores), np.concatenate(hits), number)
    if number:
        assert area == pytest.approx(
            reference.voc_average_precision(detections, objects, threshold)
        )
    else:
        assert math.isnan(area)


def test_the_second_mask_of_an_object_is_wrong_even_if_another_object_is_near():
    overlaps = np.array([[0.9, 0.0], [0.8, 0.6]])
    hits = voc_hits(overlaps, np.array([0.9, 0.8]), np.zeros(2, bool), 0.5)
    assert hits.tolist() == [1, 0]


def overlaps_and_scores(seed):
    generator = np.random.default_rng(seed)
    found, objects = int(generator.integers(1, 7)), int(generator.integers(1, 5))
    overlaps = generator.random((found, objects)) * (generator.random((found, objects)) < 0.6)
    return overlaps, generator.integers(0, 4, found) / 4  # with ties


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 2**16), st.sampled_from([0.3, 0.5, 0.7]))
def test_an_image_scores_as_when_its_detections_are_taken_one_by_one(seed, threshold):
    overlaps, scores = overlaps_and_scores(seed)
    area = image_average_precision(overlaps, scores, threshold)
    slow_area = reference.image_average_precision(overlaps.tolist(), scores.tolist(), threshold)
    assert area == pytest.approx(slow_area)
    share = found_share(overlaps, threshold)
    assert share == reference.found_share(overlaps.tolist(), overlaps.shape[1], threshold)


def test_an_image_without_detections_or_without_objects():
    nothing = np.zeros((0, 2)), np.zeros(0)
    assert (image_average_precision(*nothing, 0.5), found_share(nothing[0], 0.5)) == (0, 0)
    assert math.isnan(image_average_precision(np.zeros((2, 0)), np.ones(2), 0.5))
    assert math.isnan(found_share(np.zeros((2, 0)), 0.5))


def test_wrong_detections_after_the_right_one_cost_an_image_little_and_before_it_much():
    overlaps = np.array([[0.9], [0.0], [0.0], [0.0]])
    last = image_average_precision(overlaps, np.array([4.0, 3, 2, 1]), 0.5)
    first = image_average_precision(overlaps, np.array([1.0, 4, 3, 2]), 0.5)
    assert last == 1  # recall 1 from precision 0 to 1
    assert first == pytest.approx(0.25 / 2)  # recall 0 at precision 0, 1 at a quarter
    assert found_share(overlaps, 0.5) == 1


@pytest.mark.parametrize("seed", range(5))
def test_masks_overlap_as_counted_pixel_by_pixel(seed):
    generator = np.random.default_rng(seed)
    first, second = generator.random((2, 3, 4, 5)) < 0.4
    second[0] = first[1] = False
    expected = [[reference.mask_overlap(a.tolist(), b.tolist()) for b in second] for a in first]
    assert mask_overlaps(first, second) == pytest.approx(np.array(expected))
    assert mask_overlaps(first[:0], second).shape == (0, len(second))


def test_a_set_of_images_scores_as_its_hits_together():
    images = [
        (np.array([[0.9], [0.8]]), np.array([0.9, 0.3]), np.zeros(1, bool)),
        (np.array([[0.6, 0.0]]), np.array([0.5]), np.zeros(2, bool)),
        (np.zeros((0, 0)), np.zeros(0), np.zeros(0, bool)),
    ]
    assert voc_instance_precision(images, 0.5) == pytest.approx(2 / 3)
    assert voc_instance_precision(images, 0.7) == pytest.approx(1 / 3)
    assert math.isnan(voc_instance_precision([], 0.5))
