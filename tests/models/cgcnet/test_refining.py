import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cgcnet.refining import (
    cell_boxes,
    global_cells,
    inside_boxes,
    kept_features,
    local_cells,
    rivals,
    ternary_cells,
)
from tests.reference import cgcnet as reference

STRIDE, SIZE = 4, (7, 9)


def drawn(seed):
    generator = np.random.default_rng(seed)
    count = int(generator.integers(1, 5))
    corners = generator.uniform(-3, 30, (count, 2))
    sides = generator.uniform(1, 20, (count, 2))
    boxes = torch.from_numpy(np.concatenate([corners, corners + sides], axis=1))
    return boxes, torch.from_numpy(generator.normal(size=(3, *SIZE)))


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 2**16), st.sampled_from([0.2, 0.5]), st.booleans())
def test_the_maps_of_proposals_are_those_of_the_slow_version(seed, bound, local):
    boxes, features = drawn(seed)
    inside = inside_boxes(cell_boxes(boxes, SIZE, STRIDE), SIZE)
    kept = global_cells(inside, inside, rivals(boxes, boxes, torch.arange(len(boxes)), bound))
    if local:
        kept = local_cells(kept, boxes, STRIDE)
    found = kept_features(features, kept)
    for own, one in enumerate(found):
        expected = reference.refined_map(
            features.tolist(), boxes.tolist(), own, bound, STRIDE, local=local
        )
        assert one.numpy() == pytest.approx(np.array(expected))


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 2**16))
def test_ternary_masks_are_those_of_the_slow_version(seed):
    boxes, _ = drawn(seed)
    found = ternary_cells(cell_boxes(boxes, SIZE, STRIDE), SIZE)
    for mask, box in zip(found, boxes.tolist(), strict=True):
        assert mask.tolist() == reference.ternary(box, SIZE, STRIDE)


def test_a_ring_at_the_rim_of_the_map_is_cut_not_lost():
    mask = ternary_cells(torch.tensor([[0, 0, 3, 3]]), (6, 6))[0]
    assert mask[:3, :3].sum() == 9
    assert (mask[3, :4] == -1).all()
    assert (mask[:4, 3] == -1).all()
    assert mask.sum() == 9 - 7


def test_the_same_object_once_more_is_no_rival():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [8, 0, 18, 10]])
    found = rivals(boxes, boxes, torch.arange(3), 0.5)
    assert found.tolist() == [[False, False, True], [False, False, True], [True, True, False]]
    assert rivals(boxes[:1], boxes[2:], torch.tensor([0]), 0.5).tolist() == [[False]]


def test_gradients_of_kept_cells_and_of_the_mean():
    features = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    kept = torch.rand(3, 3, 4) < 0.5
    assert torch.autograd.gradcheck(lambda maps: kept_features(maps, kept), features)
