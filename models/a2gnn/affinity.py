"""The affinity CNN of A2GNN (Zhang et al., section 4.3): how alike are two nearby cells?

Cells are compared with the cells at fixed offsets (dy, dx), so everything about pairs is a table
(B, K, h, w) over K offsets: entry [b, k, y, x] is the pair of (y, x) and (y + dy_k, x + dx_k).
Pairs that leave the map do not exist: they are no labels, carry no weight and no gradient (the
public code pads labels with 0 there, which makes them background).

A2GNN: https://arxiv.org/abs/2106.04054.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from models.backbones import Backbone, build_backbone, cell_features
from models.ops.labels import UNKNOWN

Offset = tuple[int, int]
#: The public code's log(. + 1e-5): bounds the loss of a pair that is wrongly taken for one.
EPSILON = 1e-5


def window_offsets(radius: int, window: Literal["disc", "square"]) -> list[Offset]:
    """The offsets (dy, dx) of the cells that see one another, (0, 0) included, in reading order.

    Args:
        radius: cells, >= 1.
        window: "disc" is eq. 7, |offset| <= radius; "square" is the public code's window.
    """
    reach = range(-radius, radius + 1)
    inside = {
        "disc": lambda dy, dx: dy * dy + dx * dx <= radius * radius,
        "square": lambda *_: True,
    }
    return [(dy, dx) for dy in reach for dx in reach if inside[window](dy, dx)]


def half_plane(offsets: Sequence[Offset]) -> list[Offset]:
    """The offsets after (0, 0) in reading order: every unordered pair once, no cell with itself."""
    return [offset for offset in offsets if offset > (0, 0)]


def _spans(length: int, step: int) -> tuple[slice, slice]:
    """The indices i along one axis for which i + step exists, and those i + step."""
    count = max(length - abs(step), 0)
    first = max(-step, 0)
    return slice(first, first + count), slice(first + step, first + step + count)


def _pair_slices(
    size: tuple[int, int], offset: Offset
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where the first and where the second cells of the pairs of one offset lie."""
    (first_rows, second_rows), (first_columns, second_columns) = (
        _spans(length, step) for length, step in zip(size, offset, strict=True)
    )
    return (first_rows, first_columns), (second_rows, second_columns)


class _PairDistances(torch.autograd.Function):
    """Keeps the features alone for the backward pass, where autograd would keep K copies."""

    @staticmethod
    def forward(ctx: FunctionCtx, features: Tensor, offsets: tuple[Offset, ...]) -> Tensor:
        ctx.save_for_backward(features)
        ctx.offsets = offsets  # type: ignore[attr-defined]
        batch, _, height, width = features.shape
        distances = features.new_zeros(batch, len(offsets), height, width)
        for k, offset in enumerate(offsets):
            (ys, xs), (ys2, xs2) = _pair_slices((height, width), offset)
            difference = features[:, :, ys, xs] - features[:, :, ys2, xs2]
            distances[:, k, ys, xs] = difference.abs_().mean(1)
        return distances

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        (features,) = ctx.saved_tensors  # type: ignore[attr-defined]
        grad = torch.zeros_like(features)
        channels, height, width = features.shape[1:]
        weights = grads[0] / channels
        for k, offset in enumerate(ctx.offsets):  # type: ignore[attr-defined]
            (ys, xs), (ys2, xs2) = _pair_slices((height, width), offset)
            part = (features[:, :, ys, xs] - features[:, :, ys2, xs2]).sign_()
            part *= weights[:, k, None, ys, xs]
            grad[:, :, ys, xs] += part
            grad[:, :, ys2, xs2] -= part
        return grad, None


def pair_distances(features: Tensor, offsets: Sequence[Offset]) -> Tensor:
    """The mean absolute difference of features, the exponent of eq. 8.

    Peak memory is that of the features plus one slice of them, forward and backward.

    Args:
        features: F_A (B, C, h, w).
        offsets: K pairs (dy, dx).

    Returns:
        (B, K, h, w), >= 0; 0 where the pair leaves the map. D of eq. 8 is exp(-distance).
    """
    distances: Tensor = _PairDistances.apply(features, tuple(offsets))
    return distances


def pairs_within(valid: Tensor, offsets: Sequence[Offset]) -> Tensor:
    """Which pairs lie on the map with both cells valid.

    Args:
        valid: bool (B, h, w); False for cells that are only padding.
        offsets: K pairs (dy, dx).

    Returns:
        bool (B, K, h, w).
    """
    batch, height, width = valid.shape
    pairs = valid.new_zeros(batch, len(offsets), height, width)
    for k, offset in enumerate(offsets):
        (ys, xs), (ys2, xs2) = _pair_slices((height, width), offset)
        pairs[:, k, ys, xs] = valid[:, ys, xs] & valid[:, ys2, xs2]
    return pairs


def pair_labels(labels: Tensor, offsets: Sequence[Offset]) -> Tensor:
    """Eq. 6: 1 where both cells carry the same label, 0 where two, 255 where either is unknown.

    Args:
        labels: uint8 (B, h, w), 255 = unknown.
        offsets: K pairs (dy, dx).

    Returns:
        uint8 (B, K, h, w); 255 also where the pair leaves the map.
    """
    batch, height, width = labels.shape
    pairs = labels.new_full((batch, len(offsets), height, width), UNKNOWN)
    for k, offset in enumerate(offsets):
        (ys, xs), (ys2, xs2) = _pair_slices((height, width), offset)
        first, second = labels[:, ys, xs], labels[:, ys2, xs2]
        same = (first == second).to(labels.dtype)
        unknown = (first == UNKNOWN) | (second == UNKNOWN)
        pairs[:, k, ys, xs] = same.masked_fill(unknown, UNKNOWN)
    return pairs


def _mean_over(values: Tensor, selected: Tensor) -> Tensor:
    """The mean of the chosen values; 0, with a gradient of 0, when none is chosen."""
    return (values * selected).sum() / selected.sum().clamp(min=1)


def affinity_loss(
    distances: Tensor,
    labels: Tensor,
    offsets: Sequence[Offset],
    balance: Literal["paper", "psa"] = "paper",
) -> Tensor:
    """The cross entropy L_Ac of the pairs whose labels are known.

    -log D is the distance itself and needs no care; -log(1 - D) is taken as -log(1 - D + 1e-5),
    which is finite for equal features. A kind of pair that does not occur adds 0.

    Args:
        distances: from `pair_distances`.
        labels: uint8 (B, h, w), 255 = unknown.
        offsets: the same K offsets, one of each unordered pair (`half_plane`).
        balance: "paper" is eq. 10, alike + unlike; "psa" is the public code's
            background / 4 + foreground / 4 + unlike / 2, each the mean over its own pairs.
    """
    targets = pair_labels(labels, offsets)
    alike = targets == 1
    unlike = _mean_over(-torch.log(-torch.expm1(-distances) + EPSILON), targets == 0)
    if balance == "paper":
        return _mean_over(distances, alike) + unlike
    ground = (labels == 0).unsqueeze(1)
    alike_ground = _mean_over(distances, alike & ground)
    alike_object = _mean_over(distances, alike & ~ground)
    return alike_ground / 4 + alike_object / 4 + unlike / 2


def gaussian_weights(
    colours: Tensor, offsets: Sequence[Offset], sigma_xy: float, sigma_rgb: float
) -> Tensor:
    """Eq. 13: pairs near in place and colour weigh much.

    Args:
        colours: normalised RGB on the cells (B, 3, h, w), from `models.ops.colours`.
        offsets: K pairs (dy, dx).
        sigma_xy: cells.
        sigma_rgb: in units of normalised RGB.

    Returns:
        (B, K, h, w) in [0, 1]; 0 for pairs that leave the map and for a cell with itself.
    """
    batch, _, height, width = colours.shape
    weights = colours.new_zeros(batch, len(offsets), height, width)
    for k, (dy, dx) in enumerate(offsets):
        if (dy, dx) == (0, 0):
            continue
        (ys, xs), (ys2, xs2) = _pair_slices((height, width), (dy, dx))
        # differs from the paper: squared norms, as in every Gaussian and in the public code
        colour = (colours[:, :, ys, xs] - colours[:, :, ys2, xs2]).square().sum(1)
        distance = (dy * dy + dx * dx) / (2 * sigma_xy**2)
        weights[:, k, ys, xs] = torch.exp(-distance - colour / (2 * sigma_rgb**2))
    return weights


def affinity_regularizer(distances: Tensor, weights: Tensor, pairs: Tensor) -> Tensor:
    """Eq. 12: pairs that look alike should have like features, labelled or not.

    Args:
        distances: from `pair_distances`.
        weights: from `gaussian_weights`.
        pairs: bool, from `pairs_within`.
    """
    # differs from the paper: a mean over the pairs, where eq. 12 prints a sum that would grow
    # with the image and drown eq. 10; the public code takes a mean too
    return _mean_over(distances * weights, pairs)


class AffinityHead(nn.Module):
    """Three taps to F_A: each reduced by a 1x1 convolution, joined, mixed by another."""

    def __init__(self, channels: Sequence[int], reduced: Sequence[int]) -> None:
        """Build the head.

        Args:
            channels: of the taps.
            reduced: of their reductions, 64, 128 and 256 in the paper; a tap that has fewer
                channels keeps its own number.
        """
        super().__init__()
        widths = [min(pair) for pair in zip(channels, reduced, strict=True)]
        self.reductions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 1, bias=False)
            for inputs, outputs in zip(channels, widths, strict=True)
        )
        self.mix = nn.Conv2d(sum(widths), sum(widths), 1, bias=False)
        for weight in self.reductions.parameters():
            nn.init.kaiming_normal_(weight)
        nn.init.xavier_uniform_(self.mix.weight, gain=4)

    def forward(self, taps: Sequence[Tensor]) -> Tensor:
        """Taps (B, C_k, h, w) -> F_A (B, sum of the reduced channels, h, w)."""
        reduced = [F.elu(layer(tap)) for layer, tap in zip(self.reductions, taps, strict=True)]
        return F.elu(self.mix(torch.cat(reduced, dim=1)))


class AffinityNet(nn.Module):
    """A backbone with an affinity head."""

    def __init__(self, backbone: Backbone, reduced: Sequence[int]) -> None:
        """Put a new head on `backbone`; `reduced` as for `AffinityHead`."""
        super().__init__()
        self.backbone = backbone
        self.head = AffinityHead(backbone.channels, reduced)

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """RGB in [0, 1] (B, 3, H, W) -> the taps and F_A, on the cells of the image."""
        taps = cell_features(self.backbone, images)
        return taps, self.head(taps)


@dataclass(frozen=True)
class AffinitySpec:
    """What an affinity CNN is made of, and the window it was trained with.

    Attributes:
        backbone: a name of models.backbones.
        width: channel multiplier.
        output_stride: pixels per cell.
        reduced: as for `AffinityHead`.
        radius: of the window, cells.
        window: as for `window_offsets`.
    """

    backbone: str
    width: float
    output_stride: int
    reduced: tuple[int, ...]
    radius: int
    window: Literal["disc", "square"]

    def build(self) -> AffinityNet:
        """The network with random weights.

        Raises:
            ValueError: as `build_backbone`, or `reduced` has another length than the taps.
        """
        backbone = build_backbone(self.backbone, output_stride=self.output_stride, width=self.width)
        if len(self.reduced) != len(backbone.channels):
            expected = f"expected {len(backbone.channels)} numbers"
            raise ValueError(f"reduced: {expected}, found {list(self.reduced)}")
        return AffinityNet(backbone, self.reduced)


def graph_edges(features: Tensor, offsets: Sequence[Offset], threshold: float) -> Tensor:
    """Eq. 14: the affinity of every node to the nodes of its window.

    Args:
        features: F_A of one image (C, h, w).
        offsets: K pairs (dy, dx), symmetric, (0, 0) included: `window_offsets`.
        threshold: sigma; weaker edges are 0.

    Returns:
        (N, K) in [0, 1]; 0 where the pair leaves the map; 1 of a node with itself.
    """
    height, width = features.shape[1:]
    table = features.new_zeros(len(offsets), height, width)
    rows = {offset: k for k, offset in enumerate(offsets)}
    table[rows[0, 0]] = 1
    half = half_plane(offsets)
    distances = pair_distances(features.unsqueeze(0), half)[0]
    for k, (dy, dx) in enumerate(half):
        here, there = _pair_slices((height, width), (dy, dx))
        affinity = torch.exp(-distances[k][here])
        affinity = affinity * (affinity > threshold)
        table[rows[dy, dx]][here] = affinity
        table[rows[-dy, -dx]][there] = affinity
    return table.view(len(offsets), height * width).t().contiguous()


def node_features(maps: Sequence[Tensor]) -> Tensor:
    """Eq. 15: the features of every node, made to sum to 1.

    # differs from the paper: negative features are cut to 0. A sum that can vanish is no measure,
    # and attention by cosine (eq. 18) expects features without sign, as ResNet-38's are after
    # their ReLU.

    Args:
        maps: feature maps of one image, (C_k, h, w) each.

    Returns:
        (N, sum of C_k), rows that sum to 1; a row without positive features stays 0.
    """
    nodes = torch.cat([part.flatten(1) for part in maps]).t().relu()
    return nodes / nodes.sum(1, keepdim=True).clamp(min=torch.finfo(nodes.dtype).tiny)
