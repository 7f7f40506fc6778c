"""Measures of salient object ranking, by the letter and one pair at a time."""

import itertools
import math

import numpy as np


def ranks_of(values):
    """1 = smallest; equal values share the lowest."""
    return [1 + sum(other < value for other in values) for value in values]


def pearson(first, second):
    n = len(first)
    mean_a, mean_b = sum(first) / n, sum(second) / n
    above = sum((a - mean_a) * (b - mean_b) for a, b in zip(first, second, strict=True))
    below = math.sqrt(
        sum((a - mean_a) ** 2 for a in first) * sum((b - mean_b) ** 2 for b in second)
    )
    return above / below if below else math.nan


def spearman(first, second):
    def middle(values):
        return [sum(o < v for o in values) + (1 + sum(o == v for o in values)) / 2 for v in values]

    return pearson(middle(first), middle(second))


def paper_matches(iou, confidence):
    taken = {}
    for found in sorted(range(len(iou)), key=lambda p: -confidence[p]):
        free = [g for g in range(len(iou[found])) if g not in taken and iou[found][g] >= 0.5]
        if free:
            taken[max(free, key=lambda g: iou[found][g])] = found
    return taken


def paper_sa_sor(iou, saliency, confidence, truth):
    if len(truth) < 2 or len(set(truth)) == 1:
        return math.nan
    taken, ranks = paper_matches(iou, confidence), ranks_of(saliency)
    row = [ranks[taken[g]] if g in taken else 0 for g in range(len(truth))]
    value = pearson(row, ranks_of(truth))
    return 0.0 if math.isnan(value) else value


def hungarian_sa_sor(iou, saliency, truth):
    """All assignments are tried; the caller keeps IoUs distinct, so that one is best."""
    found, true = len(iou), len(truth)
    places = [*range(found), *[-1] * true]
    best, chosen = -1.0, ()
    for order in set(itertools.permutations(places, true)):
        total = sum(iou[p][g] for g, p in enumerate(order) if p >= 0)
        if total > best:
            best, chosen = total, order
    ranks = ranks_of(saliency)
    row = [ranks[p] if p >= 0 and iou[p][g] > 0.5 else 0 for g, p in enumerate(chosen)]
    value = pearson(row, ranks_of(truth)) if true > 1 else math.nan
    return 0.0 if math.isnan(value) else value


def released_sa_sor(iou, saliency, truth):
    """The public code's steps: best of each true instance, losers out, extra ones behind."""
    if len(truth) < 2:
        return math.nan
    wanted = []
    for g in range(len(truth)):
        column = [row[g] for row in iou]
        best = max(range(len(column)), key=lambda p: (column[p], p), default=-1)
        wanted.append(best if best >= 0 and column[best] >= 0.5 else -1)
    for found in set(wanted) - {-1}:
        rivals = [g for g, p in enumerate(wanted) if p == found]
        winner = max(rivals, key=lambda g: (iou[found][g], g))
        for g in rivals:
            if g != winner:
                wanted[g] = -1
    listed = [p for p in wanted if p >= 0]
    if len(iou) > len(truth):
        listed += [p for p in range(len(iou)) if p not in listed]
    ranks = iter(ranks_of([saliency[p] for p in listed]))
    row = [next(ranks) if p >= 0 else 0 for p in wanted]
    return 0.0 if len(set(row)) == 1 else pearson(row, ranks_of(truth))


def ssor(grey, masks, truth, rule="mode"):
    kept = []
    for mask, true in zip(masks, truth, strict=True):
        inside = [int(v) for v in np.asarray(grey)[np.asarray(mask)]]
        painted = [v for v in inside if v]
        if rule == "mean":
            level = sum(inside) / len(inside)
        elif len(painted) > len(inside) // 2:
            level = max(sorted(set(painted)), key=lambda v: (painted.count(v), -v))
        else:
            level = 0
        if level and true:
            kept.append((level, true))
    if len(kept) == 1:
        return 1.0 if rule == "mode" else math.nan
    if not kept:
        return math.nan
    return (1 + spearman(*zip(*kept, strict=True))) / 2


def pairs(taken, saliency, truth):
    right = total = 0.0
    for a, b in itertools.combinations(range(len(truth)), 2):
        if truth[a] == truth[b]:
            continue
        total += 1
        high, low = (a, b) if truth[a] > truth[b] else (b, a)
        if high in taken and low not in taken:
            right += 1
        elif high in taken and low in taken:
            gap = saliency[taken[high]] - saliency[taken[low]]
            right += 1 if gap > 0 else 0.5 if gap == 0 else 0
    return right, total
