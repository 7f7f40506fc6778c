import numpy as np
import pytest
import torch

from models.wsid.fusion import Fusion, salient_instances, walk_to_boundaries
from tests.models.wsid.test_centroids import two_objects
from tests.reference import wsid as reference

FUSION = Fusion(
    look_ups=50,
    short=2.5,
    least_share=0.5,
    least_area=0.01,
    walk_radius=3,
    walk_beta=10.0,
    walk_steps=64,
    tolerance=0.0,
    background=0.25,
)


@pytest.mark.parametrize("radius", [2, 5])
def test_the_walk_is_that_of_the_dense_matrix(radius):
    rng = np.random.default_rng(radius)
    edges, scores = rng.random((6, 7)), rng.random((2, 6, 7))
    expected = reference.walk(scores, edges, radius, 3.0, 4)
    found = walk_to_boundaries(scores, edges, radius=radius, beta=3.0, steps=16)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    near = walk_to_boundaries(scores, edges, radius=radius, beta=3.0, steps=16, tolerance=1e-3)
    np.testing.assert_allclose(near, expected, atol=5e-3)


def test_a_closed_boundary_holds_the_walk():
    edges = np.zeros((9, 9))
    edges[2:7, 2:7] = 1
    edges[3:6, 3:6] = 0
    scores = np.zeros((1, 9, 9))
    scores[0, 4, 4] = 1
    found = walk_to_boundaries(scores, edges, radius=5, steps=256)[0]
    outside = edges == 0
    outside[3:6, 3:6] = False
    assert found[3:6, 3:6].min() > 0.05
    assert not found[outside].any()


def maps():
    """Two salient squares of 5 x 5 cells, each with a centroid, in a box of boundaries."""
    saliency = torch.full((9, 14), 0.05)
    saliency[2:7, 1:6] = 0.9
    saliency[2:7, 8:13] = 0.8
    boundaries = torch.zeros(9, 14)
    for left in (0, 7):
        boundaries[1:8, left : left + 7] = 1
        boundaries[2:7, left + 1 : left + 6] = 0
    return saliency, boundaries, two_objects().float()


def test_instances_fill_their_boundaries_and_the_surest_comes_first():
    found = salient_instances(*maps(), (36, 56), 4, FUSION)
    assert len(found) == 2
    for instance, left, sure in zip(found, (1, 8), (0.9, 0.8), strict=True):
        truth = np.zeros((36, 56), bool)
        truth[8:28, 4 * left : 4 * left + 20] = True
        overlap = (instance.mask & truth).sum() / (instance.mask | truth).sum()
        assert overlap > 0.75
        assert instance.score == pytest.approx(sure, abs=0.2)
    assert found[0].score > found[1].score
    assert not (found[0].mask & found[1].mask).any()


def test_what_is_not_salient_enough_is_left_out():
    saliency, boundaries, offsets = maps()
    saliency[2:7, 8:13] = 0.3
    found = salient_instances(saliency, boundaries, offsets, (36, 56), 4, FUSION)
    assert len(found) == 1
    assert found[0].mask[:, :28].sum() == found[0].mask.sum()
    nothing = torch.full_like(saliency, 0.1)
    assert salient_instances(nothing, boundaries, offsets, (36, 56), 4, FUSION) == []
