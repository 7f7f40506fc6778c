"""The mean of two sources of class probabilities that are not equally good at every class."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float32]


def weighted_mean(first: Scores, second: Scores, weights: Sequence[float]) -> Scores:
    """w_c first_c + (1 - w_c) second_c of every class; the background gets what is left of 1.

    Where the weights are alike that is the plain weighted mean, of the background too. Where
    they differ two sources may claim more than all of a pixel: they then share it.

    Args:
        first: [C, H, W], row 0 is the background; sums to 1 over C.
        second: the same of the other source.
        weights: w_c in [0, 1] of rows 1 to C - 1.

    Returns:
        float32 [C, H, W], sums to 1 over C.
    """
    share = np.asarray(weights, dtype=np.float32)[:, None, None]
    mean = np.empty_like(first)
    mean[1:] = share * first[1:] + (1 - share) * second[1:]
    mean[0] = np.maximum(1 - mean[1:].sum(axis=0), 0)
    mean /= mean.sum(axis=0)
    return mean
