"""IRN's pairs, losses, centroids and walk, and WSID-Net's modules, cell by cell."""

import math
from collections import deque

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


def cells_between(dy: int, dx: int) -> set[tuple[int, int]]:
    """Cells of the box of both ends that are nearer than 1 to the line through them."""
    length = math.hypot(dy, dx)
    return {
        (y, x)
        for y in range(min(0, dy), max(0, dy) + 1)
        for x in range(min(0, dx), max(0, dx) + 1)
        if abs(dy * x - dx * y) / length < 1 - 1e-12
    }


def pairs_of(size: tuple[int, int], radius: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Every unordered pair of cells nearer than the radius."""
    cells = [(y, x) for y in range(size[0]) for x in range(size[1])]
    return [(a, b) for a in cells for b in cells if a < b and math.dist(a, b) < radius]


def affinity(edges: Floats, first: tuple[int, int], second: tuple[int, int]) -> float:
    dy, dx = second[0] - first[0], second[1] - first[1]
    way = cells_between(dy, dx)
    return 1 - max(float(edges[first[0] + y, first[1] + x]) for y, x in way)


def mean(values: list[float]) -> float:
    return sum(values) / (len(values) + 1e-5)


def boundary_loss(edges: Floats, labels: npt.NDArray[np.uint8], radius: int) -> float:
    """Of one image."""
    alike: dict[bool, list[float]] = {False: [], True: []}
    apart = []
    for first, second in pairs_of(labels.shape, radius):
        one, other = labels[first], labels[second]
        if 255 in (one, other):
            continue
        value = affinity(edges, first, second)
        if one == other:
            alike[bool(one)].append(-math.log(value + 1e-5))
        else:
            apart.append(-math.log(1 + 1e-5 - value))
    same = (mean(alike[False]) + mean(alike[True])) / 2
    return (same + mean(apart)) / 2


def centroid_loss(offsets: Floats, labels: npt.NDArray[np.uint8], radius: int) -> float:
    """Of one image; offsets [2, h, w]."""
    objects, background = [], []
    for first, second in pairs_of(labels.shape, radius):
        one, other = labels[first], labels[second]
        if one != other or one == 255:
            continue
        for axis in (0, 1):
            difference = offsets[(axis, *first)] - offsets[(axis, *second)]
            if one:
                objects.append(abs(difference - (second[axis] - first[axis])))
            else:
                background.append(abs(difference))
    return (sum(objects) / (len(objects) + 1e-5) + sum(background) / (len(background) + 1e-5)) / 2


def follow(offsets: Floats, start: tuple[int, int], iterations: int) -> tuple[float, float]:
    """Where one cell gets to."""
    _, height, width = offsets.shape
    y, x = map(float, start)
    for _ in range(iterations):
        up, left = math.floor(y), math.floor(x)
        step = [0.0, 0.0]
        for row, a in ((up, 1 - (y - up)), (math.ceil(y), y - up)):
            for column, b in ((left, 1 - (x - left)), (math.ceil(x), x - left)):
                for axis in (0, 1):
                    step[axis] += a * b * offsets[axis, row, column]
        y = min(max(y + step[0], 0), height - 1)
        x = min(max(x + step[1], 0), width - 1)
    return y, x


def clusters(centroids: npt.NDArray[np.int64], offsets: Floats, short: float) -> Floats:
    """Numbers of the pieces, flooded from their first cells in reading order."""
    _, height, width = offsets.shape
    near = np.hypot(*offsets) < short
    pieces = np.zeros((height, width), int)
    count = 0
    for start in zip(*np.nonzero(near), strict=True):
        if pieces[start]:
            continue
        count += 1
        queue = deque([start])
        pieces[start] = count
        while queue:
            y, x = queue.popleft()
            for there in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                on_map = 0 <= there[0] < height and 0 <= there[1] < width
                if on_map and near[there] and not pieces[there]:
                    pieces[there] = count
                    queue.append(there)
    ends = pieces[centroids[0], centroids[1]]
    order = sorted(set(ends.ravel().tolist()))
    return np.vectorize(order.index)(ends)


def walk(scores: Floats, edges: Floats, radius: int, beta: float, squarings: int) -> Floats:
    """The dense matrix, its columns normalised, squared again and again."""
    height, width = edges.shape
    dense = np.eye(height * width)
    for first, second in pairs_of((height, width), radius):
        a, b = first[0] * width + first[1], second[0] * width + second[1]
        dense[a, b] = dense[b, a] = affinity(edges, first, second)
    transition = dense**beta
    transition /= transition.sum(0, keepdims=True)
    for _ in range(squarings):
        transition = transition @ transition
    start = (scores * (1 - edges)).reshape(len(scores), -1)
    return (start @ transition).reshape(scores.shape)


def shuffled(values: list[float], groups: int) -> list[float]:
    """The first of each group, then the second of each, ..."""
    size = len(values) // groups
    return [values[group * size + at] for at in range(size) for group in range(groups)]
