"""The multi-point loss against loops over rows, columns and pairs."""

import pytest
import torch
from torch import Tensor

from models.a2gnn.multi_point import bilinear_taps, point_distance, point_weights, select_points
from tests.reference import a2gnn as reference

BOXES = [(1, 2, 9, 7), (0, 0, 12, 8), (5, 5, 6, 6)]
ROWS = [1, 2, 1]


def _random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def test_the_best_pixel_of_every_row_and_column_is_selected() -> None:
    scores = _random(3, 8, 12).detach()
    picks = select_points(scores, BOXES, ROWS)
    expected = reference.picked_points(scores, BOXES, ROWS)
    assert [pick.row for pick in picks] == ROWS
    for pick, chosen in zip(picks, expected, strict=True):
        assert [(int(p) // 12, int(p) % 12) for p in pick.pixels] == chosen


def test_the_first_of_equal_pixels_is_selected() -> None:
    (picks,) = select_points(torch.zeros(1, 4, 5), [(1, 1, 4, 3)], [0])
    assert picks.pixels.tolist() == [6, 11, 6, 7, 8]


@pytest.mark.parametrize("grid", [(2, 3), (1, 1), (3, 4)])
def test_taps_interpolate_as_torch_does(grid: tuple[int, int]) -> None:
    stride, size = 4, (grid[0] * 4 - 1, grid[1] * 4 - 2)
    cells = _random(grid[0] * grid[1], 5)
    pixels = torch.arange(size[0] * size[1])
    taps, shares = bilinear_taps(pixels, size[1], grid, stride, torch.float64)
    found = (cells[taps] * shares[..., None]).sum(1)
    expected = reference.upsampled(cells, grid, size, stride).flatten(1).t()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_loss_and_gradients_equal_the_table_of_pairs() -> None:
    logits, features = _random(3, 8, 12), _random(4, 8, 12, seed=1)
    picks = select_points(logits.detach(), BOXES, ROWS)
    chosen = reference.picked_points(logits, BOXES, ROWS)
    expected = reference.multi_point(logits, features, chosen, ROWS)

    log_probabilities = torch.log_softmax(logits, dim=0)
    share = point_weights(picks, log_probabilities)
    uniques = [torch.unique(pick.pixels, return_counts=True) for pick in picks]
    columns = features.flatten(1).t()
    found = -(share * log_probabilities.flatten(1)).sum() + point_distance(
        [columns[pixels] for pixels, _ in uniques], [count.double() for _, count in uniques]
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    gradients = torch.autograd.grad(found, (logits, features))
    wanted = torch.autograd.grad(expected, (logits, features))
    torch.testing.assert_close(gradients, wanted, rtol=1e-10, atol=1e-12)


def test_a_box_of_one_pixel_has_no_pairs() -> None:
    feature = _random(1, 4)
    distance = point_distance([feature], [torch.tensor([2.0], dtype=torch.float64)])
    assert float(distance.detach()) == 0
    (gradient,) = torch.autograd.grad(distance, feature)
    assert torch.isfinite(gradient).all()
