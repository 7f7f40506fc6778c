"""The k nearest by blocks against a dense matrix, and the graph made of them."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.tag_assignment import similarity
from models.tag_assignment.similarity import Symmetrise, nearest_neighbours, similarity_graph
from tests.reference.tag_assignment import dense_similarity

Floats = npt.NDArray[np.float64]


def _features(nodes: int, channels: int, seed: int, *, whole: bool = False) -> Floats:
    """Random rows, some twice; of whole numbers many cosines are equal."""
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((nodes, channels))
    if whole:
        rows = generator.integers(-1, 3, (nodes, channels)).astype(np.float64)
        rows[~rows.any(axis=1)] = 1
    rows[generator.integers(0, nodes, nodes // 3)] = rows[0]
    return rows


@settings(deadline=None, max_examples=60)
@example(10, 3, 1, "union", True, 3)  # two multiples of a row differ in float64's last bit
@given(
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(1, 5),
    st.sampled_from(["union", "mutual", "directed"]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_graph_is_the_dense_matrix(
    nodes: int, channels: int, k: int, symmetrise: Symmetrise, whole: bool, seed: int
) -> None:
    features = _features(nodes, channels, seed, whole=whole)
    graph = similarity_graph(features, k, symmetrise=symmetrise)
    found = np.zeros((nodes, nodes))
    found[graph.left, graph.right] = graph.weight / 2
    expected = dense_similarity(features, k, symmetrise)
    np.testing.assert_allclose(found + found.T, expected, atol=1e-11)
    assert (graph.left < graph.right).all()
    assert (graph.weight > 0).all()


@pytest.mark.parametrize("block", [3, 17, 64, 1000])
@pytest.mark.parametrize("whole", [False, True])
def test_neighbours_do_not_depend_on_the_blocks(block: int, whole: bool) -> None:
    features = _features(200, 3, 1, whole=whole).astype(np.float32)
    nearest, cosines = nearest_neighbours(features, 4)
    other, same = nearest_neighbours(features, 4, block=block)
    np.testing.assert_array_equal(nearest, other)
    np.testing.assert_array_equal(cosines, same)
    assert (np.diff(cosines, axis=1) <= 0).all()


def test_cosines_closer_than_single_precision_are_told_apart() -> None:
    angles = np.array([0.0, 1e-2 + 1e-9, 1e-2, 1e-2 + 2e-9, 3.0])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    nearest, _ = nearest_neighbours(features, 3)
    assert nearest[0].tolist() == [2, 1, 3]


def test_multiples_of_a_row_tie_by_row_number() -> None:
    features = np.outer([1.0, 3.0, 1 / 3, 7.0, 0.1], [1.0, 2.0, -1.0])
    nearest, cosines = nearest_neighbours(features, 2)
    assert nearest.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]]
    assert (cosines == 1).all()


def test_crowds_of_equal_rows_are_thinned_by_row_number(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = []
    whole = similarity._Candidates._exact
    monkeypatch.setattr(
        similarity._Candidates,
        "_exact",
        lambda self, rows, columns: exact.append(len(rows)) or whole(self, rows, columns),
    )
    nearest, cosines = nearest_neighbours(np.ones((400, 2)), 2, block=50)
    assert nearest[0].tolist() == [1, 2]
    assert nearest[399].tolist() == [0, 1]
    np.testing.assert_allclose(cosines, 1)
    assert max(exact) < 400 * 399 / 2, "all pairs were held at once"


def test_lengths_do_not_matter_and_opposite_rows_have_no_edge() -> None:
    features = np.array([[1.0, 0], [-1, 0], [0, 1]])
    graph = similarity_graph(features * [[1e-30], [1], [1e30]], 2)
    assert list(zip(graph.left.tolist(), graph.right.tolist(), strict=True)) == [(0, 2), (1, 2)]
    np.testing.assert_allclose(graph.weight, 2)


@pytest.mark.parametrize("nodes", [0, 1])
def test_few_instances_have_no_neighbours(nodes: int) -> None:
    graph = similarity_graph(np.ones((nodes, 3)), 3)
    assert graph.nodes == nodes
    assert len(graph.weight) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_no_numbers_are_refused_by_row(value: float) -> None:
    features = np.ones((5, 3))
    features[3, 1] = value
    with pytest.raises(ValueError, match="features: row 3 has nan or infinity; expected a dir"):
        similarity_graph(features, 2)


def test_a_row_of_zeros_has_no_direction() -> None:
    features = np.ones((5, 3))
    features[2] = 0
    with pytest.raises(ValueError, match="features: row 2 has zeros; expected a direction"):
        similarity_graph(features, 2)


def test_no_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match="neighbours: expected > 0, got 0"):
        similarity_graph(np.ones((5, 3)), 0)
