"""Backbones with three taps at one output stride: what CAM, the affinity CNN and DeepLab share.

A backbone takes RGB in [0, 1] and normalises it itself, so that no caller can forget to. Its
strided 3x3 convolutions (padding 1) sample an image at pixels 0, s, 2s, ...; `cell_features` shifts
the image so that feature (i, j) is centred on the cell it stands for.

ResNet: https://arxiv.org/abs/1512.03385. MobileNetV2: https://arxiv.org/abs/1801.04381.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.ops.colours import COLOUR_SPREAD, MEAN_COLOUR
from models.ops.grid import grid_size
from models.resnet38 import ResNet38

NAMES = ("resnet38d", "resnet18", "resnet50", "resnet101", "mobilenet_v2")


class Backbone(nn.Module):
    """A network that gives three feature maps, the taps, shallow to deep.

    Attributes:
        body: owns the weights; normalised RGB -> taps by name.
        channels: channels of the three taps.
        output_stride: pixels per feature, 8, 16 or 32.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        body: nn.Module,
        channels: tuple[int, int, int],
        output_stride: int,
        unused: tuple[str, ...] = (),
    ) -> None:
        """Wrap `body`; published weights whose names start with one of `unused` are ignored."""
        super().__init__()
        self.body = body
        self.channels = channels
        self.output_stride = output_stride
        self._unused = unused
        colour = {"mean": MEAN_COLOUR, "std": COLOUR_SPREAD}
        for name, values in colour.items():
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """RGB in [0, 1] (B, 3, H, W) -> three taps (B, C_k, ceil(H / s), ceil(W / s))."""
        height, width = images.shape[-2:]
        rows, _ = grid_size((height, width), self.output_stride)
        taps: list[Tensor] = list(self.body((images - self.mean) / self.std).values())
        # a tap above the output stride (stride 16) is read where the deepest one samples
        skips = [-(-tap.shape[-2] // rows) for tap in taps]
        return [tap[..., ::skip, ::skip] for tap, skip in zip(taps, skips, strict=True)]

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Load a published state_dict (torchvision's names, or PSA's); its head is left out.

        Raises:
            RuntimeError: a key is missing, superfluous, or of another shape.
        """
        weights = {key: value for key, value in state.items() if not key.startswith(self._unused)}
        self.body.load_state_dict(weights, strict=True)


def build_backbone(name: str, *, output_stride: int, width: float = 1.0) -> Backbone:
    """Build a backbone with random weights.

    Args:
        name: one of `NAMES`.
        output_stride: 8, 16, or 32, where nothing is dilated (resnet38d: 8).
        width: channel multiplier, resnet38d only.

    Raises:
        ValueError: unknown name, output stride or width.
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride: expected 8, 16 or 32, got {output_stride}")
    if name == "resnet38d":
        if output_stride != 8:
            raise ValueError(f"output_stride: resnet38d has 8, got {output_stride}")
        return _resnet38d(width)
    if width != 1.0:
        raise ValueError(f"width: only resnet38d can be scaled, got {width} for {name}")
    if name in ("resnet18", "resnet50", "resnet101"):
        return _resnet(name, output_stride)
    if name == "mobilenet_v2":
        return _mobilenet_v2(output_stride)
    raise ValueError(f"name: expected one of {', '.join(NAMES)}, got {name!r}")


def _resnet38d(width: float) -> Backbone:
    body = ResNet38(width)
    return Backbone(body, body.channels, 8, unused=("fc8.",))


def _resnet(name: str, output_stride: int) -> Backbone:
    from torchvision import models as tv  # takes a second, and not all who import us build one
    from torchvision.models.feature_extraction import create_feature_extractor

    body: tv.ResNet = getattr(tv, name)(weights=None)
    for layer, rate in zip((body.layer3, body.layer4), (2, 4), strict=True):
        if rate * 8 > output_stride:
            _dilate(layer, rate * 8 // output_stride)
    taps = create_feature_extractor(body, ["layer2", "layer3", "layer4"])
    depth = body.fc.in_features
    return Backbone(taps, (depth // 4, depth // 2, depth), output_stride, unused=("fc.",))


def _mobilenet_v2(output_stride: int) -> Backbone:
    from torchvision import models as tv
    from torchvision.models.feature_extraction import create_feature_extractor

    body = tv.mobilenet_v2(weights=None)
    if output_stride == 8:
        _dilate(body.features[7:14], 2)
        _dilate(body.features[14:18], 4)
    elif output_stride == 16:
        _dilate(body.features[14:18], 2)
    # without the last 1x1 convolution to 1280 channels
    taps = create_feature_extractor(body, ["features.6", "features.13", "features.17"])
    return Backbone(taps, (32, 96, 320), output_stride, unused=("classifier.", "features.18."))


def _dilate(block: nn.Module, rate: int) -> None:
    """Trade the stride of a block for dilation: what was strided gets half of `rate`."""
    for module in block.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        inner = rate
        if module.stride == (2, 2):
            module.stride = (1, 1)
            inner = rate // 2
        if module.kernel_size == (3, 3):
            module.dilation = (inner, inner)
            module.padding = (inner, inner)


def cell_features(backbone: Backbone, images: Tensor) -> list[Tensor]:
    """The taps on the cells of the image: cell (i, j) is centred on pixel ((i + 0.5) s - 0.5, ...).

    The image is extended by half a cell at the top and left (edge pixels repeated), which moves the
    sampling points to the cells' centres (to within half a pixel), and by what is missing at the
    bottom and right; the extra first row and column are dropped.

    # differs from the paper, which does not say where a feature lies; the public code stretches the
    # map over the image instead, which moves borders by up to half a cell.

    Args:
        backbone: stride s.
        images: RGB in [0, 1], (B, 3, H, W).

    Returns:
        Three tensors (B, C_k, ceil(H / s), ceil(W / s)).
    """
    stride = backbone.output_stride
    shift = stride // 2
    height, width = images.shape[-2:]
    rows, columns = grid_size((height, width), stride)
    bottom = max(stride * rows + 1 - shift - height, 0)
    right = max(stride * columns + 1 - shift - width, 0)
    padded = F.pad(images, (shift, right, shift, bottom), mode="replicate")
    return [tap[..., 1 : rows + 1, 1 : columns + 1] for tap in backbone(padded)]


def freeze_batch_norm(module: nn.Module) -> None:
    """Keep batch norm's statistics and weights as they are.

    `models.fit.fit` keeps what is frozen here in eval mode; elsewhere call again after `.train()`.
    """
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
            for parameter in part.parameters():
                parameter.requires_grad_(False)
