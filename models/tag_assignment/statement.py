"""Eq. 8 as one reads it, in cvxpy: what the solver of this package is held against.

For some hundred instances; a whole data set is beyond both forms.
"""

import warnings
from typing import Literal

import cvxpy as cp
import numpy as np
from scipy import sparse

from models.tag_assignment.dual import upper_bound
from models.tag_assignment.problem import Problem
from models.tag_assignment.solve import Solution

Form = Literal["milp", "miqp"]


def state(problem: Problem, form: Form) -> tuple[cp.Problem, cp.Variable]:
    """The program and its variable x, one number per slot.

    Args:
        problem: eq. 8, of at least one slot.
        form: "milp" has a variable per pair, at most x at either end: 1 where both are chosen.
            "miqp" is the paper's: x'Wx, made concave by x_a x_b = (x_a + x_b - (x_a - x_b)^2) / 2,
            which holds for 0 and 1.
    """
    gain, weight = problem.gain * problem.unit, problem.weight * problem.unit
    slots, pairs = len(gain), len(weight)
    instance = sparse.csr_array((np.ones(slots), (problem.owner, np.arange(slots))))
    x = cp.Variable(slots, boolean=True)
    constraints = [instance @ x <= 1, cp.sum(x) == problem.kept]
    value = gain @ x
    if pairs:
        left, right = x[problem.left], x[problem.right]
        if form == "milp":
            together = cp.Variable(pairs)
            constraints += [together <= left, together <= right]
            value += weight @ together
        else:
            apart = cp.sum_squares(cp.multiply(np.sqrt(weight / 2), left - right))
            value += weight @ (left + right) / 2 - apart
    return cp.Problem(cp.Maximize(value), constraints), x


def solve_statement(problem: Problem, *, form: Form = "milp", time_limit: float = 60.0) -> Solution:
    """Solve what `state` says: "milp" with HiGHS, "miqp" with SCIP, which must be installed.

    Args:
        problem: eq. 8.
        form: as in `state`.
        time_limit: wall seconds.

    Returns:
        As `models.tag_assignment.solve.solve`, with every weight split in halves. `upper` is the
        solver's word if it says "optimal", else `dual_upper`.

    Raises:
        ValueError: no assignment was found in time.
    """
    shares = np.floor(problem.weight / 2)
    dual_upper = upper_bound(problem, shares) * problem.unit
    if problem.kept == 0:
        return Solution(np.zeros(len(problem.gain), dtype=bool), shares, 0.0, 0.0, 0.0)
    program, x = state(problem, form)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "may be inaccurate": out of time
        if form == "milp":
            program.solve(solver=cp.HIGHS, mip_rel_gap=0.0, time_limit=time_limit)
        else:
            program.solve(solver=cp.SCIP, scip_params={"limits/gap": 0, "limits/time": time_limit})
    chosen = np.zeros(len(problem.gain), dtype=bool) if x.value is None else x.value > 0.5
    if chosen.sum() != problem.kept:
        raise ValueError(f"time_limit: no assignment within {time_limit:g} s; expected more time")
    lower = problem.objective(chosen) * problem.unit
    upper = lower if program.status == cp.OPTIMAL else dual_upper
    return Solution(chosen, shares, lower, upper, dual_upper)
