"""WSID-Net: one backbone, and branches for saliency, boundaries and centroids (section 3, fig. 2).

Everything is on cells of 4 pixels. The saliency branch is DeepLab's head; the other two see the
five maps of the backbone through cross-layer attention. Without mixing, attention and enhancement
they are IRN's.

# differs from the paper: offsets have a sign, so that no sigmoid ends the centroid branch, and the
# mean of all offsets is subtracted, as in IRN (here a running one, there from a pass of its own).

The paper is silent on the kernels of the centroid branch. Here they are 3x3 and reach over a small
object, 2 + 4 cells: from the features of one place, which IRN takes from ImageNet's backbone, a
backbone of 100 drawn images cannot tell where a centroid lies.

WSID-Net: https://arxiv.org/abs/2111.10137. IRN: https://arxiv.org/abs/1904.05044.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from annotated_types import Gt, Len, MultipleOf
from torch import Tensor, nn

from models.backbones import build_backbone
from models.deeplab import Head, aspp_head
from models.ops.grid import grid_size
from models.pyramid import Pyramid
from models.wsid.attention import Connection, LevelMixing, MutualAttention
from models.wsid.enhancement import BoundaryEnhancement, Enhancement, Thresholds
from models.wsid.fusion import Fusion, Instance, salient_instances

#: Pixels per cell.
CELL = 4
#: Of the running mean of the offsets: the weight of the last batch.
MOMENTUM = 0.1
#: Images are padded to a multiple of the largest stride of any backbone here.
MULTIPLE = 32


@dataclass(frozen=True)
class Branches:
    """What the branches are made of, described in params.yaml.

    Attributes:
        saliency_channels: of the hidden layers of DeepLab's head.
        rates: its dilations, in cells of the backbone.
        channels: of the five levels in the other branches.
        mixing: whether the levels are mixed (CFM).
        mutual: how channel and spatial attention are connected (MA).
        enhancement: parts of Boundary Enhancement.
        canny: thresholds of its operator.
        enhancement_channels: of each of its two maps.
        detached: boundaries and centroids do not train the backbone, as in IRN.
    """

    saliency_channels: Annotated[int, Gt(0)]
    rates: Annotated[tuple[Annotated[int, Gt(0)], ...], Len(1)]
    channels: Annotated[int, Gt(0), MultipleOf(4)]
    mixing: bool
    mutual: Connection
    enhancement: Enhancement
    canny: Thresholds
    enhancement_channels: Annotated[int, Gt(0), MultipleOf(4)]
    detached: bool


class Maps(NamedTuple):
    """What the branches say of the cells.

    Attributes:
        saliency: logits (B, h, w).
        boundaries: logits (B, h, w).
        offsets: (dy, dx) to the centroid, in cells (B, 2, h, w).
    """

    saliency: Tensor
    boundaries: Tensor
    offsets: Tensor


class WSIDNet(nn.Module):
    """The network.

    Attributes:
        pyramid: owns the backbone.
        saliency: the head of the saliency branch.
    """

    mean_offset: Tensor

    def __init__(self, pyramid: Pyramid, branches: Branches) -> None:
        """Put new branches on `pyramid`."""
        super().__init__()
        self.pyramid = pyramid
        self.detached = branches.detached
        head = Head("aspp", branches.saliency_channels, branches.rates)
        self.saliency = aspp_head(pyramid.map_channels[-1], 1, head)
        inputs, width = pyramid.map_channels, branches.channels
        self.reduced = _Reduction(pyramid, width)
        # mixed, both branches have the same levels; apart, each has a reduction of its own
        self.mixing = LevelMixing(len(inputs), width) if branches.mixing else None
        self.reduced_apart = None if branches.mixing else _Reduction(pyramid, width)
        self.attention = None
        if branches.mutual != "none":
            self.attention = nn.ModuleList(
                _Attention(len(inputs), width, branches.mutual) for _ in range(2)
            )
        self.enhancement = None
        extra = 0
        if branches.enhancement != "none":
            extra = 2 * branches.enhancement_channels
            self.enhancement = BoundaryEnhancement(
                branches.enhancement_channels, branches.enhancement, branches.canny
            )
        self.boundary = nn.Conv2d(len(inputs) * width + extra, 1, 1)
        self.high = _layer(2 * width, width, reach=2)
        self.centroid = nn.Sequential(
            _layer((len(inputs) - 1) * width, 2 * width, reach=4),
            nn.Conv2d(2 * width, 2, 1, bias=False),
        )
        self.register_buffer("mean_offset", torch.zeros(2))

    def forward(self, images: Tensor) -> Maps:
        """RGB in [0, 1] (B, 3, H, W) -> maps on ceil(H / 4) x ceil(W / 4) cells."""
        height, width = images.shape[-2:]
        rows, columns = grid_size((height, width), CELL)
        padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        padded = F.pad(images, padding, mode="replicate")
        maps = self.pyramid.maps(padded)
        size = (padded.shape[-2] // CELL, padded.shape[-1] // CELL)
        scores = on_cells(self.saliency(maps[-1]), self.pyramid.map_strides[-1], size)[:, 0]
        if self.detached:
            maps = [one.detach() for one in maps]
        edges, offsets = self._boundaries_and_offsets(padded, maps, size)
        return Maps(
            scores[:, :rows, :columns],
            edges[:, :rows, :columns],
            self._shifted(offsets[..., :rows, :columns]),
        )

    def _boundaries_and_offsets(
        self, images: Tensor, maps: Sequence[Tensor], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        outlined = centred = self.reduced(maps, size)
        if self.mixing is not None:
            outlined = centred = self.mixing(outlined)
        if self.reduced_apart is not None:
            centred = self.reduced_apart(maps, size)
        if self.attention is not None:
            first, second = self.attention
            outlined, centred = first(outlined), second(centred)
        low = [] if self.enhancement is None else self.enhancement(images)
        edges = self.boundary(torch.cat([*outlined, *low], 1))[:, 0]
        *shallow, fourth, fifth = centred
        high = self.high(torch.cat([fourth, fifth], 1))
        return edges, self.centroid(torch.cat([high, *shallow], 1))

    def _shifted(self, offsets: Tensor) -> Tensor:
        """Without their mean over all images; a loss of differences cannot tell what it is."""
        if self.training and self.high[0].weight.requires_grad:  # while the branch learns
            mean = offsets.detach().mean((0, 2, 3)).float()
            self.mean_offset.lerp_(mean, MOMENTUM)
        return offsets - self.mean_offset.view(2, 1, 1).to(offsets.dtype)


class _Reduction(nn.Module):
    """The maps of a backbone on the cells, with as many channels each."""

    def __init__(self, pyramid: Pyramid, channels: int) -> None:
        super().__init__()
        self.strides = pyramid.map_strides
        self.layers = nn.ModuleList(_layer(count, channels) for count in pyramid.map_channels)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        return [
            on_cells(layer(one), stride, size)
            for layer, one, stride in zip(self.layers, maps, self.strides, strict=True)
        ]


class _Attention(nn.Module):
    """A unit per level."""

    def __init__(self, levels: int, channels: int, connection: Connection) -> None:
        super().__init__()
        self.units = nn.ModuleList(MutualAttention(channels, connection) for _ in range(levels))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [unit(one) for unit, one in zip(self.units, maps, strict=True)]


def on_cells(maps: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """A map of the backbone, read bilinearly at the centres of the cells.

    Feature (i, j) is sampled at pixel (i stride, j stride); to stretch the map over the image
    instead would move the deep levels against the shallow ones, by up to half a stride.

    Args:
        maps: (B, C, H / stride, W / stride).
        stride: pixels per feature.
        size: (h, w) cells.

    Returns:
        (B, C, h, w).
    """
    places = []
    for cells, features in zip(size, maps.shape[-2:], strict=True):
        centres = (torch.arange(cells, device=maps.device) + 0.5) * CELL - 0.5
        places.append((2 * centres / stride + 1) / features - 1)
    grid = torch.stack(torch.meshgrid(places[1], places[0], indexing="xy"), -1)
    grid = grid.to(maps.dtype).expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)


def _layer(inputs: int, outputs: int, reach: int = 0) -> nn.Sequential:
    """IRN's: a convolution, 1x1 or 3x3 with neighbours `reach` cells away, group norm, ReLU."""
    kernel = 3 if reach else 1
    convolution = nn.Conv2d(
        inputs, outputs, kernel, padding=reach, dilation=max(reach, 1), bias=False
    )
    return nn.Sequential(convolution, nn.GroupNorm(4, outputs), nn.ReLU())


@dataclass(frozen=True)
class WSIDSpec:
    """What a WSID-Net is made of.

    Attributes:
        backbone: a name of models.backbones.
        width: channel multiplier.
        output_stride: pixels per feature of the deepest map.
        side: pixels; images are seen scaled to this longer side.
        branches: see `Branches`.
        fusion: what makes instances of the maps.
    """

    backbone: str
    width: float
    output_stride: int
    side: int
    branches: Branches
    fusion: Fusion

    def build(self) -> WSIDNet:
        """The network with random weights; raises as `build_backbone`."""
        body = build_backbone(self.backbone, output_stride=self.output_stride, width=self.width)
        return WSIDNet(Pyramid(body, self.backbone), self.branches)

    def detect(self, network: WSIDNet, image: Tensor) -> list[Instance]:
        """The salient instances of an image, the surest first.

        Args:
            network: of this spec, in eval mode.
            image: RGB in [0, 1] (3, H, W).
        """
        height, width = image.shape[-2:]
        factor = self.side / max(height, width)
        rows, columns = max(round(height * factor), 1), max(round(width * factor), 1)
        view = image[None]
        if (rows, columns) != (height, width):
            view = F.interpolate(view, (rows, columns), mode="bilinear", antialias=True)
        with torch.inference_mode():
            maps = network(view)
        found = salient_instances(
            maps.saliency[0].sigmoid(),
            maps.boundaries[0].sigmoid(),
            maps.offsets[0],
            (rows, columns),
            CELL,
            self.fusion,
        )
        if (rows, columns) == (height, width):
            return found
        return [Instance(_resized(one.mask, (height, width)), one.score) for one in found]


def _resized(mask: npt.NDArray[np.bool_], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    values = torch.from_numpy(mask)[None, None].to(torch.uint8)
    found = F.interpolate(values, size, mode="nearest-exact")[0, 0].numpy()
    return np.asarray(found > 0)
