import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.average_precision import voc_average_precision, voc_hits
from tests.reference.average_precision import voc_average_precision as slow


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
        assert area == pytest.approx(slow(detections, objects, threshold))
    else:
        assert math.isnan(area)


def test_the_second_mask_of_an_object_is_wrong_even_if_another_object_is_near():
    overlaps = np.array([[0.9, 0.0], [0.8, 0.6]])
    hits = voc_hits(overlaps, np.array([0.9, 0.8]), np.zeros(2, bool), 0.5)
    assert hits.tolist() == [1, 0]
