import numpy as np
import pytest
import torch
from torch import nn

from models.tag_assignment.centre_loss import CentreClassifier, centre_loss, moved_centres
from tests.reference.tag_assignment import centre_terms, centres_after


@pytest.mark.parametrize("seed", range(5))
def test_loss_and_centres_are_those_of_the_paper(seed: int) -> None:
    generator = np.random.default_rng(seed)
    features, centres = generator.normal(size=(7, 5)), generator.normal(size=(3, 5))
    labels = generator.integers(0, 3, 7).tolist()
    tensors = torch.from_numpy(features), torch.from_numpy(centres), torch.tensor(labels)
    found = centre_loss(*tensors)
    assert found.item() == pytest.approx(centre_terms(features, centres, labels), abs=1e-12)
    rate = generator.random()
    moved = moved_centres(tensors[1], tensors[0], tensors[2], rate)
    np.testing.assert_allclose(moved, centres_after(centres, features, labels, rate), atol=1e-12)


def test_the_gradient_is_that_of_the_loss_and_no_centre_has_one() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    centres = torch.randn(2, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    labels = torch.tensor([0, 1, 1, 0])
    assert torch.autograd.gradcheck(lambda f: centre_loss(f, centres, labels), (features,))
    centre_loss(features, centres, labels).backward()  # type: ignore[no-untyped-call]
    assert centres.grad is None


def test_a_centre_begins_at_its_first_feature_and_moves_only_in_training() -> None:
    torch.manual_seed(0)
    network = CentreClassifier(nn.Flatten(), 12, 2, weight=0.5, rate=0.25)
    images, labels = torch.rand(3, 3, 2, 2), torch.tensor([1, 1, 1])
    terms = network(images, labels)
    first, *others = images.flatten(1)
    loss = centre_loss(images.flatten(1), torch.stack([first, first]), labels)
    torch.testing.assert_close(terms["centre"], 0.5 * loss)
    assert network.seen.tolist() == [False, True]
    expected = first
    for other in others:
        expected = expected + 0.25 * (other - expected)
    torch.testing.assert_close(network.centres[1], expected)
    before = network.centres.clone()
    network.eval()
    network(images, labels)
    torch.testing.assert_close(network.centres, before)


def test_features_of_a_class_draw_together() -> None:
    torch.manual_seed(0)
    images, labels = torch.rand(8, 3, 4, 4), torch.tensor([0, 1] * 4)

    def trained(weight: float) -> float:
        torch.manual_seed(1)
        body = nn.Sequential(nn.Flatten(), nn.Linear(48, 6))
        network = CentreClassifier(body, 6, 2, weight=weight, rate=0.5)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for _ in range(30):
            optimizer.zero_grad()
            torch.stack(list(network(images, labels).values())).sum().backward()
            optimizer.step()
        features = body(images)
        return centre_loss(features, network.centres, labels).item()

    assert trained(3.0) < 0.8 * trained(0.0)
