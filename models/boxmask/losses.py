"""What a mask is held to: a teacher that errs, the box it fills, and the edges of the image."""

import torch
import torch.nn.functional as F
from torch import Tensor


def teacher_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Binary cross entropy, averaged by weight; 0, with a gradient of 0, where all weights are 0.

    Args:
        logits: (B, h, w).
        target: (B, h, w) in [0, 1].
        weight: (B, h, w), how far the teacher is believed.
    """
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (weight * each).sum() / weight.sum().clamp(min=1)


def projection_loss(logits: Tensor, inside: Tensor) -> Tensor:
    """1 - dice of the mask's and the box's shadow on either axis (BoxInst, Tian et al. 2021).

    A box is tight: each of its rows and columns holds some of the object, and no other does.

    Args:
        logits: (B, h, w).
        inside: (B, h, w), share of each cell in the box.

    Returns:
        Mean over samples of the sum over the axes, in [0, 2].
    """
    mask = logits.sigmoid()
    total = logits.new_zeros(len(logits))
    for axis in (1, 2):
        own, box = mask.amax(axis), inside.amax(axis)
        both = 2 * (own * box).sum(1)
        total = total + 1 - both / (own.square().sum(1) + box.square().sum(1)).clamp(min=1e-6)
    return total.mean()


def pairwise_loss(logits: Tensor, colours: Tensor, inside: Tensor, closeness: float) -> Tensor:
    """-log P(both alike) of neighbours of one colour (BoxInst).

    Neighbours are two cells apart, in eight directions; a pair counts when either of its cells is
    in the box.

    Args:
        logits: (B, h, w).
        colours: (B, 3, h, w), RGB in [0, 1].
        inside: (B, h, w), share of each cell in the box.
        closeness: colours nearer than this (euclidean) count as one.

    Returns:
        Mean over the pairs of one colour; 0 where there is none.
    """
    own, other = F.logsigmoid(logits), F.logsigmoid(-logits)
    height, width = logits.shape[-2:]
    total, count = logits.new_zeros(()), logits.new_zeros(())
    for down, right in ((0, 2), (2, -2), (2, 0), (2, 2)):
        rows = slice(down, height), slice(0, height - down)
        columns = (
            slice(max(right, 0), width + min(right, 0)),
            slice(max(-right, 0), width + min(-right, 0)),
        )
        first, second = ((..., rows[side], columns[side]) for side in (0, 1))
        alike = torch.logaddexp(own[first] + own[second], other[first] + other[second])
        close = (colours[first] - colours[second]).square().sum(1) < closeness**2
        counts = close & ((inside[first] > 0.5) | (inside[second] > 0.5))
        total = total - (alike * counts).sum()
        count = count + counts.sum()
    return total / count.clamp(min=1)
