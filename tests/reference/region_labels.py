"""CGCNet's weak labels pixel by pixel: sets of pixels instead of arrays."""


def closed_areas(pixels):
    """The 8-connected areas of a set of (y, x), as a list of sets, in the order of their first."""
    left, found = set(pixels), []
    for start in sorted(pixels):
        if start in left:
            area, edge = set(), [start]
            left.discard(start)
            while edge:
                y, x = edge.pop()
                area.add((y, x))
                near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
                left -= near
                edge += near
            found.append(area)
    return found


def label_regions(region, boxes, priors, least_fit):
    """The labels, as sets of pixels, and both counts; boxes of whole pixels (x0, y0, x1, y1)."""
    height, width = len(region), len(region[0])
    salient = {(y, x) for y in range(height) for x in range(width) if region[y][x]}
    inside = [{(y, x) for y in range(y0, y1) for x in range(x0, x1)} for x0, y0, x1, y1 in boxes]
    labels = [salient & own for own in inside]
    if priors != "none":
        by_size = sorted(range(len(boxes)), key=lambda k: (len(inside[k]), -k))
        for rank, small in enumerate(by_size):
            own = set().union(*(area for area in closed_areas(salient) if area <= inside[small]))
            for large in by_size[rank + 1 :]:
                labels[large] = (labels[large] - own) or labels[large]
    if priors == "both":
        labels = [max(closed_areas(label), key=len, default=set()) for label in labels]
    for k, (label, box) in enumerate(zip(labels, inside, strict=True)):
        rows, columns = [y for y, _ in label], [x for _, x in label]
        reach = label and (max(rows) - min(rows) + 1) * (max(columns) - min(columns) + 1)
        if label and reach < least_fit * len(box):
            labels[k] = set()
    alone = sum(not any(area & own for own in inside) for area in closed_areas(salient))
    shared = {pixel for label in labels for pixel in label if sum(pixel in o for o in labels) > 1}
    return labels, alone, len(closed_areas(shared))
