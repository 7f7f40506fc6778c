"""Boundary Enhancement: low-level edges beside what the backbone sees (WSID-Net section 3.2.1).

A row and a column filter of the image, three residual blocks each; beside both the edges of Canny's
operator, with thresholds from the median of the grey image.

WSID-Net: https://arxiv.org/abs/2111.10137.
"""

from typing import Annotated, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

#: What of the module is there, as in table 4.
Enhancement = Literal["none", "streams", "canny", "both"]
#: The lower and the upper threshold: shares of the median, or grey levels where above 2.
Thresholds = tuple[Annotated[float, Ge(0)], Annotated[float, Ge(0)]]
#: A threshold of more than this is a grey level (table 5: 30 and 200, 230 and 260).
LARGEST_SHARE = 2.0


def canny_edges(images: Tensor, thresholds: Thresholds) -> Tensor:
    """Edges of Canny's operator.

    Args:
        images: RGB in [0, 1] (B, 3, H, W).
        thresholds: see `Thresholds`.

    Returns:
        1 on an edge, else 0: (B, 1, H, W), without a gradient.
    """
    found = []
    for image in images.detach().cpu():
        pixels = (image.permute(1, 2, 0).float().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
        median = float(np.median(grey))
        low, high = (t * median if t <= LARGEST_SHARE else t for t in thresholds)
        found.append(torch.from_numpy(cv2.Canny(grey, low, high)) > 0)
    return torch.stack(found)[:, None].to(images)


class BoundaryEnhancement(nn.Module):
    """The features f_b1 and f_b2, on cells of 4 pixels."""

    def __init__(self, channels: int, parts: Enhancement, thresholds: Thresholds) -> None:
        """Build it.

        Args:
            channels: of each of the two maps.
            parts: "both" is the paper's; the others are those of table 4.
            thresholds: of `canny_edges`.
        """
        super().__init__()
        self.parts = parts
        self.thresholds = thresholds
        has_streams, has_canny = parts in ("both", "streams"), parts in ("both", "canny")
        shapes = [(1, 7), (7, 1)] if has_streams else []
        self.streams = nn.ModuleList(_stream(channels, shape) for shape in shapes)
        inputs = has_streams * channels + has_canny
        self.out = nn.ModuleList(nn.Conv2d(inputs, channels, 1) for _ in range(2))

    def forward(self, images: Tensor) -> list[Tensor]:
        """RGB in [0, 1] (B, 3, H, W), sides multiples of 4 -> two maps (B, C, H / 4, W / 4)."""
        # a cell that an edge crosses anywhere has one
        edges = []
        if self.parts in ("both", "canny"):
            edges = [F.max_pool2d(canny_edges(images, self.thresholds), 4)]
        streams = [[stream(images)] for stream in self.streams] or [[], []]
        return [
            layer(torch.cat([*maps, *edges], 1))
            for layer, maps in zip(self.out, streams, strict=True)
        ]


def _stream(channels: int, shape: tuple[int, int]) -> nn.Sequential:
    """A filter along one axis and three residual blocks; cells of 4 pixels, averaged by halves."""
    padding = (shape[0] // 2, shape[1] // 2)
    return nn.Sequential(
        nn.Conv2d(3, channels, shape, padding=padding),
        nn.AvgPool2d(2),
        BasicBlock(channels, channels, norm_layer=_norm),
        nn.AvgPool2d(2),
        BasicBlock(channels, channels, norm_layer=_norm),
        BasicBlock(channels, channels, norm_layer=_norm),
    )


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(4, channels)
