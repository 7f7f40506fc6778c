"""Losses on the grid against full upsampling and tables of all pairs."""

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from models.a2gnn.grid_losses import (
    NEGLIGIBLE,
    cells_on_pixels,
    colour_kernel,
    interpolation_matrix,
    regularized_loss,
    seed_weights,
)
from tests.reference import a2gnn as reference

GRID, STRIDE, SIZE = (4, 5), 4, (15, 18)


def _logits(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(20, 3, generator=generator, dtype=torch.float64).requires_grad_()


def _on_pixels(logits: Tensor) -> Tensor:
    down, across = (
        interpolation_matrix(cells, pixels, STRIDE, torch.float64)
        for cells, pixels in zip(GRID, SIZE, strict=True)
    )
    return cells_on_pixels(logits, down, across)


def _same(found: Tensor, expected: Tensor, of: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    gradient, wanted = (
        torch.autograd.grad(loss, of, retain_graph=True)[0] for loss in (found, expected)
    )
    torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-12)


def test_interpolation_equals_torchs() -> None:
    logits = _logits()
    found = _on_pixels(logits)
    expected = reference.upsampled(logits, GRID, SIZE, STRIDE)
    outer = torch.randn_like(found)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    _same((found * outer).sum(), (expected * outer).sum(), logits)


@pytest.mark.parametrize("average", ["mean", "balanced"])
def test_cross_entropy_equals_torchs_on_the_labelled_pixels(
    average: Literal["mean", "balanced"],
) -> None:
    logits = _logits(1)
    generator = torch.Generator().manual_seed(2)
    seeds = torch.randint(-1, 3, (SIZE[0] * SIZE[1],), generator=generator)
    weights = seed_weights(seeds, 3, average, torch.float64)
    found = -(weights * torch.log_softmax(_on_pixels(logits), 0).flatten(1)).sum()
    expected = reference.cross_entropy(
        reference.upsampled(logits, GRID, SIZE, STRIDE), seeds, average
    )
    _same(found, expected, logits)


def test_without_seeds_there_is_nothing_to_weigh() -> None:
    seeds = torch.full((6,), -1)
    assert not seed_weights(seeds, 2, "mean", torch.float32).any()
    assert not seed_weights(seeds, 2, "balanced", torch.float32).any()


@pytest.mark.parametrize("grid", [(4, 5), (1, 1), (1, 7)])
def test_the_kernel_holds_all_pairs_that_count(grid: tuple[int, int]) -> None:
    colours = np.random.default_rng(0).normal(size=(grid[0] * grid[1], 3))
    found = colour_kernel(colours, grid, sigma_xy=1.5, sigma_rgb=0.6, dtype=torch.float64)
    expected = reference.colour_kernel(colours, grid, 1.5, 0.6)
    expected[expected < NEGLIGIBLE] = 0
    torch.testing.assert_close(found.to_dense(), expected, rtol=1e-9, atol=1e-12)


def test_regularized_loss_equals_the_table_of_pairs() -> None:
    colours = np.random.default_rng(1).normal(size=(20, 3)) / 10
    sparse = colour_kernel(colours, GRID, sigma_xy=2.0, sigma_rgb=0.2, dtype=torch.float64)
    dense = reference.colour_kernel(colours, GRID, 2.0, 0.2)
    logits = _logits(3)
    probabilities = torch.softmax(logits, dim=1)
    found = regularized_loss(probabilities, sparse)
    kept = torch.where(dense < NEGLIGIBLE, 0, dense)
    _same(found, reference.regularized_loss(probabilities, kept), logits)
    everything = reference.regularized_loss(probabilities, dense)
    assert abs(float((found / everything).detach()) - 1) < 1e-5


def test_agreement_costs_nothing_and_disagreement_of_like_colours_does() -> None:
    sparse = colour_kernel(np.zeros((20, 3)), GRID, sigma_xy=2.0, sigma_rgb=0.1)
    alike = torch.tensor([[1.0, 0.0]]).repeat(20, 1)
    assert float(regularized_loss(alike, sparse)) == pytest.approx(0, abs=1e-6)
    split = alike.clone()
    split[10:] = torch.tensor([0.0, 1.0])
    assert float(regularized_loss(split, sparse)) > 0.1
