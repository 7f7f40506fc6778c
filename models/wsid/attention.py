"""Cross-layer attention over the five maps of the backbone (WSID-Net section 3.3, eq. 5 to 7).

Mixing (CFM) lets every level see every other; its weights are shared by the boundary and the
centroid branch. Attention (MA), a unit per level and branch, weighs channels and places.

WSID-Net: https://arxiv.org/abs/2111.10137. The conventions that eq. 5 and 6 leave open
are CBAM's (https://arxiv.org/abs/1807.06521).
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

#: How the two attentions of a unit are connected; "none" is no attention.
Connection = Literal["none", "parallel", "channel_first", "spatial_first"]


def shuffle_channels(joined: Tensor, groups: int) -> Tensor:
    """Channels [groups, C] read as [C, groups]: neighbours are of different groups.

    Args:
        joined: (B, groups * C, h, w), the groups one after the other.
        groups: how many.
    """
    batch, channels, height, width = joined.shape
    split = joined.view(batch, groups, channels // groups, height, width)
    return split.transpose(1, 2).reshape(batch, channels, height, width)


class LevelMixing(nn.Module):
    """CFM: the levels joined, before and after a shuffle, and a 1x1 convolution to each level."""

    def __init__(self, levels: int, channels: int) -> None:
        """For so many levels of so many channels each."""
        super().__init__()
        self.levels = levels
        self.out = nn.ModuleList(
            nn.Conv2d(2 * levels * channels, channels, 1) for _ in range(levels)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, C, h, w), one per level -> as many."""
        joined = torch.cat(list(maps), 1)
        both = torch.cat([joined, shuffle_channels(joined, self.levels)], 1)
        return [layer(both) for layer in self.out]


class MutualAttention(nn.Module):
    """MA: a map weighed by channel and by place, side by side (eq. 7) or one after the other."""

    def __init__(self, channels: int, connection: Connection = "parallel", ratio: int = 16) -> None:
        """Build a unit.

        Args:
            channels: of the map.
            connection: "parallel" is eq. 7, the sum; the others are those of table 3.
            ratio: channels per feature of the hidden layer, of which there are 4 at least.
        """
        super().__init__()
        hidden = max(channels // ratio, 4)
        self.connection = connection
        self.shared = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )
        self.place = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        if self.connection == "parallel":
            return features * self.channel(features) + features * self.spatial(features)
        first, second = self.channel, self.spatial
        if self.connection == "spatial_first":
            first, second = second, first
        once = features * first(features)
        return once * second(once)

    def channel(self, features: Tensor) -> Tensor:
        """Eq. 5: a weight per channel (B, C, 1, 1)."""
        pooled = self.shared(features.mean((2, 3))) + self.shared(features.amax((2, 3)))
        return torch.sigmoid(pooled)[:, :, None, None]

    def spatial(self, features: Tensor) -> Tensor:
        """Eq. 6: a weight per place (B, 1, h, w)."""
        pooled = torch.cat([features.mean(1, keepdim=True), features.amax(1, keepdim=True)], 1)
        return torch.sigmoid(self.place(pooled))
