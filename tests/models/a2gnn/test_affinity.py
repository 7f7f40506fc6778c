"""Pair losses and graphs of the affinity CNN against loops over the pairs."""

import math
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.a2gnn.affinity import (
    AffinityHead,
    AffinityNet,
    affinity_loss,
    affinity_regularizer,
    gaussian_weights,
    graph_edges,
    half_plane,
    node_features,
    pair_distances,
    pair_labels,
    pairs_within,
    window_offsets,
)
from models.backbones import build_backbone
from tests.reference import affinity as reference

Window = Literal["disc", "square"]
WINDOWS: list[tuple[Window, int]] = [("disc", 2), ("square", 1), ("disc", 9)]


def _features(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def _labels(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(0, 4, shape, generator=generator)
    return torch.tensor([0, 3, 7, 255], dtype=torch.uint8)[chosen]


def _same_value_and_gradient(found: Tensor, expected: Tensor, features: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    (grad,) = torch.autograd.grad(found, features)
    (wanted,) = torch.autograd.grad(expected, features)
    torch.testing.assert_close(grad, wanted, rtol=1e-10, atol=1e-12)


def test_window_has_the_sizes_of_the_paper_and_of_the_public_code() -> None:
    assert len(window_offsets(5, "disc")) == 81
    assert len(window_offsets(4, "square")) == 81
    assert (5, 0) in window_offsets(5, "disc")
    assert (4, 4) not in window_offsets(5, "disc")


@pytest.mark.parametrize(("window", "radius"), WINDOWS)
def test_half_plane_names_every_unordered_pair_once(window: Window, radius: int) -> None:
    offsets = window_offsets(radius, window)
    half = half_plane(offsets)
    assert sorted(half + [(-dy, -dx) for dy, dx in half] + [(0, 0)]) == offsets


@pytest.mark.parametrize(("window", "radius"), WINDOWS)
@pytest.mark.parametrize("balance", ["paper", "psa"])
def test_affinity_loss_equals_the_loop_over_pairs(
    window: Window, radius: int, balance: Literal["paper", "psa"]
) -> None:
    features, labels = _features(2, 3, 4, 5), _labels(2, 4, 5)
    offsets = half_plane(window_offsets(radius, window))
    found = affinity_loss(pair_distances(features, offsets), labels, offsets, balance)
    expected = reference.affinity_loss(features, labels, radius, window, balance)
    _same_value_and_gradient(found, expected, features)


@pytest.mark.parametrize(("window", "radius"), WINDOWS)
def test_regularizer_equals_the_loop_over_pairs(window: Window, radius: int) -> None:
    features = _features(2, 3, 4, 5)
    colours = _features(2, 3, 4, 5, seed=1).detach() / 4
    valid = torch.ones(2, 4, 5, dtype=torch.bool)
    valid[1, :, 3:] = False
    offsets = half_plane(window_offsets(radius, window))
    weights = gaussian_weights(colours, offsets, 1.5, 0.4)
    found = affinity_regularizer(
        pair_distances(features, offsets), weights, pairs_within(valid, offsets)
    )
    expected = reference.affinity_regularizer(features, colours, valid, radius, window, 1.5, 0.4)
    _same_value_and_gradient(found, expected, features)


def test_pair_distances_has_the_gradient_of_finite_differences() -> None:
    features = _features(1, 2, 3, 4)
    offsets = window_offsets(2, "square")
    assert torch.autograd.gradcheck(lambda x: pair_distances(x, offsets), (features,))


def test_map_smaller_than_the_window_has_no_pairs_beyond_its_border() -> None:
    features = _features(1, 2, 1, 2)
    offsets = half_plane(window_offsets(5, "square"))
    distances = pair_distances(features, offsets)
    assert pairs_within(torch.ones(1, 1, 2, dtype=torch.bool), offsets).sum() == 1
    assert (distances > 0).sum() == 1


def test_all_foreground_map_has_no_unlike_pair_at_its_border() -> None:
    labels = torch.full((2, 10, 10), 5, dtype=torch.uint8)
    offsets = half_plane(window_offsets(4, "square"))
    targets = pair_labels(labels, offsets)
    assert (targets == 0).sum() == 0
    on_map = pairs_within(torch.ones(2, 10, 10, dtype=torch.bool), offsets)
    torch.testing.assert_close(targets == 1, on_map)


def test_unknown_cells_make_unknown_pairs() -> None:
    labels = torch.tensor([[[0, 255, 0]]], dtype=torch.uint8)
    assert pair_labels(labels, [(0, 1)]).tolist() == [[[[255, 255, 255]]]]
    assert pair_labels(labels, [(0, 2)]).tolist() == [[[[1, 255, 255]]]]


def test_losses_are_finite_for_equal_features_and_for_no_known_pair() -> None:
    features = torch.zeros(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.arange(16).view(1, 4, 4).to(torch.uint8)
    offsets = half_plane(window_offsets(2, "disc"))
    loss = affinity_loss(pair_distances(features, offsets), labels, offsets)
    assert math.isclose(float(loss.detach()), -math.log(1e-5), rel_tol=1e-9)
    (grad,) = torch.autograd.grad(loss, features)
    assert grad.isfinite().all()
    nothing = affinity_loss(
        pair_distances(features, offsets), torch.full_like(labels, 255), offsets, "psa"
    )
    assert float(nothing.detach()) == 0.0


def test_gaussian_weight_is_one_for_neighbours_of_a_wide_filter_and_zero_with_itself() -> None:
    colours = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    weights = gaussian_weights(colours, [(0, 0), (0, 1)], sigma_xy=1.0, sigma_rgb=1.0)
    assert weights[0, 0].sum() == 0
    torch.testing.assert_close(weights[0, 1, :, 0], torch.full((2,), math.exp(-0.5)).double())
    assert weights[0, 1, :, 1].sum() == 0


@pytest.mark.parametrize(("window", "radius"), WINDOWS)
def test_graph_edges_equal_the_dense_matrix(window: Window, radius: int) -> None:
    features = _features(3, 4, 5).detach()
    offsets = window_offsets(radius, window)
    table = graph_edges(features, offsets, threshold=0.3)
    dense = torch.zeros(20, 20, dtype=torch.float64)
    for node in range(20):
        for k, (dy, dx) in enumerate(offsets):
            y, x = node // 5 + dy, node % 5 + dx
            if 0 <= y < 4 and 0 <= x < 5:
                dense[node, y * 5 + x] = table[node, k]
            else:
                assert table[node, k] == 0
    expected = reference.graph_edges(features, radius, window, threshold=0.3)
    torch.testing.assert_close(dense, expected)
    assert ((expected > 0) & (expected < 1)).any()
    assert (expected == 0).any()


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 1000))
def test_node_features_are_shares(height: int, width: int, seed: int) -> None:
    maps = [_features(2, height, width, seed=seed).detach(), torch.zeros(3, height, width).double()]
    nodes = node_features(maps)
    assert nodes.shape == (height * width, 5)
    assert (nodes >= 0).all()
    empty = (maps[0] <= 0).all(0).flatten()
    torch.testing.assert_close(nodes.sum(1), (~empty).double())


def test_head_narrows_each_tap_and_keeps_narrow_ones() -> None:
    head = AffinityHead((32, 96, 320), (64, 128, 256))
    taps = [torch.randn(2, channels, 3, 4) for channels in (32, 96, 320)]
    assert head(taps).shape == (2, 32 + 96 + 256, 3, 4)


def test_net_gives_one_feature_per_cell_and_trains_its_head() -> None:
    net = AffinityNet(build_backbone("resnet18", output_stride=8), (64, 128, 256)).eval()
    taps, features = net(torch.rand(1, 3, 20, 33))
    assert features.shape == (1, 448, 3, 5)
    assert [tap.shape[1] for tap in taps] == [128, 256, 512]
    features.square().mean().backward()
    assert all(weight.grad is not None for weight in net.head.parameters())
