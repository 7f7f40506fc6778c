import pytest
import torch

from models.wsid.enhancement import BoundaryEnhancement, canny_edges


def square(side=32, grey=0.9):
    image = torch.full((1, 3, side, side), 0.4)
    image[..., 8:24, 8:24] = grey
    return image


def test_canny_draws_the_outline_and_nothing_else():
    edges = canny_edges(square(), (0.67, 1.33))[0, 0]
    assert set(edges.unique().tolist()) == {0.0, 1.0}
    ring = torch.zeros(32, 32, dtype=torch.bool)
    ring[6:26, 6:26] = True
    ring[11:21, 11:21] = False
    assert edges[ring].sum() >= 50
    assert not edges[~ring].any()


def test_thresholds_follow_the_median_or_are_grey_levels():
    faint = square(grey=0.52)  # a step of 30 grey levels
    assert canny_edges(faint, (0.67, 1.33)).any()
    assert not canny_edges(faint, (230, 260)).any()
    assert canny_edges(faint, (30, 100)).any()


@pytest.mark.parametrize("parts", ["both", "streams", "canny"])
def test_there_are_two_maps_on_cells_of_four_pixels_whatever_its_parts(parts):
    torch.manual_seed(0)
    module = BoundaryEnhancement(4, parts, (0.67, 1.33))
    found = module(square())
    assert [one.shape for one in found] == [(1, 4, 8, 8)] * 2
    assert bool(module.streams) == (parts != "canny")
    images = square().requires_grad_()
    slope = torch.autograd.grad(sum(one.sum() for one in module(images)), images, allow_unused=True)
    assert (slope[0] is None) == (parts == "canny"), "Canny has no gradient"


def test_one_stream_looks_along_rows_and_one_along_columns():
    module = BoundaryEnhancement(4, "both", (0.67, 1.33))
    shapes = [stream[0].kernel_size for stream in module.streams]
    assert shapes == [(1, 7), (7, 1)]
    blocks = [type(part).__name__ for part in module.streams[0]]
    assert blocks.count("BasicBlock") == 3
