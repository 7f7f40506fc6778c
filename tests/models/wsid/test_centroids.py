import numpy as np
import pytest
import torch

from models.wsid.centroids import cluster_centroids, find_centroids, follow_offsets
from tests.reference import wsid as reference


def two_objects(size=(9, 14)):
    """Every cell points to the nearer of (4, 3) and (4, 10)."""
    rows, columns = torch.meshgrid(
        torch.arange(size[0], dtype=torch.float64),
        torch.arange(size[1], dtype=torch.float64),
        indexing="ij",
    )
    centre = torch.where(columns < 6.5, 3.0, 10.0)
    return torch.stack([4 - rows, centre - columns])


@pytest.mark.parametrize("seed", range(3))
def test_ends_are_those_of_the_slow_version(seed):
    generator = torch.Generator().manual_seed(seed)
    offsets = 1.5 * torch.randn(2, 2, 5, 6, generator=generator, dtype=torch.float64)
    found = follow_offsets(offsets, 7)
    for image in range(2):
        for y in range(5):
            for x in range(6):
                expected = reference.follow(offsets[image].numpy(), (y, x), 7)
                assert found[image, :, y, x].tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_clusters_are_those_of_the_slow_version(seed):
    generator = torch.Generator().manual_seed(seed)
    offsets = 2.5 * torch.randn(2, 6, 7, generator=generator, dtype=torch.float64)
    centroids = find_centroids(offsets, 20)
    found = cluster_centroids(centroids, offsets, 2.5)
    expected = reference.clusters(centroids.numpy(), offsets.numpy(), 2.5)
    np.testing.assert_array_equal(found, expected)


def test_cells_of_two_objects_are_two_clusters_and_end_at_their_centroids():
    offsets = two_objects()
    centroids = find_centroids(offsets)
    assert {tuple(end) for end in centroids.flatten(1).T.tolist()} == {(4, 3), (4, 10)}
    clusters = cluster_centroids(centroids, offsets)
    assert (clusters[:, :7] == 0).all()
    assert (clusters[:, 7:] == 1).all()


def test_offsets_that_lead_away_stop_at_the_border():
    ends = follow_offsets(torch.full((1, 2, 4, 5), 9.0))
    assert (ends[0, 0] == 3).all()
    assert (ends[0, 1] == 4).all()
