"""What a network learns about the object of a box from a teacher that errs."""

import hashlib
from collections.abc import Iterable

from torch import Tensor


def first_lesson(cut: Tensor, known: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """The mask that GrabCut made; where it made none, only what is outside of the box is known.

    Args:
        cut: (N, h, w) in [0, 1], its masks.
        known: bool (N,), whether it told object from background in this box.
        inside: (N, h, w), share of each cell in the box.

    Returns:
        Targets and weights, (N, h, w).
    """
    weight = 1 - inside * (~known)[:, None, None]
    return cut * inside, weight


def next_lesson(
    cut: Tensor, known: Tensor, inside: Tensor, predicted: Tensor
) -> tuple[Tensor, Tensor]:
    """The mean of GrabCut's mask and a prediction, believed as far as it is decided.

    Args:
        cut: as in `first_lesson`.
        known: as in `first_lesson`; the prediction alone counts where it is false.
        inside: as in `first_lesson`.
        predicted: (N, h, w) in [0, 1], by a network that has not learned from these boxes.

    Returns:
        Targets, 0 or 1, and weights |2 y - 1| in the box and 1 outside, (N, h, w).
    """
    share = 0.5 * known[:, None, None]
    mean = (share * cut + (1 - share) * predicted) * inside
    return (mean > 0.5).to(mean.dtype), (2 * mean - 1).abs()


def folds_of(image_ids: Iterable[str], folds: int) -> dict[str, int]:
    """A fold of each image, 0 to folds - 1: of nearly equal sizes, by the hash of the id."""
    ordered = sorted(image_ids, key=lambda name: hashlib.sha256(name.encode()).digest())
    return {name: rank % folds for rank, name in enumerate(ordered)}
