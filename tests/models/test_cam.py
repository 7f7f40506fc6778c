import pytest
import torch

from models.backbones import build_backbone
from models.cam import CamClassifier, ClassifierSpec, tag_average_precision, tag_loss


def small() -> CamClassifier:
    torch.manual_seed(0)
    return ClassifierSpec("cam", "resnet38d", 1 / 16, 8, (1, 2, 3)).build()


def test_logits_are_the_means_of_the_linear_layer_over_the_features() -> None:
    network = small().eval()
    network.requires_grad_(False)
    images = torch.rand(2, 3, 33, 40)
    features = network.backbone(images)[2]
    expected = [
        [
            sum((features[b, :, i, j] * weight).sum() for i in range(5) for j in range(5)) / 25
            for weight in network.head.weight[:, :, 0, 0]
        ]
        for b in range(2)
    ]
    torch.testing.assert_close(network(images), torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_class_maps_lie_on_the_cells_of_the_image() -> None:
    network = small().eval()
    assert network.class_maps(torch.rand(1, 3, 33, 50)).shape == (1, 3, 5, 7)


def test_the_classifier_has_no_bias_and_drops_out_only_when_training() -> None:
    backbone = build_backbone("resnet38d", output_stride=8, width=1 / 16)
    network = CamClassifier(backbone, 2)
    assert network.head.bias is None
    images = torch.rand(2, 3, 16, 16)
    network.eval()
    assert torch.equal(network(images), network(images))
    network.train()
    assert not torch.equal(network(images), network(images))


def test_tag_loss_is_the_mean_of_binary_cross_entropies() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    tags = (torch.rand(3, 4, generator=generator) < 0.5).double()
    loss = torch.zeros((), dtype=torch.float64)
    for row in range(3):
        for column in range(4):
            p = 1 / (1 + (-logits[row, column]).exp())
            loss = loss - (p.log() if tags[row, column] else (1 - p).log()) / 12
    torch.testing.assert_close(tag_loss(logits, tags), loss)
    assert torch.autograd.gradcheck(lambda x: tag_loss(x, tags), logits)


def test_average_precision_by_hand() -> None:
    logits = torch.tensor([[4.0, 1.0, 0.0], [3.0, 2.0, 0.0], [2.0, 3.0, 0.0], [1.0, 4.0, 0.0]])
    tags = torch.tensor([[1.0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]])
    # column 0: hits at ranks 1 and 3; column 1: at ranks 1 and 4; column 2 has no image
    expected = ((1 + 2 / 3) / 2 + (1 + 2 / 4) / 2) / 2
    assert tag_average_precision(logits, tags) == pytest.approx(expected)
