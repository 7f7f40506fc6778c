"""What IRSR adds to a Mask R-CNN before it ranks: a path, a mask head and a map (4.1, 4.2).

The bottom-up path and the mask head are those of PANet.

IRSR: https://arxiv.org/abs/2107.03824. PANet: https://arxiv.org/abs/1803.01534.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.detection import LEVELS, STRIDES
from models.irsr.graphs import Variant

#: Pixels per cell of the map that ranks are seen on.
MAP_STRIDE = 8
#: Channels of a group of the mask head's norms: 32 groups of the paper's 256.
GROUP = 8


class BottomUpPath(nn.Module):
    """Levels from fine to coarse once more: N_1 = P_1, N_l+1 = conv(half(N_l) + P_l+1).

    Attributes:
        halves: 3x3 with stride 2, one less than levels.
        joins: 3x3.
    """

    def __init__(self, channels: int) -> None:
        """New convolutions, without norms and activations, as in the public code."""
        super().__init__()
        steps = range(len(LEVELS) - 1)
        self.halves = nn.ModuleList(nn.Conv2d(channels, channels, 3, 2, 1) for _ in steps)
        self.joins = nn.ModuleList(nn.Conv2d(channels, channels, 3, 1, 1) for _ in steps)

    def forward(self, levels: "OrderedDict[str, Tensor]") -> "OrderedDict[str, Tensor]":
        """Levels "4" to "32" and "pool" -> the same, of the same sizes."""
        seen = levels[LEVELS[0]]
        result = OrderedDict({LEVELS[0]: seen})
        for name, half, join in zip(LEVELS[1:], self.halves, self.joins, strict=True):
            seen = result[name] = join(half(seen) + levels[name])
        result["pool"] = F.max_pool2d(seen, 1, 2)
        return result


class FusedMasks(nn.Module):
    """Mask logits of RoIs from two paths, added: convolutions, and all cells at once.

    Attributes:
        shared: two convolutions.
        local: one more, twice the size, and a logit per pixel.
        narrow: two more, to half the channels.
        whole: a logit per pixel from all cells.
    """

    def __init__(self, channels: int, side: int) -> None:
        """New layers for RoIs of (channels, side, side).

        Raises:
            ValueError: channels is no multiple of 16.
        """
        super().__init__()
        if channels % (2 * GROUP):
            raise ValueError(f"pyramid: expected a multiple of {2 * GROUP}, got {channels}")
        half = channels // 2
        self.shared = nn.Sequential(*_normed(channels, channels), *_normed(channels, channels))
        double = nn.ConvTranspose2d(channels, channels, 2, 2)
        last = nn.Conv2d(channels, 1, 1)
        self.local = nn.Sequential(*_normed(channels, channels), double, nn.ReLU(), last)
        self.narrow = nn.Sequential(*_normed(channels, half), *_normed(half, half))
        self.whole = nn.Linear(half * side**2, (2 * side) ** 2, bias=False)

    def forward(self, rois: Tensor) -> Tensor:
        """(N, C, s, s) -> logits (N, 2 s, 2 s)."""
        shared = self.shared(rois)
        local: Tensor = self.local(shared)[:, 0]
        whole: Tensor = self.whole(self.narrow(shared).flatten(1))
        return local + whole.view_as(local)


def _normed(inputs: int, channels: int) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return [layer, nn.GroupNorm(channels // GROUP, channels), nn.ReLU()]


class RankingMap(nn.Module):
    """F, the map that instances are ranked on: the backbone's maps at an eighth of the image.

    Attributes:
        levels: 1x1 of each map.
        last: 3x3, in the public code alone.
    """

    def __init__(self, inputs: Sequence[int], channels: int, variant: Variant) -> None:
        """New layers for maps of so many channels at `STRIDES`."""
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(each, channels, 1) for each in inputs)
        released = variant == "released"
        self.last = nn.Conv2d(channels, channels, 3, padding=1) if released else None

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (B, C_l, H / s, W / s) at `STRIDES` -> (B, C, H / 8, W / 8)."""
        parts = zip(self.levels, maps, STRIDES, strict=True)
        # a map that is made smaller first costs less to transform, and bilinear and 1x1 commute
        seen = [
            level(at_stride(one, stride)) if stride < MAP_STRIDE else at_stride(level(one), stride)
            for level, one, stride in parts
        ]
        total = torch.stack(seen).sum(dim=0)
        return total if self.last is None else self.last(total)


def at_stride(cells: Tensor, stride: int) -> Tensor:
    """Cells that stand for pixels 0, s, 2 s, ... at 0, 8, 16, ...; bilinear between them.

    # differs from the public code, which stretches the coarser maps until their corners meet.
    """
    if stride <= MAP_STRIDE:
        step = MAP_STRIDE // stride
        return cells[..., ::step, ::step]
    factor = stride // MAP_STRIDE
    size = [factor * side + 1 for side in cells.shape[-2:]]
    wider = F.pad(cells, (0, 1, 0, 1), mode="replicate")
    return F.interpolate(wider, size=size, mode="bilinear", align_corners=True)[..., :-1, :-1]
