"""Assignments: from the scores of slots, and made better by small changes."""

import numpy as np

from models.tag_assignment.dual import best_scores
from models.tag_assignment.problem import Bools, Floats, Problem


def best_slots(problem: Problem, scores: Floats, best: Floats) -> Bools:
    """The best slot of each of the `kept` instances whose best slots score highest.

    Args:
        problem: with something to keep.
        scores: float64 [L].
        best: `best_scores` of them.

    Returns:
        bool [L].
    """
    keep = np.zeros(len(best), dtype=bool)
    keep[np.argpartition(best, len(best) - problem.kept)[len(best) - problem.kept :]] = True
    slots = np.flatnonzero((scores == best[problem.owner]) & keep[problem.owner])
    first = np.diff(problem.owner[slots], prepend=-1) > 0  # of several that are as good
    chosen = np.zeros(len(scores), dtype=bool)
    chosen[slots[first]] = True
    return chosen


def improved(problem: Problem, chosen: Bools, *, passes: int = 10) -> Bools:
    """Other tags, and rejected instances in place of tagged ones, while that raises the objective.

    A pass sees what each slot would add with all other instances as they are, and makes the changes
    of which no two are of neighbours, so that what they add is a sum.

    Args:
        problem: with something to keep.
        chosen: bool [L], an assignment.
        passes: at most.

    Returns:
        bool [L].
    """
    for _ in range(passes):
        adds = _added(problem, chosen)
        wanted = best_slots(problem, adds, best_scores(problem, adds))
        changed = np.logical_or.reduceat(wanted != chosen, problem.starts[:-1])
        changed[problem.ends[1][changed[problem.ends].all(0)]] = False
        out, to_be_out = problem.rejected(chosen), problem.rejected(wanted)
        enter, leave = changed & out & ~to_be_out, changed & ~out & to_be_out
        surplus = int(enter.sum()) - int(leave.sum())
        if surplus:
            crowd = np.flatnonzero(enter if surplus > 0 else leave)
            changed[crowd[: abs(surplus)]] = False
        better = np.where(changed[problem.owner], wanted, chosen)
        if not adds[better].sum() > adds[chosen].sum():
            break
        chosen = better
    return chosen


def _added(problem: Problem, chosen: Bools) -> Floats:
    """What each slot adds to the objective, given the slots of the others."""
    slots = len(problem.gain)
    added = problem.gain + np.bincount(problem.left, problem.weight * chosen[problem.right], slots)
    added += np.bincount(problem.right, problem.weight * chosen[problem.left], slots)
    return added
