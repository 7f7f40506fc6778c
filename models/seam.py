"""SEAM (Wang et al. 2020): a classifier whose maps stay with the object when it is resized.

Two views of an image, one of them smaller, go through one network. Four losses tie them together:

    tags                both views know the tags of the image;
    equivariance (ER)   the smaller image's maps are the image's maps made smaller;
    cross (ECR)         the refined maps of either view follow the plain maps of the other;
    min_pool            few pixels of the refined maps are active; it is in the public code alone
                        and moves the best background threshold.

The *pixel correlation module* (PCM) refines maps: a cell's score becomes the mean of the scores of
all cells, weighted by how alike their embeddings are. Its embedding sees colours and the two
shallow taps, its input maps are constants; so tags and ER train backbone and classifier, ECR and
min_pool the embedding alone.

All maps here are (B, C, h, w), C the categories without background; refined maps (B, 1 + C, h, w)
have the background first. The public code's head has a 21st class that no loss ever reaches; there
is none here.

SEAM: https://arxiv.org/abs/2004.04581.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.backbones import Backbone, cell_features
from models.ops.colours import cell_colours
from models.ops.grid import grid_size
from models.ops.multiscale import read_cells, stretched

#: Added to norms, sums and maxima, and subtracted from what is normalised, as in the public code.
EPSILON = 1e-5
#: Channels of the two reduced taps, at most.
REDUCED = (64, 128)
#: Columns of PCM's table that are made at once, which bounds the memory of inference.
BLOCK = 1024
#: The share of the pixels, the least active ones, that `min_pool_loss` looks at.
LEAST_ACTIVE = 0.25


class SeamView(NamedTuple):
    """What the network tells of one view.

    Attributes:
        logits: of the tags (B, C), the means of the maps over the view's cells.
        maps: evidence of any sign (B, C, h, w).
        refined: PCM's (B, 1 + C, h, w) in [0, 1], background first, on the same cells.
    """

    logits: Tensor
    maps: Tensor
    refined: Tensor


def correlation_scores(maps: Tensor) -> Tensor:
    """What PCM spreads: positive evidence by class, at each cell of the strongest class alone.

    Args:
        maps: evidence of any sign (B, C, h, w).

    Returns:
        (B, 1 + C, h, w) in [0, 1]; background is 1 - the strongest class.
    """
    positive = maps.relu()
    most = positive.amax((2, 3), keepdim=True) + EPSILON
    return _with_background((positive - EPSILON).relu() / most)


def _with_background(scores: Tensor) -> Tensor:
    """[B, C, h, w] in [0, 1] -> [B, 1 + C, h, w]: 1 - maximum, and what is less than it made 0."""
    strongest = scores.amax(1, keepdim=True)
    winners = scores.masked_fill(scores < strongest, 0)
    return torch.cat([1 - strongest, winners], dim=1)


def pixel_correlation(scores: Tensor, embedding: Tensor) -> Tensor:
    """PCM: y_j = sum_i a_ij s_i / (sum_i a_ij + 1e-5) with a_ij = max(0, cos(f_i, f_j)).

    The N x N table a is made anew for the backward pass, image by image, and kept for none.

    Args:
        scores: s (B, K, h, w), N = h w; a constant, or with a gradient of its own.
        embedding: f (B, D, h, w), of any sign.

    Returns:
        (B, K, h, w); in [0, 1] where the scores are.
    """
    refined: list[Tensor] = []
    for score, feature in zip(scores.flatten(2), embedding.flatten(2), strict=True):
        if torch.is_grad_enabled():
            refined.append(
                checkpoint(
                    _correlate, score, feature, use_reentrant=False, preserve_rng_state=False
                )
            )
        else:
            refined.append(_correlate(score, feature))
    return torch.stack(refined).view_as(scores)


def _correlate(scores: Tensor, features: Tensor) -> Tensor:
    """[K, N] and [D, N] -> [K, N]."""
    units = features / (features.norm(dim=0, keepdim=True) + EPSILON)
    rows = torch.cat([scores, torch.ones_like(scores[:1])])
    blocks = [rows @ (units.t() @ block).relu_() for block in units.split(BLOCK, dim=1)]
    sums = torch.cat(blocks, dim=1)  # [K + 1, N]
    return sums[:-1] / (sums[-1:] + EPSILON)


class PixelEmbedding(nn.Module):
    """What PCM compares: colours and the two shallow taps, each reduced, mixed by a convolution."""

    def __init__(self, channels: tuple[int, int]) -> None:
        """Build it for taps of so many channels."""
        super().__init__()
        widths = [min(pair) for pair in zip(channels, REDUCED, strict=True)]
        self.reductions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 1, bias=False)
            for inputs, outputs in zip(channels, widths, strict=True)
        )
        self.mix = nn.Conv2d(3 + sum(widths), sum(widths), 1, bias=False)
        for weight in self.reductions.parameters():
            nn.init.kaiming_normal_(weight)
        nn.init.xavier_uniform_(self.mix.weight, gain=4)

    def forward(self, colours: Tensor, taps: list[Tensor]) -> Tensor:
        """Normalised RGB (B, 3, h, w) and taps (B, C_k, h, w) -> (B, D, h, w).

        The taps are taken as constants: no gradient leaves the embedding.
        """
        reduced = [
            layer(tap.detach()).relu() for layer, tap in zip(self.reductions, taps, strict=True)
        ]
        return self.mix(torch.cat([colours, *reduced], dim=1))  # type: ignore[no-any-return]


class SeamClassifier(nn.Module):
    """Backbone, channel dropout, a 1x1 convolution without bias, and PCM on its maps."""

    def __init__(self, backbone: Backbone, categories: int, *, dropout: float = 0.5) -> None:
        """Put a new classifier and a new embedding on a backbone."""
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(backbone.channels[2], categories, 1, bias=False)
        nn.init.xavier_uniform_(self.head.weight)
        self.embedding = PixelEmbedding(backbone.channels[:2])

    def forward(self, images: Tensor, scale: float) -> tuple[SeamView, SeamView]:
        """The two views of the images, as they are and `scale` times as large.

        Args:
            images: RGB in [0, 1] (B, 3, H, W).
            scale: below 1; SEAM: 0.3.

        Returns:
            Both with their maps on the cells of the smaller images.
        """
        size = images.shape[-2], images.shape[-1]
        less = max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
        images = images.float()  # where training is in mixed precision they come as bfloat16
        first = self.view(images)
        second = self.view(F.interpolate(images, less, mode="bilinear", antialias=True))
        stride = self.backbone.output_stride
        maps, refined = (resize_maps(part, size, less, stride) for part in first[1:])
        return SeamView(first.logits, maps, refined), second

    def view(self, images: Tensor) -> SeamView:
        """RGB in [0, 1] (B, 3, H, W) -> logits, and maps on the cells of the images."""
        *shallow, deep = cell_features(self.backbone, images)
        maps: Tensor = self.head(self.dropout(deep)).float()
        colours = cell_colours(images, self.backbone.output_stride)
        embedding = self.embedding(colours, shallow).float()
        with torch.autocast(images.device.type, enabled=False):  # means over thousands of cells
            refined = pixel_correlation(correlation_scores(maps.detach()), embedding)
        return SeamView(maps.mean((2, 3)), maps, refined)

    def logits(self, images: Tensor) -> Tensor:
        """RGB in [0, 1] (B, 3, H, W) -> logits (B, categories), without PCM."""
        maps: Tensor = self.head(self.dropout(cell_features(self.backbone, images)[2]))
        return maps.float().mean((2, 3))

    def class_maps(self, images: Tensor) -> Tensor:
        """RGB in [0, 1] (B, 3, H, W) -> the refined maps (B, categories, h, w) in [0, 1]."""
        return self.view(images).refined[:, 1:]


def resize_maps(
    maps: Tensor, size: tuple[int, int], smaller: tuple[int, int], stride: int
) -> Tensor:
    """Maps on the cells of an image, read at the centres of the cells of the image resized.

    Args:
        maps: (B, C, ceil(H / stride), ceil(W / stride)).
        size: (H, W) of the image, pixels.
        smaller: (H', W') of the resized image, pixels.
        stride: pixels per cell, of both.

    Returns:
        (B, C, ceil(H' / stride), ceil(W' / stride)).
    """
    down, across = (
        (torch.arange(cells, device=maps.device) + 0.5) * (stride * old / new)
        for cells, old, new in zip(grid_size(smaller, stride), size, smaller, strict=True)
    )
    resized = read_cells(maps.flatten(0, 1), down, across, stride)
    return resized.view(*maps.shape[:2], *resized.shape[1:])


def equivariance_loss(first: Tensor, second: Tensor) -> Tensor:
    """ER: the mean absolute difference of the maps of both views.

    Args:
        first: `stretched` maps of the one view on the cells of the other, 0 for classes that the
            image does not have, (B, C, h, w) without background.
        second: those of the other view.
    """
    return (first - second).abs().mean()


def cross_loss(maps: Tensor, refined: Tensor, share: float) -> Tensor:
    """ECR of one side: the refined maps of a view against the maps of the other.

    The target is a constant: at each cell the strongest class of `maps` with its value, nothing of
    the others, and 1 - its value for the background.

    Args:
        maps: `stretched` maps of the other view, 0 for classes that the image does not have,
            (B, C, h, w) without background.
        refined: `stretched` maps of PCM, background first, (B, 1 + C, h, w), on the same cells.
        share: of each image's (1 + C) h w differences, the largest ones, that count. SEAM: 0.2.

    Returns:
        The mean of those differences over the batch.
    """
    differences = (_with_background(maps.detach()) - refined).abs().flatten(1)
    count = max(int(differences.shape[1] * share), 1)
    return differences.topk(count, dim=1).values.mean()


def min_pool_loss(refined: Tensor) -> Tensor:
    """The mean of the least active quarter of the pixels, each by its strongest class.

    Args:
        refined: PCM's maps, not normalised, 0 for classes that the image does not have,
            (B, C, h, w) without background.
    """
    strongest = refined.amax(1).flatten(1)
    count = max(int(strongest.shape[1] * LEAST_ACTIVE), 1)
    return strongest.topk(count, dim=1, largest=False).values.relu().mean()


def seam_losses(
    first: SeamView, second: SeamView, tags: Tensor, *, share: float, min_pool: bool
) -> dict[str, Tensor]:
    """All terms but that of the tags, each with weight 1, from the maps of both views.

    Args:
        first: the one view; its maps on the cells of the other.
        second: the other view.
        tags: 1 where the category is in the image, else 0; float (B, C).
        share: as for `cross_loss`.
        min_pool: with the term that the public code adds.

    Returns:
        "equivariance", "cross" (the sum of both sides) and perhaps "min_pool" (their mean).
    """
    present = tags[:, :, None, None]
    known = F.pad(present, (0, 0, 0, 0, 1, 0), value=1.0)  # the background is in every image
    one, two = (stretched(view.maps) * present for view in (first, second))
    fine_one, fine_two = (stretched(view.refined) * known for view in (first, second))
    terms = {
        "equivariance": equivariance_loss(one, two),
        "cross": cross_loss(two, fine_one, share) + cross_loss(one, fine_two, share),
    }
    if min_pool:
        sides = [min_pool_loss(view.refined[:, 1:] * present) for view in (first, second)]
        terms["min_pool"] = (sides[0] + sides[1]) / 2
    return terms
