"""The sparse walk against a dense matrix that is squared."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ops.random_walk import affinity_matrix, power_coefficients, walk
from tests.reference.random_walk import dense_affinity, dense_walk

Case = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64]]


def _case(grid: tuple[int, int], radius: int = 2, seed: int = 0) -> Case:
    """A random table of edges, nearly symmetric as float16 leaves it, and scores of 3 classes."""
    generator = np.random.default_rng(seed)
    reach = range(-radius, radius + 1)
    offsets = np.array([(dy, dx) for dy in reach for dx in reach if dy * dy + dx * dx <= radius**2])
    nodes = grid[0] * grid[1]
    potential = generator.random(nodes)
    edges = np.zeros((nodes, len(offsets)))
    for node in range(nodes):
        for k, (dy, dx) in enumerate(offsets.tolist()):
            y, x = node // grid[1] + dy, node % grid[1] + dx
            if 0 <= y < grid[0] and 0 <= x < grid[1]:
                gap = abs(potential[node] - potential[y * grid[1] + x])
                edges[node, k] = np.exp(-gap) * (1 + 1e-3 * generator.random())
    edges[:, len(offsets) // 2] = 1
    return edges, offsets, generator.random((3, nodes))


@settings(deadline=None, max_examples=25)
@given(
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.integers(1, 3),
    st.integers(0, 9),
    st.integers(0, 10**6),
)
def test_steps_equal_the_squared_dense_matrix(
    grid: tuple[int, int], radius: int, squarings: int, seed: int
) -> None:
    edges, offsets, scores = _case(grid, radius, seed)
    found = walk(affinity_matrix(edges, offsets, grid, 8.0), scores, 2**squarings)
    expected = dense_walk(dense_affinity(edges, offsets, grid), scores, 8.0, squarings)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@settings(deadline=None, max_examples=25)
@given(st.tuples(st.integers(1, 6), st.integers(1, 6)), st.integers(0, 300), st.integers(0, 10**6))
def test_chebyshev_equals_the_steps_within_its_tolerance(
    grid: tuple[int, int], steps: int, seed: int
) -> None:
    edges, offsets, scores = _case(grid, seed=seed)
    matrix = affinity_matrix(edges, offsets, grid, 8.0)
    exact = walk(matrix, scores, steps)
    degrees = matrix.sum(1)
    for tolerance in (1e-3, 1e-6, 1e-12):
        error = walk(matrix, scores, steps, tolerance=tolerance) - exact
        # in sqrt(degree) x the operator is symmetric, so there the bound is exact
        norm = np.linalg.norm(np.sqrt(degrees) * error)
        assert norm <= (tolerance + 1e-12) * np.linalg.norm(np.sqrt(degrees) * scores)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 300), st.sampled_from([0.0, 1e-13]))
def test_scores_that_sum_to_one_on_every_node_still_do(steps: int, tolerance: float) -> None:
    edges, offsets, scores = _case((4, 7))
    shares = scores / scores.sum(0)
    matrix = affinity_matrix(edges, offsets, (4, 7), 8.0)
    found = walk(matrix, shares, steps, tolerance=tolerance)
    np.testing.assert_allclose(found.sum(0), 1, rtol=1e-11)


def test_matrix_is_exactly_symmetric_with_ones_on_its_diagonal() -> None:
    edges, offsets, _ = _case((5, 6))
    matrix = affinity_matrix(edges.astype(np.float16), offsets, (5, 6), 8.0, np.float32)
    assert matrix.dtype == np.float32
    dense = matrix.toarray()
    np.testing.assert_array_equal(dense, dense.T)
    np.testing.assert_array_equal(np.diag(dense), 1)
    assert (dense > 0).sum() > 30


def test_offsets_may_come_without_the_node_itself_and_in_any_order() -> None:
    edges, offsets, _ = _case((4, 5))
    whole = affinity_matrix(edges, offsets, (4, 5), 2.0)
    others = np.random.default_rng(1).permutation(np.flatnonzero(offsets.any(1)))
    same = affinity_matrix(edges[:, others], offsets[others], (4, 5), 2.0)
    np.testing.assert_array_equal(whole.toarray(), same.toarray())


def test_offsets_of_one_direction_are_refused() -> None:
    with pytest.raises(ValueError, match=r"offsets: expected \(-dy, -dx\) for every \(dy, dx\)"):
        affinity_matrix(np.ones((4, 1)), np.array([[0, 1]]), (2, 2), 1.0)


def test_node_without_edges_keeps_its_scores() -> None:
    edges, offsets, scores = _case((3, 4))
    for node in range(12):
        for k, (dy, dx) in enumerate(offsets.tolist()):
            if (dy or dx) and 5 in (node, (node // 4 + dy) * 4 + node % 4 + dx):
                edges[node, k] = 0
    found = walk(affinity_matrix(edges, offsets, (3, 4), 8.0), scores, 256)
    np.testing.assert_allclose(found[:, 5], scores[:, 5])
    assert not np.allclose(found[:, 6], scores[:, 6])


def test_single_precision_walk_is_close() -> None:
    edges, offsets, scores = _case((6, 6))
    exact = walk(affinity_matrix(edges, offsets, (6, 6), 8.0), scores, 256)
    single = affinity_matrix(edges, offsets, (6, 6), 8.0, np.float32)
    for tolerance in (0.0, 1e-6):
        found = walk(single, scores, 256, tolerance=tolerance)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, exact, rtol=1e-4)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2000))
def test_coefficients_expand_the_power(steps: int) -> None:
    points = np.linspace(-1, 1, 41)
    whole = power_coefficients(steps, 0.0)
    assert abs(sum(whole) - 1) < 1e-12
    found = np.polynomial.chebyshev.chebval(points, whole)
    np.testing.assert_allclose(found, points**steps, atol=1e-11)
    short = power_coefficients(steps, 1e-6)
    assert len(short) <= 6 * np.sqrt(steps) + 2
    cut = np.polynomial.chebyshev.chebval(points, short)
    np.testing.assert_allclose(cut, points**steps, atol=1.1e-6)


def test_negative_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="steps: expected >= 0, got -1"):
        power_coefficients(-1, 1e-6)
