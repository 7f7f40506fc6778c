import numpy as np
import pytest
import torch

from models.wsid.paths import path_affinities, path_maxima, search_paths, sources, whole_sources
from tests.reference import wsid as reference


@pytest.mark.parametrize(("radius", "count"), [(2, 4), (5, 34), (10, 152)])
def test_a_path_leads_to_every_cell_within_the_radius_once(radius, count):
    paths = search_paths(radius)
    assert len(paths) == count  # as in the public code
    for path in paths:
        dy, dx = path.offset
        assert dy * dy + dx * dx < radius * radius
        assert path.cells[0] == (0, 0)
        assert set(path.cells) == reference.cells_between(dy, dx)
        assert path.offset in path.cells
    assert not {path.offset for path in paths} & {(-y, -x) for y, x in (p.offset for p in paths)}


@pytest.mark.parametrize("size", [(6, 7), (3, 9), (2, 2)])
def test_affinities_are_those_of_the_slow_version(size):
    edges = torch.rand(2, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    paths = search_paths(4)
    found = path_affinities(edges, paths)
    expected = np.zeros(found.shape)
    at = {path.offset: k for k, path in enumerate(paths)}
    for first, second in reference.pairs_of(size, 4):
        k = at[second[0] - first[0], second[1] - first[1]]
        for image in range(2):
            value = reference.affinity(edges[image].numpy(), first, second)
            expected[image, k, *first] = value
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)


def test_the_gradient_reaches_the_strongest_cell_of_each_path():
    edges = torch.rand(1, 3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    edges.requires_grad_()
    paths = search_paths(4)[::3]
    assert torch.autograd.gradcheck(lambda e: path_maxima(e, paths), edges)


def test_whole_sources_have_all_their_destinations_on_the_map():
    size, radius = (9, 13), 4
    whole = whole_sources(size, radius)
    everywhere = torch.ones(size, dtype=torch.bool)
    for path in search_paths(radius):
        has = torch.zeros(size, dtype=torch.bool)
        has[sources(size, path.offset)] = True
        everywhere &= has
    assert torch.equal(whole, everywhere)
    assert not whole_sources((3, 5), 5).any()
