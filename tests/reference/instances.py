"""Instances of labels and boxes, pixel by pixel."""

import math

import numpy as np

from tests.reference.seeds import inside


def cost(box, row, column):
    """Minus the log-likelihood of the pixel's centre under the box's Gaussian, up to a constant."""
    x0, y0, x1, y1 = box
    deviation_x, deviation_y = max((x1 - x0) / 4, 0.25), max((y1 - y0) / 4, 0.25)
    across = (column + 0.5 - (x0 + x1) / 2) / deviation_x
    down = (row + 0.5 - (y0 + y1) / 2) / deviation_y
    return across**2 / 2 + down**2 / 2 + math.log(deviation_x) + math.log(deviation_y)


def split_instances(labels, boxes, categories):
    """One mask per box, as a list of boolean arrays, and which boxes saw their class."""
    masks = [np.zeros(labels.shape, bool) for _ in boxes]
    shared = [np.zeros(labels.shape, bool) for _ in boxes]
    whole = [np.zeros(labels.shape, bool) for _ in boxes]
    for row, column in np.ndindex(labels.shape):
        label = labels[row, column]
        over = [k for k in range(len(boxes)) if inside(boxes[k], row, column)]
        for k in over:
            whole[k][row, column] = True
            shared[k][row, column] = categories[k] == label
        rivals = [k for k in over if categories[k] == label]
        if rivals:
            best = min(rivals, key=lambda k: (cost(boxes[k], row, column), k))
            masks[best][row, column] = True
    result = []
    for mask, share, box in zip(masks, shared, whole, strict=True):
        result.append((mask, True) if mask.any() else (share if share.any() else box, share.any()))
    return result


def shown_class(mask, truth, categories):
    """The class of most of the mask's pixels, 0 where that is the background; boolean arrays."""
    counts = {0: int((mask & ~np.any([*truth, mask & False], axis=0)).sum())}
    for other, category in zip(truth, categories, strict=True):
        counts[category] = counts.get(category, 0) + int((mask & other).sum())
    return max(sorted(counts), key=lambda category: counts[category])
