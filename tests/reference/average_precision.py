"""Average precision, one detection after the other: VOC over a set, S4Net image by image."""

from fractions import Fraction


def voc_average_precision(detections, objects, threshold):
    """The area under the best precision at each recall.

    Args:
        detections: (score, image, overlaps with the objects of that image).
        objects: by image, for each object whether it need not be found.
        threshold: least IoU.
    """
    taken = {(image, k): False for image, ignored in objects.items() for k in range(len(ignored))}
    number = sum(not skip for ignored in objects.values() for skip in ignored)
    right = wrong = 0
    points = []
    for _, image, overlaps in sorted(detections, key=lambda found: -found[0]):
        best = max(range(len(overlaps)), key=lambda k: overlaps[k], default=None)
        if best is None or overlaps[best] < threshold:
            wrong += 1
        elif objects[image][best]:
            continue
        elif taken[image, best]:
            wrong += 1
        else:
            taken[image, best] = True
            right += 1
        points.append((right / number, right / (right + wrong)))
    area = before = 0.0
    for recall in sorted({recall for recall, _ in points}):
        area += (recall - before) * max(p for r, p in points if r >= recall)
        before = recall
    return area


def image_average_precision(overlaps, scores, threshold):
    """S4Net's area of one image, overlaps[d][t], one detection more at each step."""
    objects = len(overlaps[0])
    order = sorted(range(len(scores)), key=lambda d: (-scores[d], d))
    points = {}
    for count in range(1, len(order) + 1):
        free = order[:count]
        matched = 0
        for true in range(objects):
            taken = max(free, key=lambda d: overlaps[d][true], default=None)
            if taken is not None and overlaps[taken][true] > threshold:
                matched += 1
                free = [d for d in free if d != taken]
        points.setdefault(Fraction(matched, count), []).append(matched / objects)
    curve = [(float(precision), max(points[precision])) for precision in sorted(points)]
    area, (before, height) = 0.0, (0.0, curve[0][1])
    for precision, recall in curve:
        area += (precision - before) * (height + recall) / 2
        before, height = precision, recall
    return area


def found_share(overlaps, objects, threshold):
    """Of the true objects, those that a detection reaches."""
    found = [any(row[true] >= threshold for row in overlaps) for true in range(objects)]
    return sum(found) / objects


def mask_overlap(first, second):
    """IoU of two masks, pixel by pixel."""
    both = either = 0
    for y in range(len(first)):
        for x in range(len(first[0])):
            both += first[y][x] and second[y][x]
            either += first[y][x] or second[y][x]
    return both / either if either else 0.0
