"""Slots and pairs of eq. 8, floor(r n), and what is refused."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tag_assignment.problem import REJECTED, build_problem, kept_count, keyword_table
from models.tag_assignment.similarity import SimilarityGraph
from tests.models.tag_assignment.drawn_problems import draw, draw_tiny
from tests.reference.tag_assignment import (
    dense_similarity,
    every_choice,
    exact_objective,
    objective,
)


def _graph(nodes: int) -> SimilarityGraph:
    none = np.empty(0, np.int64)
    return SimilarityGraph(nodes, none, none, np.empty(0))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6))
def test_objective_is_that_of_eq_8(seed: int) -> None:
    drawn = draw_tiny(seed)
    problem = drawn.problem()
    similarity = dense_similarity(drawn.features, drawn.k, drawn.symmetrise)
    for chosen in every_choice(problem):
        categories = tuple(problem.categories(chosen).tolist())
        assert sum(category != REJECTED for category in categories) == drawn.kept
        expected = objective(similarity, drawn.probabilities, drawn.beta, categories)
        assert problem.objective(chosen) * problem.unit == pytest.approx(expected, abs=1e-9)


def test_sums_are_exact_in_float64() -> None:
    problem = draw(2000, 1, beta=30.1).problem()
    chosen = np.zeros(len(problem.gain), dtype=bool)
    chosen[problem.starts[:-1]] = True
    assert problem.objective(chosen) == exact_objective(problem, chosen)
    assert problem.gain.sum() + problem.weight.sum() < 2**53
    assert (problem.gain == np.floor(problem.gain)).all()
    assert (problem.weight == np.floor(problem.weight)).all()
    assert Fraction(problem.unit).numerator == 1


def test_edges_without_a_shared_keyword_are_no_pairs() -> None:
    keywords = keyword_table([[0, 2], [1, 2], [1], []], 3)
    graph = SimilarityGraph(4, np.array([0, 0, 1, 2]), np.array([1, 2, 2, 3]), np.full(4, 2.0))
    problem = build_problem(np.full((4, 3), 0.5), keywords, graph, beta=1, kept=2)
    assert problem.tagged.tolist() == [0, 1, 2]
    assert problem.category.tolist() == [0, 2, 1, 2, 1]
    pairs = zip(problem.left.tolist(), problem.right.tolist(), strict=True)
    assert list(pairs) == [(1, 3), (2, 4)]
    np.testing.assert_array_equal(problem.weight * problem.unit, [2, 2])
    np.testing.assert_array_equal(problem.gain * problem.unit, np.full(5, 0.5))


@settings(max_examples=300)
@given(st.integers(0, 1000), st.integers(0, 20_000))
def test_kept_count_is_the_floor_of_the_decimal(thousandths: int, instances: int) -> None:
    assert kept_count(thousandths / 1000, instances) == thousandths * instances // 1000


@pytest.mark.parametrize(
    ("retention", "instances", "kept"),
    [(0.29, 100, 29), (0.95, 18878, 17934), (1, 7, 7), (0, 7, 0), (0.5, 0, 0), (1e-7, 10**7, 1)],
)
def test_kept_count_where_floating_point_is_wrong_and_at_the_ends(
    retention: float, instances: int, kept: int
) -> None:
    assert kept_count(retention, instances) == kept


@pytest.mark.parametrize("retention", [-0.1, 1.01, float("nan"), float("inf")])
def test_retention_outside_0_to_1_is_refused(retention: float) -> None:
    with pytest.raises(ValueError, match=f"retention: expected 0 to 1, got {retention}"):
        kept_count(retention, 10)


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf")])
def test_probabilities_outside_0_to_1_are_refused_by_row(value: float) -> None:
    probabilities = np.full((4, 2), 0.5)
    probabilities[2, 1] = value
    with pytest.raises(ValueError, match=f"probabilities: row 2 has {value}; expected 0 to 1"):
        build_problem(probabilities, np.ones((4, 2), dtype=bool), _graph(4), beta=1, kept=1)


@pytest.mark.parametrize("beta", [-1.0, float("nan"), float("inf")])
def test_a_bad_beta_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match=f"beta: expected a number >= 0, got {beta}"):
        build_problem(np.zeros((1, 1)), np.ones((1, 1), bool), _graph(1), beta=beta, kept=1)


def test_a_weight_beyond_all_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="beta: expected less"):
        build_problem(np.ones((3, 1)), np.ones((3, 1), bool), _graph(3), beta=1e308, kept=1)


@pytest.mark.parametrize("keyword", [-1, 3])
def test_a_keyword_outside_the_classes_is_refused(keyword: int) -> None:
    with pytest.raises(ValueError, match=f"keywords: row 1 has {keyword}; expected 0 to 2"):
        keyword_table([[0], [2, keyword]], 3)


def test_keywords_named_twice_count_once_and_none_are_allowed() -> None:
    expected = np.array([[True, False], [False, False]])
    np.testing.assert_array_equal(keyword_table([[0, 0], []], 2), expected)
    assert keyword_table([], 2).shape == (0, 2)


def test_more_to_keep_than_have_a_keyword_is_refused_with_both_numbers() -> None:
    keywords = keyword_table([[0], [], [1], []], 2)
    with pytest.raises(ValueError, match="kept: 3 of 4 instances are to be tagged; expected at mo"):
        build_problem(np.zeros((4, 2)), keywords, _graph(4), beta=1, kept=3)


def test_tables_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="and a graph of 2: expected"):
        build_problem(np.zeros((3, 2)), np.ones((3, 2), bool), _graph(2), beta=1, kept=1)
