"""DeepLab on any backbone: the final network, trained on the labels that the line has made.

Two heads on the deepest tap: atrous spatial pyramid pooling with image pooling (DeepLab-v3, Chen et
al. 2017) and the large field of view (DeepLab-v1/v2, Chen et al. 2016). Scores live on the cells of
the image (models/backbones.py) and are interpolated to its pixels, cell centres on their place.

DeepLab-v3: https://arxiv.org/abs/1706.05587. DeepLab-v2: https://arxiv.org/abs/1606.00915.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP

from models.backbones import Backbone, build_backbone, cell_features
from models.ops.labels import UNKNOWN


class Head(NamedTuple):
    """How the head is built.

    Attributes:
        kind: "aspp" or "largefov".
        channels: of its hidden layers; 256 (aspp) and 1024 (largefov) in the papers.
        rates: dilations in cells; several for aspp, one for largefov.
    """

    kind: Literal["aspp", "largefov"]
    channels: int
    rates: tuple[int, ...]


def aspp_head(inputs: int, classes: int, head: Head) -> nn.Sequential:
    """1x1, atrous and pooled branches side by side, then 3x3, then the scores."""
    return nn.Sequential(
        ASPP(inputs, head.rates, head.channels),
        nn.Conv2d(head.channels, head.channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(head.channels),
        nn.ReLU(),
        nn.Conv2d(head.channels, classes, 1),
    )


def largefov_head(inputs: int, classes: int, head: Head) -> nn.Sequential:
    """One atrous 3x3 convolution in the place of VGG's first fully connected layer.

    Raises:
        ValueError: not exactly one rate.
    """
    if len(head.rates) != 1:
        raise ValueError(f"rates: largefov has one, got {list(head.rates)}")
    rate = head.rates[0]
    return nn.Sequential(
        nn.Conv2d(inputs, head.channels, 3, padding=rate, dilation=rate),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(head.channels, head.channels, 1),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(head.channels, classes, 1),
    )


class DeepLab(nn.Module):
    """A backbone with one of the heads.

    Attributes:
        backbone: gives the cells.
        head: scores them.
    """

    def __init__(self, backbone: Backbone, *, classes: int, head: Head) -> None:
        """Put a new head for `classes` label values (background included) on `backbone`."""
        super().__init__()
        self.backbone = backbone
        build = {"aspp": aspp_head, "largefov": largefov_head}[head.kind]
        self.head = build(backbone.channels[-1], classes, head)

    def forward(self, images: Tensor) -> Tensor:
        """RGB in [0, 1] (B, 3, H, W) -> scores of the pixels (B, C, H, W)."""
        cells = self.head(cell_features(self.backbone, images)[-1])
        height, width = images.shape[-2:]
        return scores_to_pixels(cells, (height, width), self.backbone.output_stride)


@dataclass(frozen=True)
class DeepLabSpec:
    """What a DeepLab is made of.

    Attributes:
        backbone: a name of models.backbones.
        width: channel multiplier.
        output_stride: pixels per cell.
        classes: label values, background included.
        head: as `Head` has its kind.
        channels: as `Head`.
        rates: as `Head`.
    """

    backbone: str
    width: float
    output_stride: int
    classes: int
    head: Literal["aspp", "largefov"]
    channels: int
    rates: tuple[int, ...]

    def build(self) -> DeepLab:
        """The network with random weights; raises as `build_backbone` and `largefov_head`."""
        backbone = build_backbone(self.backbone, output_stride=self.output_stride, width=self.width)
        head = Head(self.head, self.channels, self.rates)
        return DeepLab(backbone, classes=self.classes, head=head)


def scores_to_pixels(cells: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """Bilinear between the centres of square cells, constant beyond the outermost.

    Args:
        cells: (B, C, ceil(H / stride), ceil(W / stride)).
        size: (H, W).
        stride: pixels per cell.

    Returns:
        (B, C, H, W).
    """
    pixels = F.interpolate(cells, scale_factor=stride, mode="bilinear", align_corners=False)
    return pixels[..., : size[0], : size[1]]


def segmentation_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy averaged over the labelled pixels; 0, with a gradient of 0, where none is.

    Args:
        scores: (B, C, H, W).
        labels: (B, H, W) label values below C, 255 = unknown.
    """
    total = F.cross_entropy(scores, labels.long(), ignore_index=UNKNOWN, reduction="sum")
    return total / (labels != UNKNOWN).sum().clamp(min=1)


@torch.inference_mode()
def predict(network: nn.Module, image: Tensor, scales: Sequence[float], flip: bool) -> Tensor:
    """Class probabilities of an image, averaged over sizes and mirrored views.

    Args:
        network: images to scores of their pixels, as DeepLab; in eval mode.
        image: RGB in [0, 1], (3, H, W).
        scales: factors of the image's size.
        flip: also mirrored.

    Returns:
        (C, H, W), sums over C to 1.
    """
    height, width = image.shape[-2:]
    views = []
    for scale in scales:
        size = [max(round(side * scale), 1) for side in (height, width)]
        view = image[None]
        if size != [height, width]:
            view = F.interpolate(view, size, mode="bilinear", align_corners=False, antialias=True)
        for mirrored in (False, True) if flip else (False,):
            scores = network(view.flip(-1)).flip(-1) if mirrored else network(view)
            if size != [height, width]:
                scores = F.interpolate(scores, (height, width), mode="bilinear")
            views.append(scores[0].softmax(0))
    return torch.stack(views).mean(0)
