"""Eq. 8 as one problem: dual ascent, and HiGHS for what it leaves open."""

import time
from dataclasses import dataclass, replace

import numpy as np

from models.tag_assignment.core import open_core, solve_core
from models.tag_assignment.dual_ascent import Ascent, ascend
from models.tag_assignment.primal import improved
from models.tag_assignment.problem import Bools, Floats, Problem

TOLERANCE = 1e-9  # relative gap that counts as none
#: What makes a core hard are its pairs. With so many HiGHS is done in a second or so,
EASY = 1500
#: and with so many it finds nothing within minutes.
HOPELESS = 10_000
ROUNDS = 4  # of nearing the optimum before it is proven


@dataclass(frozen=True)
class Solution:
    """An assignment between its bounds, which are in what eq. 8 is in.

    Attributes:
        chosen: bool [L] the slots; as many as are to be kept, one per instance at most.
        shares: float64 [P] the split of the weights that `dual_upper` is the bound of.
        lower: the objective of `chosen`.
        upper: no assignment is better than this, by `dual_upper` or by the word of a solver.
        dual_upper: the bound that `models.tag_assignment.dual.upper_bound` finds anew.
    """

    chosen: Bools
    shares: Floats
    lower: float
    upper: float
    dual_upper: float


def solve(problem: Problem, *, time_limit: float = 60.0) -> Solution:
    """The best assignment, proven optimal wherever time allows.

    Args:
        problem: eq. 8.
        time_limit: wall seconds for the part that dual ascent leaves open.
    """
    if problem.kept == 0:
        nothing = np.zeros(len(problem.gain), dtype=bool)
        return Solution(nothing, np.floor(problem.weight / 2), 0.0, 0.0, 0.0)
    ascent = ascend(problem, tolerance=TOLERANCE)
    end = time.monotonic() + time_limit
    tolerance = TOLERANCE * ascent.upper
    core = open_core(problem, ascent)
    for _ in range(ROUNDS):
        left = end - time.monotonic()
        if len(core.left) <= EASY or ascent.upper - ascent.lower <= tolerance or left <= 0:
            break
        before, ascent = ascent.lower, _nearer(problem, ascent, left / 4)
        if ascent.lower == before:
            break
        core = open_core(problem, ascent)
    chosen, lower, upper = ascent.chosen, ascent.lower, ascent.upper
    left = end - time.monotonic()
    if upper - lower > tolerance and len(core.left) <= HOPELESS and left > 0:
        chosen, bound = solve_core(problem, core, ascent, tolerance=tolerance, time_limit=left)
        lower = problem.objective(chosen)
        upper = min(upper, max(bound, lower))
    unit = problem.unit
    return Solution(chosen, ascent.shares, lower * unit, upper * unit, ascent.upper * unit)


def _nearer(problem: Problem, ascent: Ascent, time_limit: float) -> Ascent:
    """A better assignment among the choices that cost least, and from there on with the ascent.

    Where clusters as a whole are in or out, no small change leads from one good assignment to a
    better one, and the gap leaves nearly all choices open.
    """
    most = EASY
    while len((core := open_core(problem, ascent, most=most)).left) > EASY and most > 1:
        most //= 2
    tolerance = (ascent.upper - ascent.lower) / 20
    chosen, _ = solve_core(problem, core, ascent, tolerance=tolerance, time_limit=time_limit)
    chosen = improved(problem, chosen)
    if problem.objective(chosen) <= ascent.lower:
        return ascent
    start = replace(ascent, chosen=chosen, lower=problem.objective(chosen))
    return ascend(problem, tolerance=TOLERANCE, start=start)


def relative_gap(lower: float, upper: float) -> float:
    """(upper - lower) / upper; 0 where both are 0."""
    return (upper - lower) / upper if upper else 0.0
