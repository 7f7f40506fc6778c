"""Seams one by one, pixel by pixel."""

import numpy as np


def cost(grey, levels, row, column, step, multiply, add):
    """Of a pixel whose path comes from `step` columns beside it in the row above."""
    width = grey.shape[1]
    west, east = grey[row, max(column - 1, 0)], grey[row, min(column + 1, width - 1)]
    found = abs(east - west)
    if step:
        above = grey[max(row - 1, 0), column]
        found += abs(above - (west if step < 0 else east))
    return found * (1 + multiply * levels[row, column]) + add * levels[row, column]


def best_seam(grey, levels, multiply, add):
    """(cost, columns) of the cheapest seam; all are tried, row by row."""
    rows, width = grey.shape
    ways = {c: (cost(grey, levels, 0, c, 0, multiply, add), [c]) for c in range(width)}
    for row in range(1, rows):
        further = {}
        for column in range(width):
            reached = [
                (ways[column + step][0] + cost(grey, levels, row, column, step, multiply, add),
                 ways[column + step][1] + [column])
                for step in (0, -1, 1)
                if 0 <= column + step < width
            ]  # fmt: skip
            further[column] = min(reached, key=lambda way: way[0])
        ways = further
    return min(ways.values(), key=lambda way: way[0])


def without(array, columns):
    return np.stack(
        [np.delete(row, column, axis=0) for row, column in zip(array, columns, strict=True)]
    )
