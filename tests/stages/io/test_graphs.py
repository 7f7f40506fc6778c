from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.engine.errors import InputError
from stages.io.graphs import Graph, cropped_graph, encode_graph, read_graph

OFFSETS = np.array([[-1, 0], [0, -1], [0, 0], [0, 1], [1, 0]])


def graph(**changes: Any) -> Graph:
    rng = np.random.default_rng(0)
    fields: dict[str, Any] = {
        "features": rng.random((6, 4)).astype(np.float16),
        "edges": rng.random((6, 5)).astype(np.float16),
        "offsets": OFFSETS,
        "grid": (2, 3),
        "size": (7, 12),
        "stride": 4,
    }
    return Graph(**fields | changes)


def test_graphs_round_trip_and_bytes_repeat(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(encode_graph(graph()))
    found = read_graph(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.features, graph().features)
    np.testing.assert_array_equal(found.edges, graph().edges)
    np.testing.assert_array_equal(found.offsets, OFFSETS)
    assert (found.grid, found.size, found.stride) == ((2, 3), (7, 12), 4)
    assert encode_graph(found) == encode_graph(graph())


def test_a_cropped_graph_keeps_the_edges_between_the_cells_of_its_window() -> None:
    rng = np.random.default_rng(0)
    edges = rng.random((30, 5)).astype(np.float16)
    features = rng.random((30, 4)).astype(np.float16)
    whole = graph(features=features, edges=edges, grid=(5, 6), size=(18, 23))
    part = cropped_graph(whole, slice(1, 5), slice(2, 6))
    assert (part.grid, part.size, part.stride) == ((4, 4), (14, 15), 4)
    for node, (y, x) in enumerate(np.ndindex(4, 4)):
        before = (y + 1) * 6 + x + 2
        np.testing.assert_array_equal(part.features[node], features[before])
        for slot, (dy, dx) in enumerate(OFFSETS):
            inside = 0 <= y + dy < 4 and 0 <= x + dx < 4
            assert part.edges[node, slot] == (edges[before, slot] if inside else 0)


def test_tables_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"features: expected \[6, D\], got \(5, 4\)"):
        graph(features=np.zeros((5, 4), dtype=np.float16))
    with pytest.raises(ValueError, match=r"edges: expected \(6, 5\), got \(6, 9\)"):
        graph(edges=np.zeros((6, 9), dtype=np.float16))


def test_unreadable_graphs_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(InputError, match=r"a\.npz: no such graph"):
        read_graph(path)
    for content in (b"?", encode_graph(graph())[:60]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.npz: not a graph"):
            read_graph(path)
    np.savez(path, grid=[1, 1])
    with pytest.raises(InputError, match=r"a\.npz: not a graph: .*size"):
        read_graph(path)
