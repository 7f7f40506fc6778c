"""Eq. 2 to 5 of A2GNN pixel by pixel, as printed."""

import math

import numpy as np

UNKNOWN = 255


def inside(box, row, column):
    """Whether the pixel has any area in the box."""
    x0, y0, x1, y1 = box
    return math.floor(x0) <= column < math.ceil(x1) and math.floor(y0) <= row < math.ceil(y1)


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def box_seeds(boxes, categories, cuts, size):
    labels = np.zeros(size, np.uint8)
    for row in range(size[0]):
        for column in range(size[1]):
            over = [k for k in range(len(boxes)) if inside(boxes[k], row, column)]
            claims = [k for k in over if cuts[k][row, column]]
            if claims:
                labels[row, column] = categories[min(claims, key=lambda k: (area(boxes[k]), -k))]
            elif over:
                labels[row, column] = UNKNOWN
    return labels


def predicted_inside(cam, box):
    """S(M_I-B_k)."""
    rows, columns = cam.shape
    return {
        int(cam[row, column])
        for row in range(rows)
        for column in range(columns)
        if inside(box, row, column)
    }


def fused_seeds(cam, grabcut, boxes, categories):
    fused = np.zeros_like(cam)
    for row in range(cam.shape[0]):
        for column in range(cam.shape[1]):
            over = [k for k in range(len(boxes)) if inside(boxes[k], row, column)]
            value = UNKNOWN
            if not over:
                value = grabcut[row, column]
            elif grabcut[row, column] == cam[row, column]:
                value = cam[row, column]
            else:
                for k in over:
                    missed = categories[k] not in predicted_inside(cam, boxes[k])
                    if missed and grabcut[row, column] == categories[k]:
                        value = categories[k]
            fused[row, column] = value
    return fused


def confident_seeds(fused, grabcut, confident):
    result = np.full_like(fused, UNKNOWN)
    for place in np.ndindex(fused.shape):
        if fused[place] == grabcut[place] or fused[place] == confident[place]:
            result[place] = fused[place]
    return result


def agreeing_seeds(cam, fused, confident, boxes, categories):
    result = np.full_like(fused, UNKNOWN)
    for row, column in np.ndindex(fused.shape):
        label = fused[row, column]
        missed = any(
            inside(box, row, column)
            and category == label
            and category not in predicted_inside(cam, box)
            for box, category in zip(boxes, categories, strict=True)
        )
        if label == 0 or label == confident[row, column] or missed:
            result[row, column] = label
    return result


def confident_cam(cams, classes, fraction):
    """M'_I: of the pixels that a class wins, the share `fraction` with its highest activations."""
    result = np.full(cams.shape[1:], UNKNOWN, np.uint8)
    won = {label: [] for label in classes}
    for place in np.ndindex(result.shape):
        scores = [float(cam[place]) for cam in cams]
        peak = max(scores, default=0.0)
        background = (1 - peak) ** 24
        if background > 0.8:
            result[place] = 0
        if peak > background and peak > 0.01:
            won[classes[scores.index(peak)]].append((peak, place))
    for label, found in won.items():
        # Rank r of n pixels, from 0 upwards, is at or above the quantile q when r >= q (n - 1).
        for rank, (_, place) in enumerate(sorted(found)):
            if rank >= (1 - fraction) * (len(found) - 1) - 1e-9:
                result[place] = label
    return result


def expanded_marks(marks, segments):
    """Marks grown to the superpixels that hold them, and no other marks (A2GNN section 7.1)."""
    grown = marks.copy()
    for y, x in np.ndindex(marks.shape):
        own = {int(m) for m in marks[segments == segments[y, x]] if m != 255}
        if len(own) == 1:
            grown[y, x] = own.pop()
    return grown
