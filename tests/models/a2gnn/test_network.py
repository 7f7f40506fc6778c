"""The network of one image against dense matrices, full upsampling and loops."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.a2gnn.network import (
    A2GNN,
    Labelled,
    Problem,
    Settings,
    dropout_mask,
    image_loss,
    label_image,
    start_network,
    train_network,
)
from tests.reference import a2gnn as reference

GRID, STRIDE, SIZE = (6, 8), 4, (24, 32)
BOXES = [(5.0, 4.0, 14.0, 17.5), (18.0, 6.0, 28.0, 20.0)]
CATEGORIES = [7, 3]
SETTINGS = Settings(
    hidden=12,
    layers=3,
    cosine=True,
    beta=10.0,
    dropout=0.5,
    first_epochs=4,
    second_epochs=4,
    learning_rate=0.03,
    weight_decay=5e-4,
    cross_entropy="mean",
    multi_point=1.0,
    points="probability",
    regularizer=0.01,
    sigma_xy=3.0,
    sigma_rgb=0.3,
    consistency=True,
)


def _image(seed: int = 0, size: tuple[int, int] = SIZE, wrong: float = 0.0) -> dict[str, Any]:
    """Two objects on a ground: noisy features, edges and colours, some seeds, tight boxes."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((GRID[0] * STRIDE, GRID[1] * STRIDE), np.uint8)
    for (x0, y0, x1, y1), category in zip(BOXES, CATEGORIES, strict=True):
        truth[int(y0) : int(np.ceil(y1)), int(x0) : int(x1)] = category
    cells = truth[2::STRIDE, 2::STRIDE].ravel()
    features = rng.random((256, 10))[cells] + 0.3 * rng.random((len(cells), 10))
    features[:, [2, 5]] = 0
    offsets = np.array([(a, b) for a in range(-2, 3) for b in range(-2, 3) if a * a + b * b <= 4])
    colours = rng.normal(size=(256, 3))[cells] + 0.1 * rng.normal(size=(len(cells), 3))
    edges = np.zeros((len(cells), len(offsets)))
    for node, (y, x) in enumerate(np.ndindex(GRID)):
        for slot, (dy, dx) in enumerate(offsets):
            if 0 <= y + dy < GRID[0] and 0 <= x + dx < GRID[1]:
                other = (y + dy) * GRID[1] + x + dx
                edges[node, slot] = np.exp(-np.abs(features[node] - features[other]).mean() * 4)
    edges[edges < 0.2] = 0
    seeds = np.where(rng.random(truth.shape) < 0.4, truth, 255).astype(np.uint8)
    inside = np.zeros_like(truth)
    inside[4:18, 5:14] = 1
    flip = (rng.random(truth.shape) < wrong) & (seeds == 0) & (np.arange(32) < 16)
    seeds[flip] = 7
    return {
        "features": features / features.sum(1, keepdims=True),
        "edges": edges,
        "offsets": offsets,
        "grid": GRID,
        "stride": STRIDE,
        "seeds": seeds[: size[0], : size[1]],
        "colours": colours,
        "boxes": BOXES,
        "categories": CATEGORIES,
    }


def _problem(image: dict[str, Any], settings: Settings) -> Problem:
    return Problem(**image, settings=settings, dtype=torch.float64)


def _generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _reference_loss(
    problem: Problem,
    image: dict[str, Any],
    parameters: list[Tensor],
    kept: Tensor | None,
    *,
    second: bool,
) -> tuple[Tensor, Tensor]:
    embedding, attention, output = parameters
    dense = reference.dense_edges(image["edges"], image["offsets"], GRID)
    kernel = reference.colour_kernel(
        image["colours"], GRID, problem.settings.sigma_xy, problem.settings.sigma_rgb
    )
    hidden, logits = reference.forward(
        problem.features,
        embedding,
        list(attention),
        output,
        dense,
        reference.connected(dense),
        beta=problem.settings.beta,
        kept=kept,
    )
    loss = reference.total_loss(
        hidden,
        logits,
        grid=GRID,
        size=problem.size,
        stride=STRIDE,
        seeds=problem.seeds,
        boxes=problem.boxes,
        rows=problem.rows,
        kernel=torch.where(kernel < 1e-6, 0, kernel),
        settings=problem.settings,
        second=second,
    )
    return loss, logits


VARIANTS: list[dict[str, Any]] = [
    {},
    {"cross_entropy": "balanced", "points": "logit"},
    {"layers": 1, "consistency": False, "multi_point": 0.3},
    {"regularizer": 0.0, "beta": 2.0},
]


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("change", VARIANTS)
def test_loss_and_gradients_equal_the_dense_ones(change: dict[str, Any], second: bool) -> None:
    image = _image(size=(23, 30), wrong=0.3)
    problem = _problem(image, replace(SETTINGS, **change))
    generator = _generator()
    network = start_network(problem, generator)
    kept = dropout_mask(48, problem.settings, generator).double()
    parameters: list[Tensor] = list(network.parameters())
    found, _ = image_loss(network, problem, kept, second=second)
    expected, _ = _reference_loss(problem, image, parameters, kept, second=second)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    gradients = torch.autograd.grad(found, parameters)
    wanted = torch.autograd.grad(expected, parameters)
    torch.testing.assert_close(gradients, wanted, rtol=1e-10, atol=1e-10)


def test_a_whole_training_equals_the_dense_one() -> None:
    image = _image(1, wrong=0.2)
    problem = _problem(image, SETTINGS)
    generator = _generator()
    network = start_network(problem, generator)
    parameters = [p.detach().clone().requires_grad_() for p in network.parameters()]
    state = generator.get_state()
    train_network(network, problem, generator)

    generator.set_state(state)
    optimizer = torch.optim.Adam(parameters, lr=0.03, weight_decay=5e-4)
    for epoch in range(8):
        kept = dropout_mask(48, SETTINGS, generator).double()
        loss, _ = _reference_loss(problem, image, parameters, kept, second=epoch >= 4)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    for trained, wanted in zip(network.parameters(), parameters, strict=True):
        torch.testing.assert_close(trained.detach(), wanted.detach(), rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        found, _ = image_loss(network, problem, None, second=True)
        expected, _ = _reference_loss(problem, image, parameters, None, second=True)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_the_objects_are_found() -> None:
    image = _image(2)
    settings = replace(SETTINGS, hidden=64, first_epochs=20, second_epochs=20)
    labelled = label_image(Problem(**image, settings=settings), _generator())
    assert labelled.classes == (0, 3, 7)
    assert labelled.seeds == int((image["seeds"] != 255).sum())
    np.testing.assert_allclose(labelled.probabilities.sum(0), 1, rtol=1e-5)
    found = np.array(labelled.classes)[labelled.probabilities.argmax(0)]
    assert found[2, 2] == 7
    assert found[3, 5] == 3
    assert found[0, 0] == 0


def test_consistency_checking_leaves_out_planted_wrong_seeds() -> None:
    image = _image(3)
    seeds = image["seeds"].copy()
    seeds[18:20, 5:12] = 7  # below the object, in a box that reaches too far down
    image |= {"seeds": seeds, "boxes": [(5.0, 4.0, 12.0, 20.0), BOXES[1]]}
    settings = replace(SETTINGS, hidden=64, first_epochs=20, second_epochs=20, dropout=0.0)
    checked = label_image(Problem(**image, settings=settings), _generator())
    # the whole lowest row of cells looks like the ground; all other seeds look like their object
    assert checked.removed == int((seeds[16:20, 5:12] == 7).sum())
    off = replace(settings, consistency=False)
    assert label_image(Problem(**image, settings=off), _generator()).removed == 0


def test_a_mirrored_image_has_a_mirrored_result() -> None:
    image = _image(4)
    mirror = np.arange(48).reshape(GRID)[:, ::-1].ravel()
    mirrored = image | {
        "features": image["features"][mirror],
        "edges": image["edges"][mirror],
        "offsets": image["offsets"] * np.array([1, -1]),
        "seeds": image["seeds"][:, ::-1],
        "colours": image["colours"][mirror],
        "boxes": [(SIZE[1] - x1, y0, SIZE[1] - x0, y1) for x0, y0, x1, y1 in BOXES],
    }
    settings = replace(SETTINGS, dropout=0.0)
    here, there = (label_image(_problem(one, settings), _generator()) for one in (image, mirrored))
    np.testing.assert_allclose(there.probabilities[..., ::-1], here.probabilities, atol=1e-6)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    image = _image(5)
    results = [
        label_image(Problem(**image, settings=SETTINGS), _generator(seed)) for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(results[0].probabilities, results[1].probabilities)
    assert not np.array_equal(results[0].probabilities, results[2].probabilities)


def test_columns_that_are_zero_everywhere_change_nothing() -> None:
    image = _image(6)
    problem = _problem(image, SETTINGS)
    assert problem.features.shape == (48, 8)
    network = start_network(problem, _generator())
    full = A2GNN(10, 12, 3, 3, _generator()).double()
    inputs = torch.from_numpy(image["features"])
    for found, expected in zip(
        network(problem.features, problem.neighbours, beta=10.0),
        full(inputs, problem.neighbours, beta=10.0),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def _degenerate(**change: object) -> Labelled:
    return label_image(Problem(**(_image(7) | change), settings=SETTINGS), _generator())


def test_an_image_without_objects_is_background() -> None:
    empty = np.where(_image(7)["seeds"] == 0, 0, 255).astype(np.uint8)
    labelled = _degenerate(boxes=[], categories=[], seeds=empty)
    assert labelled.classes == (0,)
    np.testing.assert_array_equal(labelled.probabilities, np.ones((1, *GRID)))


def test_a_class_without_seeds_still_has_its_box() -> None:
    seeds = _image(7)["seeds"]
    labelled = _degenerate(seeds=np.where(seeds == 7, 255, seeds).astype(np.uint8))
    assert labelled.classes == (0, 3, 7)
    assert np.isfinite(labelled.probabilities).all()


@pytest.mark.parametrize("value", [255, 0, 3])
def test_images_with_one_kind_of_seed_or_none_are_labelled(value: int) -> None:
    labelled = _degenerate(seeds=np.full(SIZE, value, np.uint8))
    assert np.isfinite(labelled.probabilities).all()
    assert labelled.seeds == (0 if value == 255 else SIZE[0] * SIZE[1])


def test_a_box_smaller_than_a_cell_is_trained_on() -> None:
    labelled = _degenerate(boxes=[(9.2, 9.3, 9.6, 9.5), (18.0, 6.0, 28.0, 20.0)])
    assert np.isfinite(labelled.probabilities).all()


def test_seeds_without_boxes_are_trained_on() -> None:
    labelled = _degenerate(boxes=[], categories=[])
    assert labelled.classes == (0, 3, 7)
    assert np.isfinite(labelled.probabilities).all()


def test_a_loss_that_explodes_is_reported() -> None:
    features = _image(7)["features"].copy()
    features[0, 0] = np.inf
    with pytest.raises(FloatingPointError, match="loss is nan in epoch 0"):
        _degenerate(features=features)


def test_dropout_next_to_1_keeps_something() -> None:
    kept = dropout_mask(300, replace(SETTINGS, hidden=300, dropout=0.999), _generator())
    assert torch.isfinite(kept).all()
    assert kept.mean() == pytest.approx(1, abs=0.1)


def test_dropout_keeps_the_mean() -> None:
    for rate in (0.0, 0.25, 0.5):
        kept = dropout_mask(300, replace(SETTINGS, hidden=300, dropout=rate), _generator())
        assert float((kept == 0).float().mean()) == pytest.approx(rate, abs=0.01)
        assert float(kept.mean()) == pytest.approx(1, abs=0.02)


def test_without_the_cosine_the_edges_alone_are_attended_to() -> None:
    problem = _problem(_image(), replace(SETTINGS, cosine=False))
    network = start_network(problem, _generator())
    train_network(network, problem, _generator())
    assert not network.attention.any()
    weights, _ = network(problem.features, problem.neighbours, beta=10.0)
    entries = problem.neighbours
    row = entries.rows == 9
    expected = torch.softmax(10 * entries.affinity[row], dim=0)
    torch.testing.assert_close(weights[row], expected)
