"""Which row wins each pixel when every box has a CRF of its own: pixel by pixel."""

import math

import numpy as np

from tests.reference.seeds import area, inside


def crf_in_boxes(allowed, boxes, surroundings, crf):
    """`crf(rows, columns)` gives the refined probabilities of a crop of the image."""
    height, width = allowed.shape[1:]
    winner = np.zeros((height, width), int)
    for row, column in np.ndindex(height, width):
        holding = [index for index, box in enumerate(boxes) if inside(box, row, column)]
        if not holding:
            continue
        chosen = min(holding, key=lambda index: (area(boxes[index]), -index))
        x0, y0, x1, y1 = boxes[chosen]
        rows = [r for r in range(height) if _near(r, y0, y1, surroundings)]
        columns = [c for c in range(width) if _near(c, x0, x1, surroundings)]
        refined = crf(rows, columns)[:, rows.index(row), columns.index(column)]
        open_to = [label for label in range(len(refined)) if allowed[label, row, column]]
        winner[row, column] = max(open_to, key=lambda label: refined[label])
    return winner


def _near(place, first, end, surroundings):
    margin = math.ceil(surroundings * (end - first))
    return first - margin <= place < end + margin
