"""Dual ascent on the slots: the split of each pair's weight that bounds eq. 8 best.

The bound of models/tag_assignment/dual.py is the minimum over a price lam of

    m lam + sum over the instances of max(0, best score - lam),

convex in the shares. With lam fixed, a pair touches two terms: its slot a of instance u costs
nothing while its score stays below max(lam, u's other slots). The best share of a gives both ends
the same room to that ceiling, so that one step is "move half the difference of the rooms, within
0..weight". Pairs without an instance in common do not see each other, so a matching of them is
moved at once. Of instances with more pairs than there are matchings, the rest moves by a fraction,
such that no instance moves by more than one step in all: a convex combination of steps that do not
raise the bound does not raise it. lam is read anew before each sweep; it is then the bound's
minimum, and the bound never rises.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.tag_assignment.dual import best_scores, bound_and_price, slot_scores
from models.tag_assignment.primal import best_slots, improved
from models.tag_assignment.problem import Bools, Floats, Indices, Problem

MATCHINGS = 128  # at most; an instance with more pairs is a hub
PATIENCE = 8  # sweeps without a gap that is smaller by a hundredth
FEW = 500  # one open slot in so many: HiGHS solves those in less than a sweep or two take


@dataclass(frozen=True)
class Ascent:
    """An assignment and how good it is at least.

    Attributes:
        chosen: bool [L] the slots of the best assignment found.
        shares: float64 [P] a split of the weights (`slot_scores`).
        lower: the objective of `chosen`, in units.
        upper: the bound of `shares`, in units.
    """

    chosen: Bools
    shares: Floats
    lower: float
    upper: float


@dataclass(frozen=True)
class _Batch:
    """B pairs that move at once.

    Attributes:
        pairs: their indices.
        left, right: int64 [B] their slots.
        rivals: for each of `left`, then each of `right`: all slots of its instance, with L, which
            stands for the price, in place of the slot itself.
        starts: int64 [2 B] where the rivals of each begin.
        weight: float64 [B].
        fraction: float64 [B] of a step that is made.
    """

    pairs: Indices
    left: Indices
    right: Indices
    rivals: Indices
    starts: Indices
    weight: Floats
    fraction: Floats


def ascend(
    problem: Problem, *, tolerance: float, start: Ascent | None = None, sweeps: int = 100
) -> Ascent:
    """Move the shares until their bound meets an assignment or hardly gets better.

    Args:
        problem: with something to keep.
        tolerance: the relative gap to stop at.
        start: where to go on from.
        sweeps: at most.
    """
    batches = [_batch(problem, pairs, fraction) for pairs, fraction in _matchings(problem)]
    few = max(64, len(problem.gain) // FEW)
    lower, least, last = -1.0, np.inf, 0
    chosen = np.zeros(len(problem.gain), dtype=bool)
    shares = np.floor(problem.weight / 2)
    if start is not None:
        chosen, shares, lower = start.chosen, start.shares.copy(), start.lower
    scores = np.append(slot_scores(problem, shares), 0.0)
    for sweep in range(sweeps + 1):
        best = best_scores(problem, scores[:-1])
        upper, scores[-1] = bound_and_price(best, problem.kept)
        found = improved(problem, best_slots(problem, scores[:-1], best))
        value = problem.objective(found)
        if value > lower:
            lower, chosen = value, found
        gap = upper - lower
        if gap < 0.99 * least:
            least, last = gap, sweep
        ended = gap <= tolerance * upper or sweep - last == PATIENCE or sweep == sweeps
        if ended or _open_slots(problem, scores, best, gap) <= few:
            break
        for batch in batches:
            _move(batch, shares, scores)
    return Ascent(chosen, shares, lower, upper)


def _open_slots(problem: Problem, scores: Floats, best: Floats, gap: float) -> int:
    """How many slots of undecided instances the gap leaves, at most; `open_core` has them."""
    loss = np.maximum(best, scores[-1])[problem.owner] - scores[:-1]
    return int(np.count_nonzero(loss <= gap)) - problem.kept


def _move(batch: _Batch, shares: Floats, scores: Floats) -> None:
    """One step of each pair; the scores follow."""
    count = len(batch.pairs)
    ceiling = np.maximum.reduceat(scores[batch.rivals], batch.starts)
    room = ceiling[:count] - scores[batch.left] - ceiling[count:] + scores[batch.right]
    old = shares[batch.pairs]
    new = np.clip(old + room / 2, 0, batch.weight)
    step = np.trunc((new - old) * batch.fraction)
    shares[batch.pairs] = old + step
    np.add.at(scores, batch.left, step)
    np.subtract.at(scores, batch.right, step)


def _matchings(problem: Problem) -> Iterator[tuple[Indices, Floats]]:
    """The pairs in batches, with the fraction of a step that each may make.

    In all but the last batch no instance is twice: pair after pair takes the first batch in which
    its two instances are free.
    """
    u, v = problem.ends
    taken = [0] * len(problem.tagged)  # a bit per batch
    batch = np.empty(len(u), dtype=np.int64)
    for pair, (one, other) in enumerate(zip(u.tolist(), v.tolist(), strict=True)):
        both = taken[one] | taken[other]
        free = ~both & (both + 1)  # the lowest bit that neither has
        batch[pair] = free.bit_length() - 1
        taken[one] |= free
        taken[other] |= free
    order = np.argsort(np.minimum(batch, MATCHINGS), kind="stable")
    ends = np.cumsum(np.bincount(np.minimum(batch, MATCHINGS)))
    for number, pairs in enumerate(np.split(order, ends[:-1])):
        fraction = np.ones(len(pairs))
        if number == MATCHINGS:
            times = np.bincount(np.concatenate([u[pairs], v[pairs]]))
            fraction /= np.maximum(times[u[pairs]], times[v[pairs]])
        yield pairs, fraction


def _batch(problem: Problem, pairs: Indices, fraction: Floats) -> _Batch:
    left, right = problem.left[pairs], problem.right[pairs]
    slots = np.concatenate([left, right])
    owner = problem.owner[slots]
    begins = problem.starts[owner]
    counts = problem.starts[owner + 1] - begins
    starts = np.cumsum(counts) - counts
    rivals = np.repeat(begins - starts, counts) + np.arange(int(counts.sum()))
    rivals[starts + slots - begins] = len(problem.gain)
    return _Batch(pairs, left, right, rivals, starts, problem.weight[pairs], fraction)
