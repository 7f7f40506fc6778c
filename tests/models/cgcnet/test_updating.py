import numpy as np
import pytest
import torch

from models.cgcnet.updating import (
    SIGMA,
    divergence,
    refined_object,
    settled,
    update_label,
    update_loss,
)
from models.ops.crf import Kernels
from tests.reference import cgcnet as reference

KERNELS = Kernels(10, 1.0, 3.0, 70.0, 13.0, 4.0)


@pytest.mark.parametrize("seed", range(4))
def test_the_divergence_is_that_of_the_slow_version(seed):
    generator = torch.Generator().manual_seed(seed)
    predicted = torch.rand(2, 5, 6, generator=generator, dtype=torch.float64)
    label = (torch.rand(2, 5, 6, generator=generator) < 0.4).double()
    found = divergence(predicted, label)
    expected = [
        reference.divergence(r.tolist(), c.tolist(), SIGMA)
        for r, c in zip(predicted, label, strict=True)
    ]
    assert found.tolist() == pytest.approx(expected)


def test_what_is_predicted_beside_the_label_costs_nothing():
    label = torch.zeros(4, 4)
    label[:2] = 1
    assert divergence(torch.ones(4, 4), label) == pytest.approx(divergence(label, label))
    assert divergence(torch.zeros(4, 4), label) > 1


def test_the_update_loss_draws_the_prediction_away_from_the_label():
    label = torch.zeros(4, 4, dtype=torch.float64)
    label[:2] = 1
    refined = torch.rand(4, 4, dtype=torch.float64)
    predicted = (0.2 + 0.6 * torch.rand(4, 4, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: update_loss(r, refined, label), predicted)
    loss = update_loss(predicted, refined, label)
    (gradient,) = torch.autograd.grad(loss, predicted)
    assert (gradient[:2] > 0).all(), "a step down the gradient lowers R on the label"
    assert (gradient[2:] == 0).all()
    expected = divergence(refined, label) - divergence(predicted, label)
    assert loss.item() == pytest.approx(expected.item())


def maps(inside, rim):
    label = np.zeros((10, 10), bool)
    label[2:8, 2:8] = True
    predicted = np.where(label, inside, 0.1).astype(np.float32)
    refined = np.where(label, 0.9, 0.1).astype(np.float32)
    refined[2:4] = rim
    return label, predicted, refined


def test_a_label_is_updated_only_where_the_crf_does_not_wear_it_away():
    updated = update_label(*maps(0.8, 0.45), 0.05)
    assert updated.is_updated
    assert updated.after - updated.before < 0.05
    assert updated.label.sum() == 24
    kept = update_label(*maps(0.8, 0.01), 0.05)
    assert not kept.is_updated
    assert kept.after - kept.before >= 0.05
    assert kept.label.sum() == 36


def test_an_empty_map_replaces_nothing():
    label, predicted, refined = maps(0.3, 0.45)
    result = update_label(label, predicted, np.minimum(refined, 0.45), 9.0)
    assert not result.is_updated
    assert result.label is label


def test_the_crf_of_an_object_follows_the_edge_and_leaves_what_is_far_away():
    image = np.full((40, 60, 3), 40, np.uint8)
    image[10:30, 10:30] = 200
    predicted = np.full((40, 60), 0.05, np.float32)
    predicted[8:28, 12:34] = 0.7  # shifted
    predicted[:, 55:] = 0.3
    refined = refined_object(predicted, image, (10, 10, 30, 30), KERNELS)
    truth = (image[..., 0] == 200)[:, :50]
    before, after = (((one[:, :50] > 0.5) ^ truth).sum() for one in (predicted, refined))
    assert after < before / 2
    assert (refined[:, 55:] == predicted[:, 55:]).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_pixel_of_several_labels_goes_to_the_one_it_speaks_for_most(seed):
    generator = np.random.default_rng(seed)
    labels = generator.random((3, 4, 5)) < 0.6
    refined = generator.random((3, 4, 5)).astype(np.float32)
    found = settled(labels, refined)
    for k in range(3):
        for y in range(4):
            for x in range(5):
                holders = [other for other in range(3) if labels[other, y, x]]
                best = max(holders, key=lambda other: refined[other, y, x], default=None)
                assert found[k, y, x] == (k == best)
    same = np.ones((2, 3, 3), bool)
    spoken = np.stack([np.full((3, 3), 0.9), np.full((3, 3), 0.1)]).astype(np.float32)
    assert settled(same, spoken).all(), "none is left empty"
