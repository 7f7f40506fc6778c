"""Eq. 5 and 8 of Fan et al. by their letter: dense matrices, every assignment, exact fractions."""

import itertools
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from models.tag_assignment.problem import Problem
from models.tag_assignment.similarity import Symmetrise

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def dense_similarity(features: Floats, k: int, symmetrise: Symmetrise) -> Floats:
    """W [n, n] of eq. 5 after edge reduction, symmetric."""
    nodes = len(features)
    retained = np.zeros((nodes, nodes))
    for u in range(nodes):
        cosines = {}
        for v in range(nodes):
            if v != u:
                lengths = np.sqrt((features[u] ** 2).sum()) * np.sqrt((features[v] ** 2).sum())
                cosines[v] = round(float((features[u] * features[v]).sum() / lengths), 12)
        for v in sorted(cosines, key=lambda v: (-cosines[v], v))[:k]:
            retained[u, v] = cosines[v] + 1
    if symmetrise == "union":
        return np.maximum(retained, retained.T)
    if symmetrise == "mutual":
        return np.minimum(retained, retained.T)
    return (retained + retained.T) / 2


def objective(
    similarity: Floats, probabilities: Floats, beta: float, categories: tuple[int, ...]
) -> float:
    """What eq. 8 maximises, as matrices: sum_i x_i' W x_i + beta p_i x_i; -1 is no category."""
    total = 0.0
    for i in range(probabilities.shape[1]):
        x = np.array([float(category == i) for category in categories])
        total += float(x @ similarity @ x + beta * probabilities[:, i] @ x)
    return total


def best_objective(
    similarity: Floats, probabilities: Floats, keywords: Bools, beta: float, kept: int
) -> float:
    """The maximum of eq. 8 over every assignment that tags `kept` instances."""
    options = [[-1, *np.flatnonzero(row).tolist()] for row in keywords]
    return max(
        objective(similarity, probabilities, beta, categories)
        for categories in itertools.product(*options)
        if sum(category >= 0 for category in categories) == kept
    )


def every_choice(problem: Problem) -> list[Bools]:
    """Every assignment of a problem, as chosen slots."""
    options = [
        [None, *range(first, last)] for first, last in itertools.pairwise(problem.starts.tolist())
    ]
    found = []
    for picked in itertools.product(*options):
        slots = [slot for slot in picked if slot is not None]
        if len(slots) == problem.kept:
            chosen = np.zeros(len(problem.gain), dtype=bool)
            chosen[slots] = True
            found.append(chosen)
    return found


def exact_bound(problem: Problem, shares: Floats) -> Fraction:
    """The upper bound of a split in exact fractions, one slot and one pair at a time."""
    scores = [Fraction(value) for value in problem.gain.tolist()]
    for left, right, weight, share in zip(
        problem.left.tolist(),
        problem.right.tolist(),
        problem.weight.tolist(),
        shares.tolist(),
        strict=True,
    ):
        assert 0 <= share <= weight
        scores[left] += Fraction(share)
        scores[right] += Fraction(weight) - Fraction(share)
    best = [max(scores[first:last]) for first, last in itertools.pairwise(problem.starts.tolist())]
    return sum(sorted(best, reverse=True)[: problem.kept], Fraction(0))


def exact_objective(problem: Problem, chosen: Bools) -> Fraction:
    """The objective of an assignment in exact fractions."""
    total = sum((Fraction(problem.gain[slot]) for slot in np.flatnonzero(chosen)), Fraction(0))
    for left, right, weight in zip(
        problem.left.tolist(), problem.right.tolist(), problem.weight.tolist(), strict=True
    ):
        if chosen[left] and chosen[right]:
            total += Fraction(weight)
    return total


def centre_terms(features: Floats, centres: Floats, labels: list[int]) -> float:
    """The second term of eq. 3 without lambda, the mean over samples."""
    terms = []
    for f, label in zip(features, labels, strict=True):
        c = centres[label]
        terms.append(1 - float(f @ c) / float(np.sqrt(f @ f) * np.sqrt(c @ c)))
    return sum(terms) / len(terms)


def centres_after(centres: Floats, features: Floats, labels: list[int], rate: float) -> Floats:
    """Eq. 4 unrolled: each class's centre as the weighted sum that its samples make of it."""
    after = centres.copy()
    for label in range(len(centres)):
        own = [f for f, at in zip(features, labels, strict=True) if at == label]
        keep = 1 - rate
        after[label] = keep ** len(own) * centres[label]
        for turn, f in enumerate(own, start=1):
            after[label] += rate * keep ** (len(own) - turn) * f
    return after


def painted_map(masks: list[Bools], labels: list[int], size: tuple[int, int]) -> Floats:
    """Pixel by pixel: the smallest named mask there; else 255 where one is rejected, else 0."""
    found = np.zeros(size)
    for y in range(size[0]):
        for x in range(size[1]):
            here = [row for row, mask in enumerate(masks) if mask[y, x]]
            named = [row for row in here if labels[row]]
            if named:  # of equal ones the later
                found[y, x] = labels[min(named, key=lambda row: (masks[row].sum(), -row))]
            elif here or not any(labels):
                found[y, x] = 255
    return found
