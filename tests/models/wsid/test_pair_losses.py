import pytest
import torch

from models.wsid.pair_losses import boundary_loss, centroid_loss, label_pairs
from models.wsid.paths import path_affinities, search_paths, whole_sources
from tests.reference import wsid as reference

RADIUS = 4
PATHS = search_paths(RADIUS)


def drawn(seed, size=(6, 7), images=1):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0, 0, 1, 2, 255], dtype=torch.uint8)
    chosen = labels[torch.randint(5, (images, *size), generator=generator)]
    edges = torch.rand(images, *size, generator=generator, dtype=torch.float64) * 0.9 + 0.05
    offsets = 5 * torch.randn(images, 2, *size, generator=generator, dtype=torch.float64)
    return edges, offsets, chosen


@pytest.mark.parametrize("seed", range(3))
def test_the_losses_are_those_of_the_slow_version(seed):
    edges, offsets, labels = drawn(seed)
    pairs = label_pairs(labels, PATHS)
    expected = reference.boundary_loss(edges[0].numpy(), labels[0].numpy(), RADIUS)
    assert boundary_loss(path_affinities(edges, PATHS), pairs).item() == pytest.approx(expected)
    expected = reference.centroid_loss(offsets[0].numpy(), labels[0].numpy(), RADIUS)
    found = centroid_loss(offsets, pairs, PATHS).item()
    assert found == pytest.approx(expected, rel=1e-5)  # whether 1e-5 is added once or twice


def test_the_gradients_are_right():
    edges, offsets, labels = drawn(4, (3, 4), 2)
    pairs = label_pairs(labels, PATHS)

    def boundary(values):
        return boundary_loss(path_affinities(values, PATHS), pairs)

    assert torch.autograd.gradcheck(boundary, edges.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda values: centroid_loss(values, pairs, PATHS), offsets.requires_grad_()
    )


def test_offsets_that_lead_to_one_centroid_cost_nothing_whatever_is_added_to_all():
    _, _, labels = drawn(5, (6, 7))
    labels[labels == 0] = 255
    labels[labels < 255] = 1
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    field = torch.stack([3.2 - rows, 1.5 - columns])[None]
    pairs = label_pairs(labels, PATHS)
    assert centroid_loss(field, pairs, PATHS) == pytest.approx(0, abs=1e-6)
    assert centroid_loss(field + 2.5, pairs, PATHS) == pytest.approx(0, abs=1e-6)
    assert centroid_loss(-field, pairs, PATHS) > 1


def test_unknown_cells_and_starts_left_out_are_in_no_pair():
    _, _, labels = drawn(6, (9, 11))
    every = label_pairs(labels, PATHS)
    whole = label_pairs(labels, PATHS, whole_sources((9, 11), RADIUS))
    for all_of, some in zip(every, whole, strict=True):
        assert (all_of >= some).all()
        assert not (all_of & (labels == 255)[:, None]).any()
    inside = whole_sources((9, 11), RADIUS)
    assert torch.equal(every.objects[..., inside], whole.objects[..., inside])
    assert not whole.objects[..., ~inside].any()
    nothing = label_pairs(torch.full((1, 6, 7), 255, dtype=torch.uint8), PATHS)
    assert boundary_loss(torch.rand(1, len(PATHS), 6, 7), nothing) == 0
