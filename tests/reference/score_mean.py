"""The mean of two sources of class probabilities, pixel by pixel (models/ops/score_mean.py)."""

import numpy as np


def weighted_mean(first, second, weights):
    mean = np.zeros(first.shape)
    for row, column in np.ndindex(first.shape[1:]):
        claims = [
            weight * float(first[index, row, column])
            + (1 - weight) * float(second[index, row, column])
            for index, weight in enumerate(weights, start=1)
        ]
        whole = [max(1 - sum(claims), 0), *claims]
        mean[:, row, column] = [claim / sum(whole) for claim in whole]
    return mean
