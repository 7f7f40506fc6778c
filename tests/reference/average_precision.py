"""VOC's average precision, one detection after the other over the whole set."""


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
