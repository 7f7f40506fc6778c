import pytest
import torch
from torch import Tensor, nn

from models.backbones import NAMES, Backbone, build_backbone, cell_features, freeze_batch_norm

KINDS = [
    (name, stride) for name in NAMES for stride in (8, 16) if (name, stride) != ("resnet38d", 16)
]


def build(name: str, stride: int) -> Backbone:
    width = 1 / 16 if name == "resnet38d" else 1.0
    return build_backbone(name, output_stride=stride, width=width).eval()


def sampler(name: str, stride: int) -> Backbone:
    """The backbone with kernels that only look at their centre: each feature reads one place."""
    backbone = build(name, stride).double()
    backbone.mean.fill_(0.4999)  # so that no ReLU6 saturates
    for part in list(backbone.modules()):
        if isinstance(part, nn.Conv2d):
            nn.init.zeros_(part.weight)
            middle = part.kernel_size[0] // 2
            part.weight.data[:, :, middle, middle] = 1 / part.weight.shape[1]
        for child, inner in part.named_children():
            if isinstance(inner, nn.MaxPool2d):  # has no gradient but at the maximum
                setattr(part, child, nn.AvgPool2d(3, 2, 1))
    return backbone


@pytest.mark.parametrize(("name", "stride"), KINDS)
def test_each_cell_is_centred_on_its_pixels(name: str, stride: int) -> None:
    backbone = sampler(name, stride)
    height, width = 3 * stride + 5, 2 * stride + stride // 2 + 2
    image = torch.full((1, 3, height, width), 0.5, dtype=torch.float64, requires_grad=True)
    for tap in cell_features(backbone, image):
        assert tap.shape[2:] == (4, 3)
        for row, column in ((0, 0), (1, 1), (2, 0)):
            (gradient,) = torch.autograd.grad(
                tap[0, :, row, column].sum(), image, retain_graph=True
            )
            y, x = centroid(gradient[0].sum(0))
            assert y == pytest.approx((row + 0.5) * stride, abs=1e-6)
            assert x == pytest.approx((column + 0.5) * stride, abs=1e-6)


def centroid(weights: Tensor) -> tuple[float, float]:
    assert weights.sum() > 0
    weights = weights / weights.sum()
    y = (weights.sum(1) * torch.arange(len(weights))).sum()
    x = (weights.sum(0) * torch.arange(weights.shape[1])).sum()
    return y.item(), x.item()


@pytest.mark.parametrize(("name", "stride"), KINDS)
def test_taps_have_the_channels_and_the_grid_that_are_promised(name: str, stride: int) -> None:
    backbone = build(name, stride)
    for height, width in ((33, 64), (40, 47)):
        images = torch.rand(1, 3, height, width)
        expected = [(1, c, -(-height // stride), -(-width // stride)) for c in backbone.channels]
        with torch.inference_mode():
            assert [tap.shape for tap in backbone(images)] == expected
            assert [tap.shape for tap in cell_features(backbone, images)] == expected


def test_resnet38_has_the_widths_of_the_papers() -> None:
    with torch.device("meta"):
        backbone = build_backbone("resnet38d", output_stride=8)
        shapes = [tuple(tap.shape) for tap in backbone(torch.rand(1, 3, 32, 32))]
        weights = sum(p.numel() for p in backbone.parameters())
    assert backbone.channels == (512, 1024, 4096)
    assert shapes == [(1, 512, 4, 4), (1, 1024, 4, 4), (1, 4096, 4, 4)]
    assert 105e6 < weights < 125e6


def test_resnet38_taps_are_after_norm_and_relu() -> None:
    taps = build("resnet38d", 8)(torch.rand(2, 3, 32, 32))
    for tap in taps:
        assert (tap >= 0).all()
        assert (tap == 0).any()
        assert (tap > 0).any()


def test_random_weights_keep_the_scale_of_the_signal() -> None:
    for name in ("resnet38d", "resnet18", "mobilenet_v2"):
        torch.manual_seed(0)
        taps = build(name, 8).train()(torch.rand(4, 3, 64, 64))
        assert all(1e-2 < tap.std() < 1e2 for tap in taps), name


def test_published_weights_load_strictly_without_their_head() -> None:
    torch.manual_seed(1)
    source = build("resnet18", 8).body.state_dict()
    state = {**source, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    target = build("resnet18", 16)
    target.load_pretrained(state)
    assert torch.equal(target.body.state_dict()["conv1.weight"], source["conv1.weight"])
    del state["layer3.0.conv1.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key.*layer3\.0\.conv1\.weight"):
        target.load_pretrained(state)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        target.load_pretrained({**source, "layer9.weight": torch.zeros(1)})


def test_frozen_batch_norm_has_no_gradient_and_keeps_its_statistics() -> None:
    backbone = build("resnet38d", 8).train()
    freeze_batch_norm(backbone)
    norms = [part for part in backbone.modules() if isinstance(part, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]  # type: ignore[union-attr]
    backbone(torch.rand(2, 3, 16, 16))[2].sum().backward()
    for norm, mean in zip(norms, before, strict=True):
        assert norm.weight.grad is None
        assert norm.running_mean is not None
        assert torch.equal(norm.running_mean, mean)


@pytest.mark.parametrize(
    ("name", "stride", "width", "message"),
    [
        ("resnet18", 4, 1.0, "output_stride: expected 8, 16 or 32, got 4"),
        ("resnet38d", 16, 1.0, "output_stride: resnet38d has 8, got 16"),
        ("resnet18", 8, 0.5, "width: only resnet38d can be scaled, got 0.5 for resnet18"),
        ("vgg", 8, 1.0, "name: expected one of resnet38d, .*, got 'vgg'"),
    ],
)
def test_bad_arguments_are_named(name: str, stride: int, width: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_backbone(name, output_stride=stride, width=width)
