import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ops.boxes import (
    filled_boxes,
    inside_own_boxes,
    outside_boxes,
    pixel_box,
    smaller_on_top,
    unknown_in_region,
    widened,
    with_emptied_boxes,
)
from tests.reference import boxes as reference
from tests.reference.seeds import area, inside

SIZE = (9, 11)
corner = st.floats(-3, 14, allow_nan=False)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(corner, corner, corner, corner)
def test_the_pixels_of_a_box_lie_in_the_image(a, b, c, d):
    x0, y0, x1, y1 = pixel_box((min(a, b), min(c, d), max(a, b), max(c, d)), SIZE)
    assert 0 <= x0 < x1 <= SIZE[1]
    assert 0 <= y0 < y1 <= SIZE[0]


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        ((1, 2, 4, 5), (1, 2, 4, 5)),
        ((1.9, 2.1, 3.1, 4.0), (1, 2, 4, 4)),
        ((-5, -1, 3, 3), (0, 0, 3, 3)),
        ((8, 7, 40, 30), (8, 7, 11, 9)),
        ((4.3, 4.3, 4.4, 4.4), (4, 4, 5, 5)),
        ((4, 4, 4, 4), (4, 4, 5, 5)),
        ((11, 9, 12, 12), (10, 8, 11, 9)),
    ],
)
def test_a_box_is_the_pixels_it_touches(box, pixels):
    assert pixel_box(box, SIZE) == pixels


def random_boxes(seed):
    generator = np.random.default_rng(seed)
    boxes = []
    for _ in range(generator.integers(0, 6)):
        x, y = np.sort(generator.uniform(0, 11, 2)), np.sort(generator.uniform(0, 9, 2))
        boxes.append((float(x[0]), float(y[0]), float(x[1]), float(y[1])))
    return boxes, [int(c) for c in generator.choice([1, 4, 254], len(boxes))]


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(0, 2**16))
def test_filled_boxes_equal_a_loop_over_the_pixels(seed):
    boxes, categories = random_boxes(seed)
    labels = filled_boxes(boxes, categories, SIZE)
    for row, column in np.ndindex(SIZE):
        over = [k for k in range(len(boxes)) if inside(boxes[k], row, column)]
        top = min(over, key=lambda k: (area(boxes[k]), -k), default=None)
        assert labels[row, column] == (0 if top is None else categories[top])


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(0, 2**16))
def test_a_class_is_allowed_in_its_own_boxes_and_background_everywhere(seed):
    boxes, categories = random_boxes(seed)
    allowed = inside_own_boxes(boxes, categories, [0, 4, 1, 7], SIZE)
    assert allowed[0].all()
    assert not allowed[3].any()
    for row, column in np.ndindex(SIZE):
        for plane, label in ((1, 4), (2, 1)):
            own = any(
                inside(box, row, column)
                for box, category in zip(boxes, categories, strict=True)
                if category == label
            )
            assert allowed[plane, row, column] == own


def test_boxes_are_painted_from_large_to_small_and_equal_ones_in_order():
    assert smaller_on_top([(0, 0, 2, 2), (0, 0, 3, 3), (1, 1, 3, 3), (0, 0, 1, 1)]) == [1, 0, 2, 3]


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(0, 2**16))
def test_in_a_region_only_labels_in_boxes_of_their_class_stay(seed):
    boxes, categories = random_boxes(seed)
    generator = np.random.default_rng(seed)
    labels = generator.choice(np.array([0, 1, 4, 254, 255], np.uint8), SIZE)
    region = generator.random(SIZE) < 0.5
    before = labels.copy()
    found = unknown_in_region(labels, region, boxes, categories)
    np.testing.assert_array_equal(
        found, reference.unknown_in_region(labels, region, boxes, categories)
    )
    assert not (found[region] == 0).any()
    np.testing.assert_array_equal(labels, before)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.integers(0, 2**16))
def test_outside_is_where_no_box_is(seed):
    boxes, _ = random_boxes(seed)
    outside = outside_boxes(boxes, SIZE)
    for row, column in np.ndindex(SIZE):
        assert outside[row, column] == (not any(inside(box, row, column) for box in boxes))


def test_a_margin_moves_every_side_by_a_share_of_the_width_or_height():
    assert widened((10, 10, 30, 20), 0.1) == pytest.approx((8, 9, 32, 21))
    assert widened((0.1, 0.7, 3.3, 4.9), 0) == (0.1, 0.7, 3.3, 4.9)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 2**16))
def test_a_box_keeps_its_class_and_only_emptied_boxes_change(seed):
    boxes, categories = random_boxes(seed)
    generator = np.random.default_rng(seed)
    # few pixels of each class, so that boxes are emptied, by one another too
    source = generator.choice(np.array([0, 1, 4, 254], np.uint8), SIZE, p=[0.7, 0.1, 0.1, 0.1])
    labels = generator.choice(np.array([0, 1, 4, 254], np.uint8), SIZE, p=[0.85, 0.05, 0.05, 0.05])
    before = labels.copy()
    found = with_emptied_boxes(labels, source, boxes, categories)
    np.testing.assert_array_equal(labels, before)
    np.testing.assert_array_equal(
        found, reference.with_emptied_boxes(labels, source, boxes, categories)
    )
    for box, category in zip(boxes, categories, strict=True):
        pixels = [at for at in np.ndindex(SIZE) if inside(box, *at)]
        if any(source[at] == category for at in pixels):
            assert any(found[at] == category for at in pixels)
    assert ((found == labels) | (found == source)).all()
