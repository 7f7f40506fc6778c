import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.a2gnn import seeds
from models.ops.grabcut import label_cuts
from tests.reference import seeds as looped

SIZE = (14, 17)


def random_case(seed):
    """Boxes that overlap, cuts inside them, activations of three classes."""
    generator = np.random.default_rng(seed)
    boxes, categories, cuts = [], [], []
    for _ in range(generator.integers(0, 5)):
        x = np.sort(generator.uniform(0, SIZE[1], 2))
        y = np.sort(generator.uniform(0, SIZE[0], 2))
        box = (float(x[0]), float(y[0]), float(x[1]) + 0.5, float(y[1]) + 0.5)
        box = (box[0], box[1], min(box[2], SIZE[1]), min(box[3], SIZE[0]))
        cut = np.zeros(SIZE, bool)
        for place in np.ndindex(SIZE):
            cut[place] = looped.inside(box, *place) and generator.random() < 0.6
        boxes.append(box)
        categories.append(int(generator.choice([3, 5, 254])))
        cuts.append(cut)
    classes = [3, 5, 254][: generator.integers(0, 4)]
    cams = generator.random((len(classes), *SIZE)).astype(np.float32) ** 3
    return boxes, categories, cuts, classes, cams


def box_seeds(boxes, categories, cuts, size):
    return seeds.box_seeds(label_cuts(cuts, boxes, categories, size), boxes)


cases = settings(deadline=None, max_examples=40, derandomize=True)


@cases
@given(st.integers(0, 2**16))
def test_every_equation_equals_its_loop_over_the_pixels(seed):
    boxes, categories, cuts, classes, cams = random_case(seed)
    grabcut = box_seeds(boxes, categories, cuts, SIZE)
    np.testing.assert_array_equal(grabcut, looped.box_seeds(boxes, categories, cuts, SIZE))
    cam = seeds.cam_labels(cams, classes, 0.3)
    fused = seeds.fused_seeds(cam, grabcut, boxes, categories)
    np.testing.assert_array_equal(fused, looped.fused_seeds(cam, grabcut, boxes, categories))
    top = seeds.confident_cam(cams, classes, 0.4)
    np.testing.assert_array_equal(top, looped.confident_cam(cams, classes, 0.4))
    np.testing.assert_array_equal(
        seeds.confident_seeds(fused, grabcut, top), looped.confident_seeds(fused, grabcut, top)
    )
    np.testing.assert_array_equal(
        seeds.agreeing_seeds(cam, fused, top, boxes, categories),
        looped.agreeing_seeds(cam, fused, top, boxes, categories),
    )


@cases
@given(st.integers(0, 2**16))
def test_seeds_only_lose_labels_from_step_to_step(seed):
    boxes, categories, cuts, classes, cams = random_case(seed)
    grabcut = box_seeds(boxes, categories, cuts, SIZE)
    cam = seeds.cam_labels(cams, classes, 0.3)
    fused = seeds.fused_seeds(cam, grabcut, boxes, categories)
    top = seeds.confident_cam(cams, classes, 0.4)
    confident = seeds.agreeing_seeds(cam, fused, top, boxes, categories)
    assert np.all((fused == grabcut) | (fused == 255))
    assert np.all((confident == fused) | (confident == 255))


@cases
@given(st.integers(0, 2**16))
def test_eq_5_as_printed_removes_nothing(seed):
    boxes, categories, cuts, classes, cams = random_case(seed)
    grabcut = box_seeds(boxes, categories, cuts, SIZE)
    fused = seeds.fused_seeds(seeds.cam_labels(cams, classes, 0.3), grabcut, boxes, categories)
    top = seeds.confident_cam(cams, classes, 0.4)
    np.testing.assert_array_equal(seeds.confident_seeds(fused, grabcut, top), fused)


def test_of_two_objects_the_one_with_the_smaller_box_is_on_top():
    boxes, cuts = [(0, 0, 2, 1), (0, 0, 4, 1)], np.zeros((2, 1, 5), bool)
    cuts[0, 0, :2] = cuts[1, 0, :4] = True
    labels = box_seeds(boxes, [5, 3], list(cuts), (1, 5))
    np.testing.assert_array_equal(labels, [[5, 5, 3, 3, 0]])


def test_what_a_cut_leaves_of_its_box_is_unknown():
    cut = np.array([[False, True, False, False]])
    labels = box_seeds([(1, 0, 3, 1)], [7], [cut], (1, 4))
    np.testing.assert_array_equal(labels, [[0, 7, 255, 0]])


def test_activations_at_the_threshold_are_background():
    cams = np.array([[[0.3, 0.31, 0.9]], [[0.1, 0.2, 0.95]]], np.float32)
    labels = seeds.cam_labels(cams, [4, 9], float(np.float32(0.3)))
    np.testing.assert_array_equal(labels, [[0, 4, 9]])


def test_an_image_without_tags_is_background():
    cams = np.zeros((0, 2, 3), np.float32)
    np.testing.assert_array_equal(seeds.cam_labels(cams, [], 0.3), np.zeros((2, 3)))
    np.testing.assert_array_equal(seeds.confident_cam(cams, [], 0.4), np.zeros((2, 3)))


def test_agreement_is_needed_only_where_the_class_was_seen():
    grabcut = np.array([[0, 3, 3, 255, 5, 5, 0]], np.uint8)
    cam = np.array([[3, 3, 0, 3, 0, 3, 5]], np.uint8)
    boxes = [(1, 0, 4, 1), (4, 0, 6, 1)]
    fused = seeds.fused_seeds(cam, grabcut, boxes, [3, 5])
    # 3 is seen in the first box: agreement only. 5 is not seen in the second: all of its object.
    np.testing.assert_array_equal(fused, [[0, 3, 255, 255, 5, 5, 0]])


@pytest.mark.parametrize(("fraction", "kept"), [(0.4, 40), (1.0, 100), (0.01, 1)])
def test_the_most_activated_share_of_a_class_is_confident(fraction, kept):
    cams = np.linspace(0.2, 1, 100, dtype=np.float32).reshape(1, 10, 10)
    labels = seeds.confident_cam(cams, [6], fraction)
    assert (labels == 6).sum() == kept
    assert cams[0][labels == 6].min() > cams[0][labels != 6].max(initial=0)


def test_confident_background_is_far_from_any_activation():
    cams = np.array([[[0.005, 0.009, 0.01, 0.05, 0.5]]], np.float32)
    # (1 - 0.009)^24 = 0.805, (1 - 0.01)^24 = 0.786, (1 - 0.05)^24 = 0.29
    np.testing.assert_array_equal(seeds.confident_cam(cams, [2], 0.4), [[0, 0, 255, 255, 2]])


def test_confirmed_unconfirmed_and_unseen_objects_in_confident_seeds():
    fused = np.array([[0, 3, 3, 255, 5, 0]], np.uint8)
    cam = np.array([[0, 3, 3, 3, 0, 0]], np.uint8)
    top = np.array([[255, 3, 255, 3, 0, 255]], np.uint8)
    boxes = [(1, 0, 4, 1), (4, 0, 5, 1)]
    found = seeds.agreeing_seeds(cam, fused, top, boxes, [3, 5])
    np.testing.assert_array_equal(found, [[0, 3, 255, 255, 5, 0]])


def test_background_inside_a_box_needs_both_sources():
    fused = np.array([[0, 255, 255, 255, 4]], np.uint8)
    grabcut = np.array([[0, 0, 0, 4, 4]], np.uint8)
    calm = np.array([[True, True, False, True, True]])
    found = seeds.with_inner_background(fused, grabcut, calm)
    np.testing.assert_array_equal(found, [[0, 0, 255, 255, 4]])
