"""The losses of models.boxmask.losses, and the boxes of an image put together, pixel by pixel."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.boxmask.compose import Opinion

Array = npt.NDArray[np.float64]
NEIGHBOURS = [(y, x) for y in (-2, 0, 2) for x in (-2, 0, 2) if (y, x) != (0, 0)]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def teacher_loss(logits: Array, target: Array, weight: Array) -> float:
    total = 0.0
    for logit, wanted, worth in zip(logits.flat, target.flat, weight.flat, strict=True):
        chance = sigmoid(logit)
        total -= worth * (wanted * math.log(chance) + (1 - wanted) * math.log(1 - chance))
    return total / max(weight.sum(), 1)


def projection_loss(logits: Array, inside: Array) -> float:
    total = 0.0
    for mask, box in zip(logits, inside, strict=True):
        for turn in (False, True):
            rows = mask.T if turn else mask
            own = [max(sigmoid(value) for value in row) for row in rows]
            there = [max(row) for row in (box.T if turn else box)]
            both = 2 * sum(a * b for a, b in zip(own, there, strict=True))
            total += 1 - both / (sum(a * a for a in own) + sum(b * b for b in there))
    return total / len(logits)


def pairwise_loss(logits: Array, colours: Array, inside: Array, closeness: float) -> float:
    terms = []
    samples, height, width = logits.shape
    for sample, y, x in np.ndindex(samples, height, width):
        for down, right in NEIGHBOURS:
            i, j = y + down, x + right
            if not (0 <= i < height and 0 <= j < width):
                continue
            distance = np.linalg.norm(colours[sample, :, y, x] - colours[sample, :, i, j])
            either = max(inside[sample, y, x], inside[sample, i, j]) > 0.5
            if distance < closeness and either:
                a, b = sigmoid(logits[sample, y, x]), sigmoid(logits[sample, i, j])
                terms.append(-math.log(a * b + (1 - a) * (1 - b)))
    return sum(terms) / max(len(terms), 1)


def class_scores(
    opinions: Sequence[Opinion], size: tuple[int, int], classes: Sequence[int]
) -> Array:
    scores = np.zeros((len(classes), *size))
    for y, x in np.ndindex(*size):
        best = dict.fromkeys(classes, 0.0)
        claims: list[tuple[float, int]] = []
        for opinion in opinions:
            x0, y0, x1, y1 = opinion.window.inner
            if x0 <= x < x1 and y0 <= y < y1:
                chance = float(opinion.probability[y - y0, x - x0])
                best[opinion.category] = max(best[opinion.category], chance)
                if chance > 0.5:
                    odds = min(chance, 0.999) / (1 - min(chance, 0.999))
                    claims.append((odds / ((x1 - x0) * (y1 - y0)), opinion.category))
        best[0] = 1 - max([best[label] for label in classes if label], default=0.0)
        if claims:
            likeliest, owner = max(best, key=lambda label: best[label]), max(claims)[1]
            best[likeliest], best[owner] = best[owner], best[likeliest]
        total = sum(best.values())
        scores[:, y, x] = [best[label] / total for label in classes]
    return scores


def seeds(opinions: Sequence[Opinion], labels: npt.NDArray[np.uint8], sure: float) -> Array:
    """Without the rule that no box is left without a seed."""
    found = np.zeros(labels.shape)
    for y, x in np.ndindex(*labels.shape):
        objects, others = False, True
        for opinion in opinions:
            x0, y0, x1, y1 = opinion.window.inner
            if x0 <= x < x1 and y0 <= y < y1:
                chance = opinion.predicted[y - y0, x - x0]
                cut = chance > 0.5 if opinion.cut is None else bool(opinion.cut[y - y0, x - x0])
                objects |= chance >= sure and cut and labels[y, x] == opinion.category
                likely = opinion.probability[y - y0, x - x0] > 0.5 or opinion.mask[y - y0, x - x0]
                others &= chance <= 1 - sure and not cut and not likely
        found[y, x] = labels[y, x] if objects else 0 if others else 255
    return found


def mixed(
    predicted: npt.NDArray[np.float32],
    again: npt.NDArray[np.bool_],
    cut: npt.NDArray[np.bool_] | None,
) -> npt.NDArray[np.float64]:
    """Pixel by pixel: each opinion counts by the square of how far its mask reaches in its box."""
    height, width = predicted.shape
    opinions = [(0.35, predicted > 0.5, predicted), (0.15, again, None)]
    if cut is not None:
        opinions.append((0.5, cut, None))
    whole = sum(share for share, _, _ in opinions)
    weights = []
    for share, mask, _ in opinions:
        rows = [y for y in range(height) if mask[y].any()]
        columns = [x for x in range(width) if mask[:, x].any()]
        area = (max(rows) - min(rows) + 1) * (max(columns) - min(columns) + 1) if rows else 0
        weights.append(share / whole * (area / (height * width)) ** 2)
    result = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            result[y, x] = 0.7 * (1 - sum(weights))
            for weight, (_, mask, soft) in zip(weights, opinions, strict=True):
                chance = float(soft[y, x]) if soft is not None else (0.85 if mask[y, x] else 0.15)
                result[y, x] += weight * chance
    return result
