"""Disagreement, entropy and unfilled boxes, pixel by pixel."""

import math

UNKNOWN = 255


def disagreement(maps):
    if len(maps) < 2:
        return None
    known = differing = 0
    for row in range(maps[0].shape[0]):
        for column in range(maps[0].shape[1]):
            said = [int(labels[row, column]) for labels in maps]
            if UNKNOWN in said:
                continue
            known += 1
            differing += len(set(said)) > 1
    return 100 * differing / known if known else None


def entropy(scores):
    """Of scores [C, h, w]."""
    classes, rows, columns = scores.shape
    if classes < 2:
        return None
    found = []
    for row in range(rows):
        for column in range(columns):
            values = [max(float(value), 0.0) for value in scores[:, row, column]]
            total = sum(values)
            if total > 0:
                shares = [value / total for value in values]
                bits = sum(share * math.log(share) for share in shares if share > 0)
                found.append(-bits / math.log(classes))
    return 100 * sum(found) / len(found) if found else None


def unfilled(labels, boxes):
    """Of boxes (category, x0, y0, x1, y1)."""
    found = []
    for category, x0, y0, x1, y1 in boxes:
        inside = [
            (row, column)
            for row in range(labels.shape[0])
            for column in range(labels.shape[1])
            if x0 <= column + 0.5 < x1 and y0 <= row + 0.5 < y1
        ]
        if not inside:
            continue
        marked = [place for place in inside if labels[place] == category]
        covered = 0
        if marked:
            rows, columns = zip(*marked, strict=True)
            covered = (max(rows) - min(rows) + 1) * (max(columns) - min(columns) + 1)
        found.append(100 * (1 - covered / len(inside)))
    return max(found, default=None)
