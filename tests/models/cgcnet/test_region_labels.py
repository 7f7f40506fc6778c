from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cgcnet.region_labels import Priors, label_regions
from tests.reference.region_labels import label_regions as slow


@settings(deadline=None, max_examples=80, derandomize=True)
@given(st.integers(0, 2**16), st.sampled_from(get_args(Priors)), st.sampled_from([0.0, 0.6]))
def test_labels_and_counts_are_those_of_the_slow_version(seed, priors, fit):
    generator = np.random.default_rng(seed)
    region = np.kron(generator.random((5, 6)) < 0.45, np.ones((2, 2))) > 0
    boxes = []
    for _ in range(generator.integers(0, 4)):
        x0, y0 = (int(value) for value in generator.integers(0, 9, 2))
        boxes.append(
            (x0, y0, int(generator.integers(x0 + 1, 13)), int(generator.integers(y0 + 1, 11)))
        )
    found = label_regions(region, boxes, priors=priors, least_fit=fit)
    labels, alone, shared = slow(region.tolist(), boxes, priors, fit)
    assert (found.regions_without_box, found.shared_patches) == (alone, shared)
    for mask, expected in zip(found.masks, labels, strict=True):
        assert {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)} == expected
    lost = [
        int((region[box[1] : box[3], box[0] : box[2]]).sum() - mask.sum())
        for box, mask in zip(boxes, found.masks, strict=True)
    ]
    assert found.discarded.tolist() == lost


def drawn(*rectangles):
    region = np.zeros((20, 30), bool)
    for x0, y0, x1, y1 in rectangles:
        region[y0:y1, x0:x1] = True
    return region


def test_a_small_object_apart_belongs_to_its_own_box_alone():
    region = drawn((2, 2, 12, 18), (15, 5, 20, 10))
    boxes = [(2, 2, 21, 18), (15, 5, 20, 10)]
    assert label_regions(region, boxes, priors="none").shared_patches == 1
    found = label_regions(region, boxes, priors="one_region")
    assert found.masks.sum(axis=(1, 2)).tolist() == [160, 25]
    assert (found.shared_patches, found.discarded.tolist()) == (0, [25, 0])


def test_two_boxes_of_one_region_share_it_rather_than_one_stay_empty():
    found = label_regions(drawn((5, 5, 10, 10)), [(5, 5, 10, 10), (4, 4, 12, 12)], priors="both")
    assert found.masks.sum(axis=(1, 2)).tolist() == [25, 25]
    assert found.shared_patches == 1


def test_touching_objects_share_what_lies_in_both_boxes():
    found = label_regions(drawn((2, 2, 22, 12)), [(2, 2, 14, 12), (10, 2, 22, 12)], priors="both")
    assert (found.masks[0] & found.masks[1]).sum() == 40
    assert (found.shared_patches, found.regions_without_box) == (1, 0)


@pytest.mark.parametrize("value", [False, True])
def test_a_map_of_one_value_fills_its_boxes_or_leaves_them_empty(value):
    found = label_regions(np.full((20, 30), value), [(0, 0, 30, 20), (3, 3, 6, 6)], priors="both")
    assert found.masks.sum(axis=(1, 2)).tolist() == ([600, 9] if value else [0, 0])


def test_without_boxes_every_region_is_without_a_box():
    found = label_regions(drawn((1, 1, 4, 4), (10, 10, 12, 12)), [], priors="both")
    assert (found.masks.shape, found.regions_without_box) == ((0, 20, 30), 2)


def test_of_two_pieces_the_largest_alone_counts_with_both_priors():
    region, boxes = drawn((2, 2, 5, 12), (7, 2, 14, 12)), [(2, 2, 14, 12)]
    areas = [label_regions(region, boxes, priors=name).masks.sum() for name in get_args(Priors)]
    assert areas == [100, 100, 70]


def test_a_box_that_another_object_reaches_into_gets_no_label():
    region = drawn((2, 2, 12, 12))
    boxes = [(2, 2, 12, 12), (10, 2, 24, 12)]
    found = label_regions(region, boxes, priors="both", least_fit=0.5)
    assert found.masks.sum(axis=(1, 2)).tolist() == [100, 0]
    assert found.discarded.tolist() == [0, 20]
