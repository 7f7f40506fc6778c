"""The number of salient things as a lesson for the offsets (WSID-Net eq. 3, 4).

The loss is the squared difference of the number T* of predicted salient instances from the true
one T. A number of clusters has no derivative; eq. 4 writes one, dL / dV* divided by the K salient
offsets, without saying what dT* / dV* is.

# differs from the paper: it is declared here. dT* / dv of a salient cell is the unit vector u in
# which its end moves away from a centre that it shares, or would share, with cells of another
# instance: the number of centroids grows along u and falls against it. So the gradient is
# 2 (T* - T) / K * u. With too many, the two nearest clusters (again and again until T are left)
# are drawn to their joint centre; with too few, the largest is cut in two across its long side, and
# each half drawn to its own centre. Cells that are not salient have no gradient.

WSID-Net: https://arxiv.org/abs/2111.10137.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from models.wsid.centroids import cluster_centroids, follow_offsets

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Counting:
    """When a cluster of offsets counts as an instance; described in params.yaml.

    Attributes:
        look_ups: of the offsets, at most.
        short: cells; shorter offsets belong to a centroid.
        least_area: share of the image that is salient in it; smaller ones are fragments.
    """

    look_ups: Annotated[int, Gt(0)]
    short: Annotated[float, Gt(0)]
    least_area: Annotated[float, Ge(0), Le(1)]


def counted_clusters(clusters: Ints, salient: Bools, least_area: float) -> list[int]:
    """The clusters of the salient cells that are large enough to count.

    Args:
        clusters: numbers [h, w] from `cluster_centroids`.
        salient: [h, w].
        least_area: its salient cells, as a share of the map; one without any never counts.

    Returns:
        Their numbers, ascending.
    """
    inside = np.bincount(clusters.ravel(), weights=salient.ravel())
    counts = (inside > 0) & (inside >= least_area * salient.size)
    return [int(number) for number in np.flatnonzero(counts)]


def subitizing_loss(
    offsets: Tensor, salient: Tensor, counts: Tensor, settings: Counting
) -> tuple[Tensor, Tensor]:
    """Squared errors of the number of salient instances, with the declared gradient.

    Args:
        offsets: (B, 2, h, w), (dy, dx) in cells.
        salient: bool (B, h, w).
        counts: the true numbers (B,), below 0 where none is known.
        settings: see `Counting`.

    Returns:
        The mean over the images whose number is known (0, with a gradient of 0, if there are none),
        and the predicted numbers (B,), -1 where the true one is not known.
    """
    found = torch.full_like(counts, -1)
    known = (counts >= 0).nonzero().flatten().tolist()
    slopes = torch.zeros_like(offsets)
    if known:
        ends = follow_offsets(offsets.detach()[known], settings.look_ups)
        for end, image in zip(ends, known, strict=True):
            clusters = cluster_centroids(end.round().long(), offsets[image], settings.short)
            inside = salient[image].cpu().numpy()
            numbers = counted_clusters(clusters, inside, settings.least_area)
            found[image] = len(numbers)
            directions = count_directions(
                end.cpu().numpy(), clusters, inside, numbers, int(counts[image])
            )
            error = 2 * (len(numbers) - int(counts[image])) / max(int(inside.sum()), 1)
            slopes[image] = error * torch.from_numpy(directions).to(offsets)
    share = 1 / max(len(known), 1)
    value = share * sum(float(found[image] - counts[image]) ** 2 for image in known)
    linear = share * (slopes * offsets).sum()
    return value + linear - linear.detach(), found


def count_errors(found: Mapping[str, int], counts: Mapping[str, int]) -> dict[str, float]:
    """Mean size and mean of the errors of the numbers found; nothing where no count is known."""
    errors = [number - counts[name] for name, number in found.items() if name in counts]
    if not errors:
        return {}
    return {
        "count_error": round(float(np.abs(errors).mean()), 4),
        "count_bias": round(float(np.mean(errors)), 4),
    }


def count_directions(
    ends: Floats, clusters: Ints, salient: Bools, numbers: list[int], count: int
) -> Floats:
    """u: where the end of each salient cell would go for one more instance to be counted.

    Args:
        ends: (y, x) that each cell gets to, [2, h, w].
        clusters: numbers [h, w].
        salient: [h, w].
        numbers: the clusters that count, T* of them.
        count: T, what should count; of 0 nothing follows.

    Returns:
        [2, h, w], at most 1 long, shorter where an end is less than a cell from where it should
        be; 0 where nothing has to move, and where it is not salient.
    """
    directions = np.zeros(ends.shape, dtype=np.float64)
    parts = [salient & (clusters == number) for number in numbers]
    if count == 0 or not salient.any() or len(numbers) == count:
        return directions
    if len(numbers) > count:
        for part in _merged(ends, parts, count):
            away = ends[:, part] - ends[:, part].mean(axis=1, keepdims=True)
            directions[:, part] = _at_most_one(away)
        return directions
    for part in _split(parts or [salient], count):
        places = np.stack(np.nonzero(part))
        away = places.mean(axis=1, keepdims=True) - ends[:, part]
        directions[:, part] = _at_most_one(away)
    return directions


def _merged(ends: Floats, parts: list[Bools], count: int) -> list[Bools]:
    """The parts that the nearest clusters become, joined until `count` are left."""
    groups = [(part, False) for part in parts]
    while len(groups) > count:
        centres = np.stack([ends[:, part].mean(axis=1) for part, _ in groups])
        apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
        apart[np.tril_indices(len(groups))] = np.inf
        first, second = np.unravel_index(apart.argmin(), apart.shape)
        joint = groups[first][0] | groups[second][0]
        groups = [g for at, g in enumerate(groups) if at not in (first, second)]
        groups.append((joint, True))
    return [part for part, is_joint in groups if is_joint]


def _split(parts: list[Bools], count: int) -> list[Bools]:
    """The halves of the largest parts, cut across their long sides until there are `count`."""
    groups = [(part, False) for part in parts]
    while len(groups) < count:
        largest = max(range(len(groups)), key=lambda at: int(groups[at][0].sum()))
        part, _ = groups.pop(largest)
        if part.sum() < 2:
            break
        places = np.stack(np.nonzero(part)).astype(np.float64)
        centred = places - places.mean(axis=1, keepdims=True)
        _, axes = np.linalg.eigh(centred @ centred.T)
        along = axes[:, -1] @ centred
        lower = np.zeros_like(part)
        lower[part] = along < 0  # of their mean: neither half is empty
        groups += [(lower, True), (part & ~lower, True)]
    return [part for part, is_half in groups if is_half]


def _at_most_one(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=0, keepdims=True)
    shorter: Floats = vectors / np.maximum(lengths, 1)
    return shorter
