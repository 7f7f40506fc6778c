"""The solution of eq. 8 against every assignment, and its bounds in exact fractions."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tag_assignment import solve as solve_module
from models.tag_assignment.core import open_core
from models.tag_assignment.dual import losses, margins, upper_bound
from models.tag_assignment.dual_ascent import MATCHINGS, _matchings, ascend
from models.tag_assignment.primal import improved
from models.tag_assignment.problem import Bools, Problem
from models.tag_assignment.solve import relative_gap, solve
from tests.models.tag_assignment.drawn_problems import draw, draw_tiny
from tests.reference.tag_assignment import (
    best_objective,
    dense_similarity,
    every_choice,
    exact_bound,
    exact_objective,
)


def _is_feasible(problem: Problem, chosen: Bools) -> bool:
    each = np.bincount(problem.owner[chosen], minlength=1)
    return int(chosen.sum()) == problem.kept and int(each.max(initial=0)) <= 1


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_tiny_problems_are_solved_as_by_trying_every_assignment(start: int) -> None:
    for seed in range(start, start + 50):
        drawn = draw_tiny(seed)
        problem = drawn.problem()
        found = solve(problem)
        similarity = dense_similarity(drawn.features, drawn.k, drawn.symmetrise)
        expected = best_objective(
            similarity, drawn.probabilities, drawn.keywords, drawn.beta, drawn.kept
        )
        assert found.lower == pytest.approx(expected, abs=1e-9), seed
        assert relative_gap(found.lower, found.upper) <= 1e-9, seed
        assert found.lower <= found.upper <= found.dual_upper
        assert _is_feasible(problem, found.chosen)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_any_split_bounds_every_assignment(seed: int, other: int) -> None:
    problem = draw_tiny(seed).problem()
    shares = np.floor(np.random.default_rng(other).random(len(problem.weight)) * problem.weight)
    bound = upper_bound(problem, shares)
    assert exact_bound(problem, shares) == int(bound)
    assert all(problem.objective(chosen) <= bound for chosen in every_choice(problem))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_losses_and_margins_hold_for_every_assignment(seed: int, other: int) -> None:
    problem = draw_tiny(seed).problem()
    choices = every_choice(problem)
    if problem.kept == 0:
        assert np.isinf(margins(problem, problem.weight, choices[0])).all()
        return
    shares = np.floor(np.random.default_rng(other).random(len(problem.weight)) * problem.weight)
    bound = upper_bound(problem, shares)
    of_slots, of_rejecting = losses(problem, shares)
    chosen = choices[seed % len(choices)]
    found = margins(problem, shares, chosen)[problem.tagged] / problem.unit
    for choice in choices:
        most = of_slots[choice].sum() + of_rejecting[problem.rejected(choice)].sum()
        assert problem.objective(choice) <= bound - most
        moved = np.logical_or.reduceat(choice != chosen, problem.starts[:-1])
        assert problem.objective(choice) <= bound - found[moved].max(initial=0)


@pytest.mark.parametrize(("beta", "retention"), [(30, 0.95), (10, 0.8), (0, 0.5)])
def test_certificate_is_the_same_in_exact_fractions(beta: float, retention: float) -> None:
    problem = draw(600, 1, beta=beta, retention=retention).problem()
    found = solve(problem)
    assert exact_objective(problem, found.chosen) == int(found.lower / problem.unit)
    assert exact_bound(problem, found.shares) == int(found.dual_upper / problem.unit)
    assert relative_gap(found.lower, found.upper) <= 1e-9
    assert relative_gap(found.lower, found.dual_upper) <= 1e-3


def test_dual_ascent_alone_proves_an_optimum() -> None:
    problem = draw(600, 3, beta=10, retention=0.8).problem()
    ascent = ascend(problem, tolerance=0)
    assert ascent.upper == ascent.lower
    assert exact_bound(problem, ascent.shares) == exact_objective(problem, ascent.chosen)


@pytest.mark.parametrize("start", range(0, 300, 100))
def test_gap_is_stated_and_never_negative(start: int) -> None:
    generator = np.random.default_rng(start)
    for seed in range(start, start + 100):
        beta = float(generator.choice([0, 0.1, 1, 3, 10, 30, 90, 300, 1e6]))
        retention = float(generator.uniform(0, 1))
        k = int(generator.integers(1, 8))
        nodes = int(generator.integers(2, 40))
        problem = draw(nodes, seed, beta=beta, retention=retention, k=k).problem()
        found = solve(problem, time_limit=60)
        assert 0 <= relative_gap(found.lower, found.upper) <= 1e-9
        assert found.upper <= found.dual_upper
        assert _is_feasible(problem, found.chosen)


def test_bound_never_rises_and_the_shares_stay_whole_and_within_the_weight() -> None:
    problem = draw(400, 2, beta=1, retention=0.6, k=5).problem()
    before = np.inf
    for sweeps in range(6):
        ascent = ascend(problem, tolerance=0, sweeps=sweeps)
        assert ascent.upper == upper_bound(problem, ascent.shares)
        assert ascent.upper <= before
        assert (ascent.shares == np.floor(ascent.shares)).all()
        assert ((ascent.shares >= 0) & (ascent.shares <= problem.weight)).all()
        before = ascent.upper


def test_no_instance_is_twice_in_a_matching_and_every_pair_is_in_one() -> None:
    problem = draw(300, 5).problem()
    batches = list(_matchings(problem))
    for pairs, fraction in batches:
        ends = problem.ends[:, pairs].ravel()
        assert len(np.unique(ends)) == len(ends)
        assert (fraction == 1).all()
    every = np.sort(np.concatenate([pairs for pairs, _ in batches]))
    np.testing.assert_array_equal(every, np.arange(len(problem.weight)))


def test_a_hub_that_all_are_nearest_to_is_no_obstacle() -> None:
    drawn = draw(MATCHINGS + 100, 6, beta=3, retention=0.7, k=1, classes=2)
    drawn.features[:] = 1  # the nearest of equal rows is the first
    problem = drawn.problem()
    assert len(list(_matchings(problem))) == MATCHINGS + 1
    before = np.inf
    for sweeps in range(4):
        upper = ascend(problem, tolerance=0, sweeps=sweeps).upper
        assert upper <= before
        before = upper
    found = solve(problem)
    assert relative_gap(found.lower, found.upper) <= 1e-9


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_small_changes_keep_an_assignment_feasible_and_make_it_no_worse(
    seed: int, other: int
) -> None:
    problem = draw_tiny(seed).problem()
    if problem.kept == 0:
        return
    choices = every_choice(problem)
    chosen = choices[other % len(choices)]
    better = improved(problem, chosen)
    assert _is_feasible(problem, better)
    assert problem.objective(better) >= problem.objective(chosen)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_core_keeps_every_better_assignment(seed: int) -> None:
    problem = draw_tiny(seed).problem()
    if problem.kept == 0:
        return
    ascent = ascend(problem, tolerance=0, sweeps=0)
    core = open_core(problem, ascent)
    open_slots = np.zeros(len(problem.gain), dtype=bool)
    open_slots[core.slots] = True
    for chosen in every_choice(problem):
        if problem.objective(chosen) > ascent.lower:
            assert chosen[core.fixed].all()
            assert not chosen[~core.fixed & ~open_slots].any()
            inside = chosen[core.slots]
            together = inside[core.left] & inside[core.right]
            value = core.constant + core.gain[inside].sum() + core.weight[together].sum()
            assert value == problem.objective(chosen)
            assert inside.sum() == core.kept


def test_order_of_instances_and_names_of_classes_do_not_change_the_value() -> None:
    drawn = draw(120, 7, beta=3, retention=0.6)
    value = solve(drawn.problem()).lower
    generator = np.random.default_rng(0)
    rows, columns = generator.permutation(120), generator.permutation(6)
    shuffled = type(drawn)(
        drawn.features[rows],
        drawn.probabilities[rows][:, columns],
        drawn.keywords[rows][:, columns],
        drawn.beta,
        drawn.kept,
        drawn.k,
        drawn.symmetrise,
    )
    assert solve(shuffled.problem()).lower == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("k", [3, 6])
def test_hard_corner_ends_with_a_stated_gap_within_its_time(k: int) -> None:
    problem = draw(1000, 8, beta=0, retention=0.5, k=k, classes=8).problem()
    begin = time.monotonic()
    found = solve(problem, time_limit=1)
    assert time.monotonic() - begin < 20, "it looks at the clock now and then"
    assert 0 <= relative_gap(found.lower, found.upper) < 0.01
    assert _is_feasible(problem, found.chosen)


def test_without_time_the_dual_bound_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = draw(300, 9, beta=0, retention=0.5, k=6).problem()
    monkeypatch.setattr(
        solve_module, "ascend", lambda problem, tolerance: ascend(problem, tolerance=0, sweeps=1)
    )
    found = solve(problem, time_limit=0)
    assert found.upper == found.dual_upper > found.lower
    assert _is_feasible(problem, found.chosen)


def test_nothing_to_keep_is_worth_nothing() -> None:
    drawn = draw(20, 10, retention=0.04)
    problem = drawn.problem()
    found = solve(problem)
    assert (found.lower, found.upper, found.dual_upper) == (0, 0, 0)
    assert not found.chosen.any()
    assert relative_gap(found.lower, found.upper) == 0
