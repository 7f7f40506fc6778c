import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.a2gnn.instances import owners, split_instances
from tests.reference.instances import split_instances as looped

SIZE = (15, 19)


def random_case(seed):
    generator = np.random.default_rng(seed)
    boxes, categories = [], []
    for _ in range(generator.integers(0, 6)):
        x = np.sort(generator.uniform(0, SIZE[1], 2))
        y = np.sort(generator.uniform(0, SIZE[0], 2))
        boxes.append((float(x[0]), float(y[0]), float(x[1]), float(y[1])))
        categories.append(int(generator.choice([2, 9])))
    labels = generator.choice([0, 2, 9, 255], SIZE).astype(np.uint8)
    return labels, boxes, categories


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 2**16))
def test_instances_equal_a_loop_over_the_pixels(seed):
    labels, boxes, categories = random_case(seed)
    found = split_instances(labels, boxes, categories)
    for instance, (mask, seen) in zip(found, looped(labels, boxes, categories), strict=True):
        np.testing.assert_array_equal(instance.mask, mask)
        assert instance.is_seen == seen


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 2**16))
def test_every_pixel_of_a_box_has_one_owner_of_each_class(seed):
    _, boxes, categories = random_case(seed)
    owned = owners(boxes, categories, SIZE)
    for category in set(categories):
        rows = [index for index, other in enumerate(categories) if other == category]
        assert owned[rows].sum(axis=0).max() <= 1


def test_boxes_side_by_side_share_at_the_line_between_them():
    labels = np.full((6, 16), 3, np.uint8)
    left, right = split_instances(labels, [(0, 0, 10, 6), (6, 0, 16, 6)], [3, 3])
    np.testing.assert_array_equal(left.mask, np.arange(16)[None].repeat(6, 0) < 8)
    np.testing.assert_array_equal(right.mask, ~left.mask)


def test_a_small_box_inside_a_large_one_keeps_its_object():
    labels = np.full((20, 20), 3, np.uint8)
    large, small = split_instances(labels, [(0, 0, 20, 20), (8, 8, 12, 12)], [3, 3])
    assert small.mask[9:11, 9:11].all()
    assert not (large.mask & small.mask).any()
    assert large.mask.sum() + small.mask.sum() == 400


def test_boxes_of_other_classes_do_not_compete():
    labels = np.array([[3, 3, 5, 5]], np.uint8)
    first, second = split_instances(labels, [(0, 0, 4, 1), (1, 0, 4, 1)], [3, 5])
    np.testing.assert_array_equal(first.mask, [[True, True, False, False]])
    np.testing.assert_array_equal(second.mask, [[False, False, True, True]])


def test_a_box_without_its_class_is_filled_and_marked():
    labels = np.zeros((4, 6), np.uint8)
    (instance,) = split_instances(labels, [(1, 1, 4, 3)], [3])
    assert not instance.is_seen
    assert instance.mask.sum() == 6
    assert instance.mask[1:3, 1:4].all()


def test_of_two_equal_boxes_the_second_shares_the_pixels_of_the_first():
    labels = np.full((4, 4), 3, np.uint8)
    first, second = split_instances(labels, [(0, 0, 4, 4), (0, 0, 4, 4)], [3, 3])
    assert first.mask.all()
    assert second.mask.all()
    assert second.is_seen


def test_an_image_without_boxes_has_no_instances():
    assert split_instances(np.zeros((3, 3), np.uint8), [], []) == []
