"""What WSID-Net's branches learn from a batch, and how rounds of it are averaged (section 3.4).

WSID-Net: https://arxiv.org/abs/2111.10137.
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from models.ops.labels import UNKNOWN
from models.wsid.fusion import SALIENT
from models.wsid.network import Maps
from models.wsid.pair_losses import boundary_loss, centroid_loss, label_pairs
from models.wsid.paths import CellPath, path_affinities, search_paths
from models.wsid.subitizing import Counting, subitizing_loss


class Batch(NamedTuple):
    """Views of whole images, and what is known of them.

    Attributes:
        images: RGB in [0, 1] (B, 3, crop, crop).
        labels: of the cells (B, crop / 4, crop / 4), 0 background, 255 unknown.
        counts: of salient things (B,), -1 where not known.
    """

    images: Tensor
    labels: Tensor
    counts: Tensor


def all_losses(
    network: nn.Module, batch: Batch, *, radius: int, subitizing: float, counting: Counting
) -> dict[str, Tensor]:
    """All branches: saliency, boundaries, centroids, and the number of these.

    Args:
        network: a `WSIDNet`.
        batch: see `Batch`.
        radius: cells; nearer pairs are compared.
        subitizing: weight of the error of the counts; 0 leaves them out.
        counting: when a cluster counts.
    """
    maps: Maps = network(batch.images)
    paths = list(_paths(radius))
    pairs = label_pairs(batch.labels, paths)
    affinities = path_affinities(maps.boundaries.float().sigmoid(), paths)
    offsets = maps.offsets.float()
    terms = {
        "saliency": _cross_entropy(maps.saliency, batch.labels),
        "boundaries": boundary_loss(affinities, pairs),
        "centroids": centroid_loss(offsets, pairs, paths),
    }
    if subitizing:
        salient = maps.saliency.detach().sigmoid() >= SALIENT
        error, _ = subitizing_loss(offsets, salient, batch.counts, counting)
        terms["count"] = subitizing * error
    return terms


def saliency_loss(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """The saliency branch alone."""
    maps: Maps = network(batch.images)
    return {"saliency": _cross_entropy(maps.saliency, batch.labels)}


def _cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Of the cells whose label is known, whatever their class."""
    known = labels != UNKNOWN
    costs = F.binary_cross_entropy_with_logits(
        scores.float(), ((labels > 0) & known).float(), reduction="none"
    )
    return (costs * known).sum() / known.sum().clamp(min=1)


@cache
def _paths(radius: int) -> tuple[CellPath, ...]:
    return tuple(search_paths(radius))


def averaged(
    before: Mapping[str, Tensor], now: Mapping[str, Tensor], turn: int
) -> dict[str, Tensor]:
    """Eq. 8: the running average of the weights, r / (r + 1) of it the former one's in round r.

    # differs from the paper: eq. 8 adds the weights of the round before the last, and algorithm 1
    asks for r > 2; the text and the factor speak of an average over the rounds.

    Args:
        before: the average after the round before; none in turns 0 and 1, which start it anew.
        now: as the round has left them.
        turn: r; 0 is the training before the first round.
    """
    if turn < 2:
        return {name: values.clone() for name, values in now.items()}
    share = turn / (turn + 1)
    return {
        name: share * before[name] + (1 - share) * values
        if values.is_floating_point()
        else values.clone()
        for name, values in now.items()
    }
