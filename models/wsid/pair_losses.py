"""What IRN learns from labels: boundaries between classes and displacements to centroids.

Labels say of a pair of near cells whether both are background, both of one class, or of two. A
boundary must lie between cells of two classes and none between the others (class discrepancy, IRN
eq. 5); two cells of one object point to one centroid, so that their displacements differ by the
offset between them (IRN eq. 8), and those of background cells are alike.

IRN: https://arxiv.org/abs/1904.05044. WSID-Net trains both branches so (section 4.2).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.ops.labels import UNKNOWN
from models.wsid.paths import CellPath, sources

#: The public code's: bounds the logarithms and the means over no pair.
EPSILON = 1e-5


class Pairs(NamedTuple):
    """Which pairs are of which kind, each bool (B, K, h, w); a pair may be of none."""

    background: Tensor
    objects: Tensor
    different: Tensor


def label_pairs(labels: Tensor, paths: Sequence[CellPath], starts: Tensor | None = None) -> Pairs:
    """The kinds of pairs by the labels of their ends.

    Args:
        labels: uint8 (B, h, w), 0 background, 255 unknown.
        paths: K of `search_paths`.
        starts: bool (h, w), where a path may start, as `whole_sources`; None: wherever its
            destination is on the map.
    """
    batch, height, width = labels.shape
    kinds = Pairs(*labels.new_zeros(3, batch, len(paths), height, width, dtype=torch.bool))
    for k, path in enumerate(paths):
        here = sources((height, width), path.offset)
        there = sources((height, width), path.offset, path.offset)
        first, second = labels[:, *here], labels[:, *there]
        known = (first != UNKNOWN) & (second != UNKNOWN)
        if starts is not None:
            known &= starts[here].to(labels.device)
        same = first == second
        kinds.background[:, k, *here] = known & same & (first == 0)
        kinds.objects[:, k, *here] = known & same & (first > 0)
        kinds.different[:, k, *here] = known & ~same
    return kinds


def boundary_loss(affinities: Tensor, pairs: Pairs) -> Tensor:
    """Cross entropy of the pairs: half of one label (both kinds alike), half of two.

    Args:
        affinities: from `path_affinities`.
        pairs: from `label_pairs`.
    """
    alike, apart = -torch.log(affinities + EPSILON), -torch.log(1 + EPSILON - affinities)
    same = (_mean(alike, pairs.background) + _mean(alike, pairs.objects)) / 2
    return (same + _mean(apart, pairs.different)) / 2


def centroid_loss(offsets: Tensor, pairs: Pairs, paths: Sequence[CellPath]) -> Tensor:
    """How far two cells of one class are from one centroid, and background cells from each other.

    Args:
        offsets: from each cell to its centroid (B, 2, h, w), (dy, dx) in cells.
        pairs: from `label_pairs`.
        paths: the same.
    """
    size = (offsets.shape[2], offsets.shape[3])
    objects, background = offsets.new_zeros(()), offsets.new_zeros(())
    for k, path in enumerate(paths):
        here, there = sources(size, path.offset), sources(size, path.offset, path.offset)
        difference = offsets[:, :, *here] - offsets[:, :, *there]  # [B, 2, h', w']
        wanted = offsets.new_tensor(path.offset).view(2, 1, 1)
        objects = objects + ((difference - wanted).abs() * pairs.objects[:, None, k, *here]).sum()
        background = background + (difference.abs() * pairs.background[:, None, k, *here]).sum()
    object_count, background_count = pairs.objects.sum(), pairs.background.sum()
    objects = objects / (2 * object_count + EPSILON)
    return (objects + background / (2 * background_count + EPSILON)) / 2


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / (chosen.sum() + EPSILON)
