"""The updating scheme of weak labels (CGCNet section III.D, eq. 5, 6, 9 and algorithm 1).

C is the label of an object, R what the network says, R_f that after a dense CRF: maps in [0, 1].

CGCNet: https://arxiv.org/abs/2008.09246.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.ops.boxes import BoxTuple, pixel_box, widened
from models.ops.crf import Kernels, dense_crf

#: Regularisation constant of eq. 5 and 6, which the paper leaves open.
SIGMA = 1e-7
#: What the CRF of an object sees around its box, share of its width and height on each side.
SURROUNDINGS = 0.5

Floats = npt.NDArray[np.float32]


class Update(NamedTuple):
    """What became of a label.

    Attributes:
        label: bool [H, W], the next one.
        is_updated: whether it is R_f now.
        before: K1, of R.
        after: K2, of R_f.
    """

    label: npt.NDArray[np.bool_]
    is_updated: bool
    before: float
    after: float


def divergence(predicted: Tensor, label: Tensor) -> Tensor:
    """Eq. 5 and 6: K(R, C), the mean over all pixels, with a gradient.

    Only pixels of the label count: what is predicted beside it costs nothing.

    Args:
        predicted: R or R_f, (..., H, W) in [0, 1].
        label: C, the same shape.

    Returns:
        (...).
    """
    return (label * (label / (predicted + SIGMA) + SIGMA).log()).mean(dim=(-2, -1))


def update_loss(predicted: Tensor, refined: Tensor, label: Tensor) -> Tensor:
    """Eq. 9: K2(R_f, C) - K1(R, C), (...).

    R_f comes from a CRF without a gradient, so its gradient is that of -K1 alone: it draws the
    prediction away from the label. Its weight is 0 by default for that reason.
    """
    return divergence(refined.detach(), label) - divergence(predicted, label)


def update_label(
    label: npt.NDArray[np.bool_], predicted: Floats, refined: Floats, threshold: float
) -> Update:
    """Algorithm 1: the label stays where K2 - K1 reaches the threshold, else it becomes R_f.

    An R_f that is empty replaces nothing.

    Args:
        label: C, bool [H, W].
        predicted: R, [H, W].
        refined: R_f, [H, W].
        threshold: phi; paper: 0.05.
    """
    target = torch.from_numpy(label).double()
    before = float(divergence(torch.from_numpy(predicted).double(), target))
    after = float(divergence(torch.from_numpy(refined).double(), target))
    following = refined > 0.5
    if after - before >= threshold or not following.any():
        return Update(label, False, before, after)
    return Update(following, True, before, after)


def settled(
    labels: npt.NDArray[np.bool_], refined: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    """Each pixel that several labels hold goes to the one of them whose R_f is largest there.

    What is salient and in one label alone is that object's for sure. A label that this would leave
    empty stays as it is.

    # differs from the paper, where a label is replaced as a whole, its outline too.

    Args:
        labels: bool [N, H, W], the current ones of an image.
        refined: R_f of each, [N, H, W].

    Returns:
        bool [N, H, W].
    """
    best = np.where(labels, refined, -1).argmax(axis=0)
    chosen = labels & (best == np.arange(len(labels))[:, None, None])
    empty = ~chosen.any(axis=(1, 2), keepdims=True)
    return np.asarray(np.where(empty, labels, chosen))


def refined_object(
    predicted: Floats, image: npt.NDArray[np.uint8], box: BoxTuple, kernels: Kernels
) -> Floats:
    """R_f: the dense CRF of object and background around a box; beyond it R stays.

    Args:
        predicted: R, [H, W].
        image: uint8 RGB [H, W, 3].
        box: of the object.
        kernels: of the CRF.
    """
    x0, y0, x1, y1 = pixel_box(widened(box, SURROUNDINGS), (image.shape[0], image.shape[1]))
    window = slice(y0, y1), slice(x0, x1)
    inside = predicted[window]
    both = np.stack([1 - inside, inside]).astype(np.float32)
    refined = predicted.copy()
    refined[window] = dense_crf(both, np.ascontiguousarray(image[window]), kernels)[1]
    return refined
