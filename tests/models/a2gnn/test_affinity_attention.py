"""The sparse attention layer against the dense N x N matrix."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.a2gnn.affinity_attention import (
    Neighbours,
    attend,
    attend_at,
    attention_weights,
    build_neighbours,
)
from tests.reference import a2gnn as reference

Graph = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], tuple[int, int]]


def _window(radius: int, *, square: bool) -> npt.NDArray[np.int64]:
    steps = range(-radius, radius + 1)
    found = [(a, b) for a in steps for b in steps if square or a * a + b * b <= radius * radius]
    return np.array(found)


def _graph(grid: tuple[int, int], radius: int, seed: int, *, square: bool = False) -> Graph:
    """Random symmetric edges, a third of them 0, in shuffled order of offsets."""
    rng = np.random.default_rng(seed)
    nodes = grid[0] * grid[1]
    full = rng.random((nodes, nodes))
    full = (full + full.T) / 2 * (full + full.T > 0.8)
    offsets = rng.permutation(_window(radius, square=square))
    edges = np.zeros((nodes, len(offsets)))
    for node in range(nodes):
        for slot, (dy, dx) in enumerate(offsets):
            y, x = node // grid[1] + dy, node % grid[1] + dx
            if 0 <= y < grid[0] and 0 <= x < grid[1]:
                edges[node, slot] = full[node, y * grid[1] + x]
    return edges, offsets, grid


def _dense(weights: Tensor, neighbours: Neighbours) -> Tensor:
    full = torch.zeros(neighbours.nodes, neighbours.nodes, dtype=weights.dtype)
    full[neighbours.rows, neighbours.columns.long()] = weights
    return full


def _hidden(nodes: int, seed: int = 0, *, signed: bool) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(nodes, 6, generator=generator, dtype=torch.float64)
    return (hidden if signed else hidden.relu()).requires_grad_()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("grid", "radius", "square"),
    [
        ((5, 7), 2, False),
        ((4, 6), 2, True),
        ((3, 3), 5, False),
        ((1, 8), 3, True),
        ((1, 1), 1, True),
    ],
)
def test_the_layer_and_its_gradients_equal_the_dense_matrix(
    grid: tuple[int, int], radius: int, square: bool, signed: bool
) -> None:
    edges, offsets, _ = _graph(grid, radius, 1, square=square)
    neighbours = build_neighbours(edges, offsets, grid, dtype=torch.float64)
    dense = reference.dense_edges(edges, offsets, grid)
    mask = reference.connected(dense)
    hidden = _hidden(len(edges), signed=signed)
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    outer = torch.randn_like(hidden)

    weights = attention_weights(hidden, weight, neighbours, beta=3.0)
    found = attend(weights, hidden, neighbours)
    matrix = reference.attention(hidden, weight, dense, mask, beta=3.0)
    torch.testing.assert_close(_dense(weights, neighbours), matrix, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found, matrix @ hidden, rtol=1e-10, atol=1e-12)
    gradients = torch.autograd.grad((found * outer).sum(), (hidden, weight))
    expected = torch.autograd.grad((matrix @ hidden * outer).sum(), (hidden, weight))
    torch.testing.assert_close(gradients, expected, rtol=1e-10, atol=1e-10)


def test_numerical_gradients() -> None:
    edges, offsets, grid = _graph((3, 4), 2, 2)
    neighbours = build_neighbours(edges, offsets, grid, dtype=torch.float64)
    weight = torch.tensor(-0.4, dtype=torch.float64, requires_grad=True)
    nodes = torch.tensor([7, 0, 4])

    def layers(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weights = attention_weights(hidden, weight, neighbours, beta=2.0)
        some = attend_at(weights, hidden, neighbours, nodes)
        return weights, attend(weights, hidden, neighbours), some

    assert torch.autograd.gradcheck(layers, (_hidden(12, 3, signed=True), weight))


def test_some_rows_equal_those_of_the_whole_product() -> None:
    edges, offsets, grid = _graph((4, 5), 2, 4)
    neighbours = build_neighbours(edges, offsets, grid, dtype=torch.float64)
    hidden = _hidden(20, signed=True)
    weights = torch.rand(len(neighbours.columns), dtype=torch.float64, requires_grad=True)
    nodes = torch.tensor([19, 3, 4])
    some = attend_at(weights, hidden, neighbours, nodes)
    rows = attend(weights, hidden, neighbours)[nodes]
    torch.testing.assert_close(some, rows)
    outer = torch.randn_like(some)
    gradients = torch.autograd.grad((some * outer).sum(), (weights, hidden))
    expected = torch.autograd.grad((rows * outer).sum(), (weights, hidden))
    torch.testing.assert_close(gradients, expected, rtol=1e-12, atol=1e-12)
    assert attend_at(weights, hidden, neighbours, nodes[:0]).shape == (0, 6)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    seed=st.integers(0, 9),
    scale=st.sampled_from([0.0, 1e-6, 1.0, 1e3]),
    weight=st.floats(-30, 30),
)
def test_rows_are_distributions_over_the_connected_nodes(
    height: int, width: int, seed: int, scale: float, weight: float
) -> None:
    edges, offsets, grid = _graph((height, width), 2, seed)
    neighbours = build_neighbours(edges, offsets, grid)
    hidden = _hidden(len(edges), seed, signed=True).float() * scale
    weights = attention_weights(hidden, torch.tensor(weight), neighbours, beta=10.0)
    dense = _dense(weights, neighbours)
    torch.testing.assert_close(dense.sum(1), torch.ones(len(edges)), rtol=1e-5, atol=1e-5)
    mask = reference.connected(reference.dense_edges(edges, offsets, grid))
    assert (dense[~mask] == 0).all()
    assert (weights >= 0).all()


def test_a_mirrored_image_has_mirrored_attention() -> None:
    edges, offsets, grid = _graph((4, 6), 2, 5)
    mirror = torch.arange(24).reshape(grid).flip(1).ravel()
    hidden = _hidden(24, signed=True)
    weight = torch.tensor(0.9, dtype=torch.float64)
    there = build_neighbours(edges, offsets, grid, dtype=torch.float64)
    flipped = offsets * np.array([1, -1])
    back = build_neighbours(edges[mirror.numpy()], flipped, grid, dtype=torch.float64)
    found = attend(attention_weights(hidden, weight, there, beta=2.0), hidden, there)
    turned = hidden[mirror]
    again = attend(attention_weights(turned, weight, back, beta=2.0), turned, back)
    torch.testing.assert_close(again, found[mirror], rtol=1e-12, atol=1e-12)


def test_nodes_without_features_attend_evenly_and_have_finite_gradients() -> None:
    edges, offsets, grid = _graph((3, 3), 2, 6)
    neighbours = build_neighbours(edges, offsets, grid, dtype=torch.float64)
    hidden = torch.zeros(9, 4, dtype=torch.float64, requires_grad=True)
    weights = attention_weights(
        hidden, torch.tensor(1.0, dtype=torch.float64), neighbours, beta=9.0
    )
    mask = reference.connected(reference.dense_edges(edges, offsets, grid)).double()
    torch.testing.assert_close(_dense(weights, neighbours), mask / mask.sum(1, keepdim=True))
    (gradient,) = torch.autograd.grad((weights * torch.rand_like(weights)).sum(), hidden)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("beta", [0.0, 104.0, 300.0])
@pytest.mark.parametrize("weight", [-200.0, 0.5, 200.0])
def test_nodes_without_features_beside_others_are_finite_however_large_the_scores(
    beta: float, weight: float
) -> None:
    edges, offsets, grid = _graph((4, 5), 2, 7)
    hidden = _hidden(20, signed=False).detach()
    hidden[::3] = 0
    dense = reference.dense_edges(edges, offsets, grid)
    mask = reference.connected(dense)
    w = torch.tensor(weight, dtype=torch.float64)
    expected = reference.attention(hidden, w, dense, mask, beta=beta)
    neighbours = build_neighbours(edges, offsets, grid)
    single = hidden.float().requires_grad_()
    weights = attention_weights(single, w.float(), neighbours, beta=beta)
    torch.testing.assert_close(_dense(weights, neighbours), expected.float(), rtol=1e-3, atol=1e-4)
    (gradient,) = torch.autograd.grad((weights * torch.rand_like(weights)).sum(), single)
    assert torch.isfinite(gradient).all()


def test_offsets_without_their_opposite_are_refused() -> None:
    message = r"offsets: expected each with its opposite, \(0, 0\) included, none twice"
    with pytest.raises(ValueError, match=message):
        build_neighbours(np.ones((4, 2)), np.array([[0, 0], [0, 1]]), (2, 2))
    with pytest.raises(ValueError, match=message):
        build_neighbours(np.ones((4, 3)), np.array([[0, 0], [0, 0], [0, 0]]), (2, 2))
    with pytest.raises(ValueError, match=r"offsets: expected \(0, 0\) among them"):
        build_neighbours(np.ones((4, 2)), np.array([[0, -1], [0, 1]]), (2, 2))
