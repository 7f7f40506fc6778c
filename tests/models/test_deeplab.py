import math

import pytest
import torch
from torch import Tensor, nn

from models.backbones import build_backbone
from models.deeplab import DeepLab, Head, predict, scores_to_pixels, segmentation_loss
from tests.reference.bilinear import cells_to_pixels_by_loops

ASPP = Head("aspp", 8, (1, 2))
LARGEFOV = Head("largefov", 8, (2,))


def network(head: Head = ASPP, stride: int = 16) -> DeepLab:
    torch.manual_seed(0)
    backbone = build_backbone("mobilenet_v2", output_stride=stride)
    return DeepLab(backbone, classes=4, head=head).eval()


@pytest.mark.parametrize("head", [ASPP, LARGEFOV])
@pytest.mark.parametrize("size", [(33, 48), (32, 41)])
def test_scores_every_pixel(head: Head, size: tuple[int, int]) -> None:
    with torch.no_grad():
        assert network(head)(torch.rand(2, 3, *size)).shape == (2, 4, *size)


def test_interpolates_between_the_centres_of_cells() -> None:
    cells = torch.rand(1, 2, 3, 4, dtype=torch.float64)
    pixels = scores_to_pixels(cells, (21, 30), 8)[0].numpy()
    assert abs(pixels - cells_to_pixels_by_loops(cells[0].numpy(), (21, 30), 8)).max() < 1e-12


def loss_by_loops(scores: Tensor, labels: Tensor) -> float:
    terms = []
    for image, row, column in torch.cartesian_prod(*(torch.arange(n) for n in labels.shape)):
        label = int(labels[image, row, column])
        if label != 255:
            values = scores[image, :, row, column].tolist()
            total = sum(math.exp(value) for value in values)
            terms.append(-math.log(math.exp(values[label]) / total))
    return sum(terms) / len(terms)


def test_loss_is_the_mean_over_labelled_pixels_and_its_gradient_is_right() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(2, 3, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (2, 3, 4), generator=generator).to(torch.uint8)
    labels[0, 0] = 255
    found = segmentation_loss(scores, labels)
    assert found.item() == pytest.approx(loss_by_loops(scores.detach(), labels), abs=1e-12)
    torch.autograd.gradcheck(lambda x: segmentation_loss(x, labels), (scores,))


def test_loss_without_labels_is_zero_and_not_nan() -> None:
    scores = torch.randn(1, 3, 2, 2, requires_grad=True)
    found = segmentation_loss(scores, torch.full((1, 2, 2), 255, dtype=torch.uint8))
    found.backward()  # type: ignore[no-untyped-call]
    assert found.item() == 0
    assert scores.grad is not None
    assert not scores.grad.any()


def test_prediction_is_a_distribution_and_flip_makes_it_symmetric() -> None:
    torch.manual_seed(0)
    image, edges = torch.rand(3, 32, 48), nn.Conv2d(3, 4, 5, padding=2)
    single = predict(edges, image, [1.0], False)
    several = predict(edges, image, [1.0, 1.5], True)
    mirrored = predict(edges, image.flip(-1), [1.0, 1.5], True)
    assert single.shape == several.shape == (4, 32, 48)
    assert torch.allclose(several.sum(0), torch.ones(32, 48), atol=1e-5)
    assert torch.allclose(several, mirrored.flip(-1), atol=1e-5)
    assert torch.allclose(single, edges(image[None])[0].softmax(0), atol=1e-6)
    assert not torch.allclose(single, several, atol=1e-2)


def test_largefov_refuses_several_rates() -> None:
    with pytest.raises(ValueError, match=r"rates: largefov has one, got \[1, 2\]"):
        network(Head("largefov", 8, (1, 2)))
