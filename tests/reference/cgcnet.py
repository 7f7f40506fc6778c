"""CGCNet's modules cell by cell, and its divergence pixel by pixel."""

import math


def _cells(box, size, stride):
    x0, y0, x1, y1 = box
    height, width = size
    first_x = min(max(math.floor(x0 / stride), 0), width - 1)
    first_y = min(max(math.floor(y0 / stride), 0), height - 1)
    end_x = max(min(math.ceil(x1 / stride), width), first_x + 1)
    end_y = max(min(math.ceil(y1 / stride), height), first_y + 1)
    return first_x, first_y, end_x, end_y


def _holds(cells, y, x):
    return cells[0] <= x < cells[2] and cells[1] <= y < cells[3]


def overlap(first, second):
    """IoU of two boxes."""
    across = min(first[2], second[2]) - max(first[0], second[0])
    down = min(first[3], second[3]) - max(first[1], second[1])
    both = max(across, 0) * max(down, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return both / (sum(areas) - both)


def refined_map(features, boxes, own, bound, stride, *, local):
    """What the branch sees for box `own` of features [C][h][w]: eq. 2, or LFR of it."""
    size = len(features[0]), len(features[0][0])
    cells = [_cells(box, size, stride) for box in boxes]
    x0, y0, x1, y1 = boxes[own]
    wide, high = (x1 - x0) / 10, (y1 - y0) / 10
    around = _cells((x0 - wide, y0 - high, x1 + wide, y1 + high), size, stride)
    result = []
    for channel in features:
        mean = sum(map(sum, channel)) / (size[0] * size[1])
        rows = []
        for y in range(size[0]):
            row = []
            for x in range(size[1]):
                taken = any(
                    _holds(cells[k], y, x)
                    for k in range(len(boxes))
                    if k != own and overlap(boxes[own], boxes[k]) < bound
                )
                kept = _holds(cells[own], y, x) or not taken
                row.append(channel[y][x] if kept and (not local or _holds(around, y, x)) else mean)
            rows.append(row)
        result.append(rows)
    return result


def ternary(box, size, stride):
    """RoIMasking: 1 inside, -1 in the ring, 0 elsewhere."""
    x0, y0, x1, y1 = _cells(box, size, stride)
    wide, high = (x1 - x0) // 3, (y1 - y0) // 3
    return [
        [
            1.0
            if _holds((x0, y0, x1, y1), y, x)
            else -1.0
            if _holds((x0 - wide, y0 - high, x1 + wide, y1 + high), y, x)
            else 0.0
            for x in range(size[1])
        ]
        for y in range(size[0])
    ]


def divergence(predicted, label, sigma):
    """Eq. 5."""
    pixels = [
        c * math.log(c / (r + sigma) + sigma)
        for row, others in zip(label, predicted, strict=True)
        for c, r in zip(row, others, strict=True)
        if c > 0
    ]
    return sum(pixels) / (len(label) * len(label[0]))
