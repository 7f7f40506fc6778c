"""Boxes pixel by pixel."""

import numpy as np

from tests.reference.seeds import inside


def unknown_in_region(labels, region, boxes, categories):
    result = labels.copy()
    for row, column in np.ndindex(labels.shape):
        claims = [
            category
            for box, category in zip(boxes, categories, strict=True)
            if inside(box, row, column)
        ]
        if region[row, column] and labels[row, column] not in claims:
            result[row, column] = 255
    return result


def with_emptied_boxes(labels, source, boxes, categories):
    result = labels.copy()
    changed = True
    while changed:
        changed = False
        for box, category in zip(boxes, categories, strict=True):
            pixels = [at for at in np.ndindex(labels.shape) if inside(box, *at)]
            if all(result[at] != category for at in pixels):
                for at in pixels:
                    if source[at] == category:
                        result[at], changed = category, True
    return result
