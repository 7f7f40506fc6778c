"""Upper bounds of eq. 8, in one line each.

Each pair's weight is split into two shares, one for each of its slots: t and weight - t, both >= 0.
The score S of a slot is its gain and the shares it got. A pair that is chosen pays out both shares
and one of which a single slot is chosen could only have kept one, so the scores of the chosen slots
sum to the objective or more. Hence for every split the sum of the m largest of the instances' best
scores bounds eq. 8 from above (m = floor(r n)), and so do the losses below. Where the bound meets
the objective of an assignment, that assignment is proven optimal, whoever found it.
"""

import numpy as np
import numpy.typing as npt

from models.tag_assignment.problem import Bools, Floats, Problem


def slot_scores(problem: Problem, shares: Floats) -> Floats:
    """S of each slot.

    Args:
        problem: of L slots and P pairs.
        shares: float64 [P] t of each pair's left slot, whole numbers in 0..weight.

    Returns:
        float64 [L].
    """
    slots = len(problem.gain)
    scores = problem.gain + np.bincount(problem.left, shares, slots)
    scores += np.bincount(problem.right, problem.weight - shares, slots)
    return scores


def best_scores(problem: Problem, scores: Floats) -> Floats:
    """float64 [T] the highest score of each instance that has a keyword."""
    if not len(problem.tagged):
        return np.empty(0)
    best: Floats = np.maximum.reduceat(scores, problem.starts[:-1])
    return best


def bound_and_price(best: Floats, kept: int) -> tuple[float, float]:
    """The sum of the `kept` largest, and the smallest of those: what a place among them costs."""
    if kept == 0:
        return 0.0, np.inf
    largest = np.partition(best, len(best) - kept)[len(best) - kept :]
    return float(largest.sum()), float(largest[0])


def upper_bound(problem: Problem, shares: Floats) -> float:
    """The certificate: no assignment has a higher objective, in units."""
    best = best_scores(problem, slot_scores(problem, shares))
    return bound_and_price(best, problem.kept)[0]


def losses(problem: Problem, shares: Floats) -> tuple[Floats, Floats]:
    """How far below the bound every assignment stays that makes a certain choice.

    Args:
        problem: with something to keep.
        shares: as in `slot_scores`.

    Returns:
        float64 [L] of choosing a slot, and [T] of rejecting an instance; >= 0, in units.
    """
    scores = slot_scores(problem, shares)
    best = best_scores(problem, scores)
    price = bound_and_price(best, problem.kept)[1]
    return np.maximum(best, price)[problem.owner] - scores, np.maximum(best - price, 0)


def margins(problem: Problem, shares: Floats, chosen: Bools) -> npt.NDArray[np.float64]:
    """How much of the bound it costs to decide otherwise about one instance.

    Every assignment that gives it another tag, or rejects it where `chosen` does not or the other
    way round, has an objective of at most the upper bound less the margin.

    Args:
        problem: eq. 8.
        shares: as in `slot_scores`.
        chosen: bool [L], the assignment.

    Returns:
        float64 [n] >= 0, in what eq. 8 is in, not in units; inf where there is no other way.
    """
    found = np.full(problem.instances, np.inf)
    if problem.kept == 0:
        return found
    of_slots, of_rejecting = losses(problem, shares)
    of_slots[chosen] = np.inf
    of_rejecting[problem.rejected(chosen)] = np.inf
    others = np.minimum.reduceat(of_slots, problem.starts[:-1])
    found[problem.tagged] = np.minimum(others, of_rejecting) * problem.unit
    return found
