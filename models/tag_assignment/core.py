"""What the dual bound leaves undecided, solved by HiGHS.

A choice whose loss (models/tag_assignment/dual.py) exceeds the gap is in no assignment better than
the one at hand, so it is dropped: reduced-cost fixing. The instances that then still have a choice
are the core, a small mixed-integer linear program: a variable per slot and one per pair, which is
at most either of its slots.
"""

from dataclasses import dataclass

import highspy
import numpy as np
from scipy import sparse

from models.tag_assignment.dual import losses
from models.tag_assignment.dual_ascent import Ascent
from models.tag_assignment.problem import Bools, Floats, Indices, Problem


@dataclass(frozen=True)
class Core:
    """The slots and pairs that are still open.

    Attributes:
        fixed: bool [L] the slots that every better assignment chooses.
        slots: int64 [K] the open ones.
        owner: int64 [K] numbers 0..N-1 of their instances.
        must: bool [N] whether the instance cannot be rejected.
        gain: float64 [K] in units, with what pairs with fixed slots add.
        left, right: int64 [Q] pairs of open slots, as indices of `slots`.
        weight: float64 [Q] in units.
        kept: how many of the open slots are to be chosen.
        constant: objective of the fixed slots alone, in units.
    """

    fixed: Bools
    slots: Indices
    owner: Indices
    must: Bools
    gain: Floats
    left: Indices
    right: Indices
    weight: Floats
    kept: int
    constant: float


def open_core(problem: Problem, ascent: Ascent, *, most: int | None = None) -> Core:
    """Drop every choice that no assignment better than `ascent.chosen` makes.

    Args:
        problem: eq. 8.
        ascent: an assignment and shares.
        most: about so many slots stay open, those that cost least; what is left out of such a core
            may still be better. None: all that may.
    """
    of_slots, of_rejecting = losses(problem, ascent.shares)
    gap = ascent.upper - ascent.lower
    if most is not None:
        every = np.concatenate([of_slots, of_rejecting])
        last = min(len(problem.tagged) + most, len(every) - 1)
        gap = min(gap, float(np.partition(every, last)[last]))
    possible = of_slots <= gap
    may_reject = of_rejecting <= gap
    if most is not None:  # what is at hand stays possible
        possible |= ascent.chosen
        may_reject |= problem.rejected(ascent.chosen)
    choices = np.add.reduceat(possible, problem.starts[:-1], dtype=np.int64) + may_reject
    undecided = (choices > 1)[problem.owner]
    fixed = possible & ~undecided
    slots = np.flatnonzero(possible & undecided)
    owners, owner = np.unique(problem.owner[slots], return_inverse=True)
    place = np.full(len(possible), -1)
    place[slots] = np.arange(len(slots))
    # what a pair adds to its one open slot when the other is fixed
    gain = problem.gain.copy()
    for one, other in ((problem.left, problem.right), (problem.right, problem.left)):
        np.add.at(gain, one[fixed[other]], problem.weight[fixed[other]])
    both = (place[problem.left] >= 0) & (place[problem.right] >= 0)
    return Core(
        fixed=fixed,
        slots=slots,
        owner=owner,
        must=~may_reject[owners],
        gain=gain[slots],
        left=place[problem.left[both]],
        right=place[problem.right[both]],
        weight=problem.weight[both],
        kept=problem.kept - int(fixed.sum()),
        constant=problem.objective(fixed),
    )


def solve_core(
    problem: Problem, core: Core, ascent: Ascent, *, tolerance: float, time_limit: float
) -> tuple[Bools, float]:
    """The best assignment within a core, and an upper bound of those, which HiGHS stands for.

    Args:
        problem: eq. 8.
        core: of it.
        ascent: an assignment within the core.
        tolerance: absolute gap at which HiGHS may stop, in units.
        time_limit: wall seconds after which it does, as soon as it looks at the clock.

    Returns:
        bool [L] the chosen slots, those of `ascent` if nothing better was found, and the bound in
        units.
    """
    if not len(core.slots):
        return ascent.chosen, ascent.lower
    solver = highspy.Highs()
    for option, value in {
        "output_flag": False,
        "threads": 1,
        "mip_rel_gap": 0.0,
        "mip_heuristic_run_feasibility_jump": False,  # slow, and there is a start
        "mip_abs_gap": tolerance * problem.unit,
        "time_limit": time_limit,
    }.items():
        solver.setOptionValue(option, value)
    solver.passModel(_program(core, problem.unit))
    chosen = ascent.chosen[core.slots]
    together = chosen[core.left] & chosen[core.right]
    start = highspy.HighsSolution()
    start.col_value = np.concatenate([chosen, together]).astype(float)
    solver.setSolution(start)
    solver.run()
    bound = core.constant + solver.getInfo().mip_dual_bound / problem.unit
    found = core.fixed.copy()
    values = np.asarray(solver.getSolution().col_value)
    if len(values):
        found[core.slots] = values[: len(core.slots)] > 0.5
    # what was found in time may be nothing, or less than there was
    if found.sum() == problem.kept and problem.objective(found) > ascent.lower:
        return found, bound
    return ascent.chosen, bound


def _program(core: Core, unit: float) -> highspy.HighsLp:
    """The core as HiGHS reads it: slots, then pairs; instances, pairs twice, the number to keep."""
    slots, pairs, owners = len(core.slots), len(core.left), len(core.must)
    number = slots + np.arange(pairs)
    rows = owners + np.arange(2 * pairs)
    everything = np.arange(slots)
    matrix = sparse.csr_array(
        (
            np.concatenate([np.ones(slots + 2 * pairs), -np.ones(2 * pairs), np.ones(slots)]),
            (
                np.concatenate([core.owner, rows, rows, np.full(slots, owners + 2 * pairs)]),
                np.concatenate([everything, number, number, core.left, core.right, everything]),
            ),
        ),
        shape=(owners + 2 * pairs + 1, slots + pairs),
    )
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = slots + pairs, owners + 2 * pairs + 1
    program.sense_ = highspy.ObjSense.kMaximize
    program.col_cost_ = np.concatenate([core.gain, core.weight]) * unit
    program.col_lower_ = np.zeros(slots + pairs)
    program.col_upper_ = np.ones(slots + pairs)
    program.row_lower_ = np.concatenate(
        [core.must.astype(float), np.full(2 * pairs, -highspy.kHighsInf), [core.kept]]
    )
    program.row_upper_ = np.concatenate([np.ones(owners), np.zeros(2 * pairs), [core.kept]])
    program.integrality_ = [highspy.HighsVarType.kInteger] * slots + [
        highspy.HighsVarType.kContinuous
    ] * pairs
    program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    program.a_matrix_.start_ = matrix.indptr
    program.a_matrix_.index_ = matrix.indices
    program.a_matrix_.value_ = matrix.data
    return program
