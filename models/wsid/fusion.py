"""From the three maps to salient instances (WSID-Net section 4.2, eq. 9, 10).

Cells whose offsets lead to one centroid are an instance; its saliency walks at random until a
boundary holds it, every pixel goes to the instance that most of the walk brings there, and what is
not salient enough is left out. The walk is IRN's, without its dense N x N matrix.

WSID-Net: https://arxiv.org/abs/2111.10137. IRN: https://arxiv.org/abs/1904.05044.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from annotated_types import Ge, Gt, Le
from scipy import ndimage
from torch import Tensor

from models.detection import Detection
from models.instance_views import mask_boxes
from models.ops.cells import cells_to_pixels
from models.ops.random_walk import affinity_matrix, walk
from models.wsid.centroids import cluster_centroids, find_centroids
from models.wsid.paths import CellPath, path_affinities, search_paths
from models.wsid.subitizing import Counting, counted_clusters

Floats = npt.NDArray[np.floating[Any]]
#: From this probability on a cell is salient.
SALIENT = 0.5


@dataclass(frozen=True)
class Fusion(Counting):
    """Numbers of the fusion, described in params.yaml.

    Attributes:
        walk_radius: of its steps, cells; strictly less.
        walk_beta: power of the affinity.
        walk_steps: how many.
        tolerance: 0 walks every step; else as `models.ops.random_walk.walk`.
        background: a pixel that less of the walk reaches, as a share of the most, is background.
        least_share: theta; an instance of which less is salient is left out.
    """

    walk_radius: Annotated[int, Ge(2)]
    walk_beta: Annotated[float, Gt(0)]
    walk_steps: Annotated[int, Ge(0)]
    tolerance: Annotated[float, Ge(0), Le(1)]
    background: Annotated[float, Gt(0), Le(1)]
    least_share: Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class Instance:
    """One salient instance: its mask, bool [H, W], and how sure it is, in [0, 1]."""

    mask: npt.NDArray[np.bool_]
    score: float


def walk_to_boundaries(
    scores: Floats,
    boundaries: Floats,
    *,
    radius: int = 5,
    beta: float = 10.0,
    steps: int = 256,
    tolerance: float = 0.0,
) -> Floats:
    """Scores after a random walk that boundaries hold up.

    The affinity of two cells is 1 - the strongest boundary on the path between them, to the power
    of beta; a cell starts with (1 - its boundary) of its score (eq. 10).

    Args:
        scores: [N, h, w].
        boundaries: probabilities [h, w].
        radius: of a step, cells; strictly less. IRN: 5.
        beta: > 0. IRN: 10.
        steps: of the walk. IRN: 256.
        tolerance: 0: exact; else as `models.ops.random_walk.walk`.

    Returns:
        float32 [N, h, w].
    """
    grid = (boundaries.shape[0], boundaries.shape[1])
    paths = list(_paths(radius))
    edges = torch.from_numpy(np.ascontiguousarray(boundaries, dtype=np.float32))
    half = path_affinities(edges[None], paths)[0].numpy()  # [K, h, w]
    offsets = np.array([path.offset for path in paths], dtype=np.int64)
    back = np.zeros_like(half)
    for k, (dy, dx) in enumerate(offsets):
        here = np.s_[: grid[0] - dy, max(-dx, 0) : grid[1] - max(dx, 0)]
        there = np.s_[dy:, max(dx, 0) : grid[1] - max(-dx, 0)]
        back[k][there] = half[k][here]
    table = np.concatenate([half, back]).reshape(2 * len(paths), -1).T
    matrix = affinity_matrix(table, np.concatenate([offsets, -offsets]), grid, beta, np.float32)
    start = (scores * (1 - boundaries)).reshape(len(scores), -1)
    return walk(matrix, start, steps, tolerance=tolerance).reshape(scores.shape)


def as_detection(found: Sequence[Instance], size: tuple[int, int]) -> Detection:
    """The same as tensors, all of class 1; a box is that of its mask."""
    masks = torch.zeros(len(found), *size)
    for mask, instance in zip(masks, found, strict=True):
        mask.copy_(torch.from_numpy(instance.mask))
    scores = torch.tensor([instance.score for instance in found])
    return Detection(mask_boxes(masks), torch.ones(len(found), dtype=torch.int64), scores, masks)


@cache
def _paths(radius: int) -> tuple[CellPath, ...]:
    return tuple(search_paths(radius))


def salient_instances(
    saliency: Tensor,
    boundaries: Tensor,
    offsets: Tensor,
    size: tuple[int, int],
    stride: int,
    settings: Fusion,
) -> list[Instance]:
    """The salient instances of an image, the surest first; no pixel is in two of them.

    Args:
        saliency: probabilities (h, w).
        boundaries: probabilities (h, w).
        offsets: (2, h, w), (dy, dx) in cells.
        size: (H, W) of the image.
        stride: pixels per cell.
        settings: see `Fusion`.
    """
    centroids = find_centroids(offsets, settings.look_ups)
    clusters = cluster_centroids(centroids, offsets, settings.short)
    cells = saliency.numpy()
    numbers = counted_clusters(clusters, cells >= SALIENT, settings.least_area)
    if not numbers:
        return []
    seeds = np.stack([cells * (clusters == number) for number in numbers])
    walked = walk_to_boundaries(
        seeds,
        boundaries.numpy(),
        radius=settings.walk_radius,
        beta=settings.walk_beta,
        steps=settings.walk_steps,
        tolerance=settings.tolerance,
    )
    reached = cells_to_pixels(walked, size, stride)
    (probability,) = cells_to_pixels(cells[None], size, stride)
    owner = reached.argmax(axis=0)
    owner[reached.max(axis=0) <= settings.background * max(reached.max(), 1e-12)] = -1
    found = []
    for row in range(len(numbers)):
        pieces, count = ndimage.label(owner == row)  # neighbours by a side
        for piece in range(1, count + 1):
            mask = pieces == piece
            sure = probability[mask]
            enough = (sure >= SALIENT).mean() > settings.least_share
            if enough and mask.sum() >= settings.least_area * mask.size:
                found.append(Instance(mask, float(sure.mean())))
    return sorted(found, key=lambda instance: -instance.score)
