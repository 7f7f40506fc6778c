"""From the crop of a box to the mask of its object, whatever its class.

A U-Net (Ronneberger et al. 2015) on any backbone. Which object of the crop is meant the box tells,
as channels beside the deepest and the finest features.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones import build_backbone
from models.pyramid import Pyramid

BOX_CHANNELS = 3


def box_channels(boxes: Tensor, side: int) -> Tensor:
    """A box as three maps: how much of each cell it covers, and where the cell lies in it.

    Args:
        boxes: (B, 4) corners x0, y0, x1, y1 as shares of the crop.
        side: cells along each side.

    Returns:
        (B, 3, side, side): coverage in [0, 1]; x and y, -1 and 1 on the sides of the box, not
        beyond -2 and 2.
    """
    edges = torch.arange(side + 1, device=boxes.device, dtype=boxes.dtype) / side
    lower, upper = boxes[:, :2, None], boxes[:, 2:, None]
    covered = torch.minimum(upper, edges[1:]) - torch.maximum(lower, edges[:-1])
    covered = (covered * side).clamp(0, 1)  # (B, 2, side): along x, along y
    centres = (edges[1:] + edges[:-1]) / 2
    place = ((2 * centres - lower - upper) / (upper - lower)).clamp(-2, 2)
    inside = covered[:, 1, :, None] * covered[:, 0, None, :]
    across = place[:, 0, None, :].expand_as(inside)
    down = place[:, 1, :, None].expand_as(inside)
    return torch.stack([inside, across, down], 1)


class BoxMaskNet(nn.Module):
    """The network.

    Attributes:
        pyramid: the backbone.
        head: the decoder's blocks, deep to fine, and the layer that scores.
    """

    def __init__(self, pyramid: Pyramid, channels: tuple[int, ...], stride: int) -> None:
        """Put a new decoder on `pyramid`.

        Args:
            pyramid: the backbone.
            channels: of the decoder, from the deepest level to the finest.
            stride: pixels of the crop per cell of the mask; 1 adds a level on the colours.

        Raises:
            ValueError: not as many `channels` as levels.
        """
        super().__init__()
        self.pyramid = pyramid
        self.stride = stride
        inputs = [*pyramid.channels[::-1], *([3] if stride == 1 else [])]
        if len(channels) != len(inputs):
            raise ValueError(f"channels: expected {len(inputs)}, one per level, got {channels}")
        inputs[0] += BOX_CHANNELS
        inputs[-1] += BOX_CHANNELS
        before = (0, *channels)
        blocks = [
            _block(own + deeper, width)
            for own, deeper, width in zip(inputs, before[:-1], channels, strict=True)
        ]
        self.head = nn.ModuleList([*blocks, nn.Conv2d(channels[-1], 1, 1)])

    def forward(self, images: Tensor, boxes: Tensor) -> Tensor:
        """Crops (B, 3, S, S) in [0, 1] and `box_channels`' boxes -> logits (B, S / s, S / s)."""
        levels = self.pyramid(images)[::-1]
        if self.stride == 1:
            levels.append(images - 0.5)
        *blocks, score = self.head
        levels[0] = torch.cat([levels[0], box_channels(boxes, levels[0].shape[-1])], 1)
        levels[-1] = torch.cat([levels[-1], box_channels(boxes, levels[-1].shape[-1])], 1)
        features = blocks[0](levels[0])
        for block, level in zip(blocks[1:], levels[1:], strict=True):
            larger = F.interpolate(features, level.shape[-2:], mode="bilinear")
            features = block(torch.cat([larger, level], 1))
        logits: Tensor = score(features)[:, 0]
        return logits


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


@dataclass(frozen=True)
class BoxMaskSpec:
    """What the network is made of.

    Attributes:
        backbone: a name of models.backbones.
        width: channel multiplier.
        crop: side of the crops in pixels, a multiple of 16.
        margin: what a crop shows around the box on each side, a share of its width or height.
        stride: pixels of the crop per cell of the mask.
        channels: of the decoder, from the deepest level to the finest.
    """

    backbone: str
    width: float
    crop: int
    margin: float
    stride: Literal[1, 2]
    channels: tuple[int, ...]

    def build(self) -> BoxMaskNet:
        """The network with random weights; raises as `build_backbone` and `BoxMaskNet`."""
        output_stride = 8 if self.backbone == "resnet38d" else 16
        backbone = build_backbone(self.backbone, output_stride=output_stride, width=self.width)
        return BoxMaskNet(Pyramid(backbone, self.backbone), self.channels, self.stride)


@torch.inference_mode()
def predict_masks(network: nn.Module, images: Tensor, boxes: Tensor) -> Tensor:
    """Probability of the object in each cell of the crops, mean of the crop and its mirror image.

    Args:
        network: as BoxMaskNet, in eval mode.
        images: RGB in [0, 1], (B, 3, S, S).
        boxes: (B, 4), see `box_channels`.

    Returns:
        (B, S / s, S / s).
    """
    mirrored = torch.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], 1)
    seen = network(images, boxes).sigmoid()
    turned = network(images.flip(-1), mirrored).sigmoid().flip(-1)
    mean: Tensor = (seen + turned) / 2
    return mean
