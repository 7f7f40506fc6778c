import pytest
import torch

from models.backbones import NAMES
from models.boxmask.network import BoxMaskSpec, box_channels, predict_masks

FEW = (8, 8, 8, 4)


def spec(name: str = "mobilenet_v2", stride: int = 2, crop: int = 32) -> BoxMaskSpec:
    small = name == "resnet38d"
    channels = (FEW[1:] if small else FEW) + ((4,) if stride == 1 else ())
    return BoxMaskSpec(name, 1 / 16 if small else 1.0, crop, 0.25, stride, channels)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "resnet101"])
@pytest.mark.parametrize("stride", [1, 2])
def test_every_backbone_scores_the_cells_of_a_crop(name: str, stride: int) -> None:
    torch.manual_seed(0)
    network = spec(name, stride).build().eval()
    boxes = torch.tensor([[0.2, 0.2, 0.8, 0.8], [0.0, 0.1, 0.5, 1.0]])
    with torch.no_grad():
        logits = network(torch.rand(2, 3, 32, 32), boxes)
    assert logits.shape == (2, 32 // stride, 32 // stride)
    assert network.pyramid.strides[:3] == (2, 4, 8)


def test_the_pyramid_gives_the_taps_as_they_are() -> None:
    torch.manual_seed(0)
    pyramid = spec().build().pyramid.eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        levels = pyramid(images)
        taps = pyramid.backbone.body((images - pyramid.backbone.mean) / pyramid.backbone.std)
    first, second, third = taps.values()
    torch.testing.assert_close(levels[2], first)
    torch.testing.assert_close(levels[3], torch.cat([second, third], 1))
    assert tuple(level.shape[1] for level in levels) == pyramid.channels
    assert tuple(64 // level.shape[-1] for level in levels) == pyramid.strides


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "resnet38d"])
def test_what_is_frozen_is_what_comes_before_stride_4(name: str) -> None:
    network = spec(name).build()
    network.pyramid.freeze_shallow()
    network(torch.rand(2, 3, 32, 32), torch.tensor([[0.2, 0.2, 0.8, 0.8]] * 2)).sum().backward()
    learned = [name for name, p in network.pyramid.named_parameters() if p.grad is not None]
    frozen = [name for name, p in network.pyramid.named_parameters() if not p.requires_grad]
    first = {"mobilenet_v2": "features.4.", "resnet18": "layer2.", "resnet38d": "b4."}[name]
    assert frozen
    assert learned
    assert first in learned[0]
    assert not set(learned) & set(frozen)


def test_the_box_tells_which_object_is_meant() -> None:
    torch.manual_seed(0)
    network = spec().build().eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        one = network(images, torch.tensor([[0.2, 0.2, 0.8, 0.8]]))
        other = network(images, torch.tensor([[0.0, 0.2, 0.4, 0.8]]))
    assert (one - other).abs().max() > 1e-3


def test_box_channels_cover_and_count_from_side_to_side() -> None:
    boxes = torch.tensor([[0.25, 0.5, 0.75, 0.875]], dtype=torch.float64)
    inside, across, down = box_channels(boxes, 8)[0]
    rows = torch.tensor([0, 0, 0, 0, 1, 1, 1, 0], dtype=torch.float64)
    columns = torch.tensor([0, 0, 1, 1, 1, 1, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(inside, rows[:, None] * columns)
    torch.testing.assert_close(across[0, 2:6], torch.tensor([-0.75, -0.25, 0.25, 0.75]).double())
    torch.testing.assert_close(down[4:7, 0], torch.tensor([-2 / 3, 0, 2 / 3]).double())
    assert across.abs().max() <= 2
    half = box_channels(torch.tensor([[0.0, 0.0, 0.3, 1.0]]), 4)[0, 0]
    torch.testing.assert_close(half[0], torch.tensor([1.0, 0.2, 0.0, 0.0]))


def test_a_prediction_is_that_of_the_mirrored_crop_mirrored() -> None:
    torch.manual_seed(0)
    network = spec().build().eval()
    images = torch.rand(2, 3, 32, 32)
    boxes = torch.tensor([[0.1, 0.2, 0.6, 0.8], [0.0, 0.1, 1.0, 0.9]])
    turned = torch.tensor([[0.4, 0.2, 0.9, 0.8], [0.0, 0.1, 1.0, 0.9]])
    found = predict_masks(network, images, boxes)
    torch.testing.assert_close(found.flip(-1), predict_masks(network, images.flip(-1), turned))
    assert found.min() >= 0
    assert found.max() <= 1


def test_channels_that_are_not_one_per_level_are_refused() -> None:
    with pytest.raises(ValueError, match=r"channels: expected 4, one per level, got \(8, 8\)"):
        BoxMaskSpec("mobilenet_v2", 1.0, 32, 0.25, 2, (8, 8)).build()
