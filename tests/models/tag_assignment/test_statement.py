"""The statements in cvxpy and the solver, which know nothing of each other."""

import cvxpy as cp
import numpy as np
import pytest

from models.tag_assignment.problem import Problem
from models.tag_assignment.solve import relative_gap, solve
from models.tag_assignment.statement import Form, solve_statement, state
from tests.models.tag_assignment.drawn_problems import draw, draw_tiny
from tests.reference.tag_assignment import every_choice

WITH_SCIP = pytest.param(
    "miqp",
    marks=pytest.mark.skipif("SCIP" not in cp.installed_solvers(), reason="SCIP is not installed"),
)


def _problems() -> list[Problem]:
    tiny = [draw_tiny(seed).problem() for seed in range(12)]
    return [problem for problem in tiny if len(problem.gain)]


@pytest.mark.parametrize("form", ["milp", "miqp"])
def test_statement_has_the_objective_of_the_problem(form: Form) -> None:
    for problem in _problems():
        program, x = state(problem, form)
        for chosen in every_choice(problem)[:20]:
            x.value = chosen.astype(float)
            for other in program.variables():
                if other is not x:
                    other.value = (chosen[problem.left] & chosen[problem.right]).astype(float)
            expected = problem.objective(chosen) * problem.unit
            assert program.objective.value == pytest.approx(expected, abs=1e-9)
            assert all(constraint.value() for constraint in program.constraints)


def test_miqp_is_concave() -> None:
    program, _ = state(draw(30, 1).problem(), "miqp")
    assert program.is_dcp()


@pytest.mark.parametrize("form", ["milp", WITH_SCIP])
@pytest.mark.parametrize(("beta", "retention"), [(30, 0.95), (1, 0.5)])
def test_solver_agrees_with_the_statement(form: Form, beta: float, retention: float) -> None:
    nodes = 150 if form == "milp" else 40
    problem = draw(nodes, 2, beta=beta, retention=retention).problem()
    found, stated = solve(problem), solve_statement(problem, form=form)
    assert stated.lower == pytest.approx(found.lower, rel=1e-9)
    assert relative_gap(stated.lower, stated.upper) == 0
    assert stated.upper <= stated.dual_upper
    assert stated.chosen.sum() == problem.kept


def test_nothing_to_keep_needs_no_solver() -> None:
    stated = solve_statement(draw(5, 1, retention=0.1).problem())
    assert (stated.lower, stated.upper) == (0, 0)
    assert not stated.chosen.any()


def test_no_assignment_in_time_is_an_error() -> None:
    problem = draw(150, 2).problem()
    with pytest.raises(ValueError, match="time_limit: no assignment within 1e-09 s; expected more"):
        solve_statement(problem, time_limit=1e-9)


def test_pairs_may_be_missing() -> None:
    drawn = draw(4, 3, classes=4)
    keywords = np.eye(4, dtype=bool)
    problem = type(drawn)(
        drawn.features, drawn.probabilities, keywords, 1.0, 2, 1, "union"
    ).problem()
    assert len(problem.weight) == 0
    assert solve_statement(problem).lower == pytest.approx(solve(problem).lower)
