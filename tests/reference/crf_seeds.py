"""Confident seeds of two CRFs, a pixel at a time."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


def agreed_labels(
    low: Floats, high: Floats, classes: list[int], least: float
) -> npt.NDArray[np.uint8]:
    """[1 + C, H, W] twice -> labels [H, W]."""
    values = [0, *classes]
    labels = np.full(low.shape[1:], 255, dtype=np.uint8)
    for y, x in np.ndindex(labels.shape):
        of_low, of_high = low[:, y, x].tolist(), high[:, y, x].tolist()
        if max(of_low + of_high) < 1e-5:
            continue
        if of_high[0] == max(of_high):
            if of_high[0] >= least:
                labels[y, x] = 0
            continue
        best = max(of_low)
        if of_low[0] < best and best >= least:
            labels[y, x] = values[of_low.index(best)]
    return labels
