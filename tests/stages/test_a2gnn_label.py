"""The stage on drawn discs, with graphs of their colours and seeds from their true masks."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.a2gnn.network import Problem
from stages.a2gnn_label import Params, a2gnn_label
from stages.engine import parallel
from stages.engine.command import parse_section, read_params_file
from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.engine.memo import Memo
from stages.io.graphs import Graph, encode_graph
from stages.io.label_maps import encode_label_map, read_label_map
from stages.io.score_maps import read_score_map
from tests.stages.drawn_discs import SIZE, add_crowd, draw, overlap, write_discs

STRIDE, GRID = 4, (10, 12)
NAMES = ("one", "two", "empty")


def _params(**change: Any) -> Params:
    section = read_params_file(Path("params.yaml"))["a2gnn_label"]
    small = {"hidden": 32, "first_epochs": 15, "second_epochs": 15}
    params: Params = parse_section(Params, section | small | change, "params.yaml: a2gnn_label")
    return params


def _graph(name: str) -> Graph:
    cells = draw(name)[0].reshape(GRID[0], STRIDE, GRID[1], STRIDE, 3).mean((1, 3)) / 255
    colours = cells.reshape(-1, 3)
    offsets = np.array([(a, b) for a in range(-2, 3) for b in range(-2, 3)])
    edges = np.zeros((len(colours), len(offsets)), np.float16)
    for node, (y, x) in enumerate(np.ndindex(GRID)):
        for slot, (dy, dx) in enumerate(offsets):
            if 0 <= y + dy < GRID[0] and 0 <= x + dx < GRID[1]:
                difference = np.abs(cells[y, x] - cells[y + dy, x + dx]).mean()
                edges[node, slot] = np.exp(-10 * difference)
    features = (colours / colours.sum(1, keepdims=True)).astype(np.float16)
    return Graph(features, edges, offsets, GRID, SIZE, STRIDE)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("SEEDMASK_WORKERS", "1")
    monkeypatch.setattr(parallel, "Memo", partial(Memo, folder=tmp_path / "memo"))
    written = write_discs(tmp_path)
    rng = np.random.default_rng(0)
    for name in NAMES:
        write_bytes(tmp_path / "graphs" / f"{name}.npz", encode_graph(_graph(name)))
        labels = draw(name)[1]
        labels[rng.random(SIZE) < 0.7] = 255
        write_bytes(tmp_path / "seeds" / f"{name}.png", encode_label_map(labels))
    more = {"graphs": tmp_path / "graphs", "seeds": tmp_path / "seeds", "out": tmp_path / "out"}
    return {"data": written, **more}


def _bytes(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()
    }


def test_discs_are_labelled_from_a_third_of_their_pixels(paths: dict[str, Any]) -> None:
    a2gnn_label(_params(), **paths)
    for name in ("one", "two"):
        true = draw(name)[1]
        labels = read_label_map(paths["out"] / "labels" / f"{name}.png")
        for category in set(true.ravel().tolist()) - {0}:
            assert overlap(labels == category, true == category) > 0.7
        score_map = read_score_map(paths["out"] / "maps" / f"{name}.npz")
        assert score_map.classes.tolist() == sorted(set(true.ravel().tolist()))
        assert score_map.stride == STRIDE
        np.testing.assert_allclose(score_map.scores.sum(0, dtype=np.float32), 1, atol=2e-3)
    empty = read_label_map(paths["out"] / "labels" / "empty.png")
    np.testing.assert_array_equal(empty, np.zeros(SIZE))
    metrics = json.loads((paths["out"] / "metrics.json").read_text())
    assert metrics["images"] == 3
    assert metrics["images_with_objects"] == 2
    assert metrics["seed_pixels"] > metrics["seed_pixels_left_out_last"] >= 0
    assert {path.name for path in paths["out"].iterdir()} == {"maps", "labels", "metrics.json"}


def test_the_result_depends_on_neither_workers_nor_repetition(
    paths: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for run, workers in enumerate(("1", "1", "2")):
        monkeypatch.setenv("SEEDMASK_WORKERS", workers)
        monkeypatch.setattr(parallel, "Memo", partial(Memo, folder=tmp_path / f"memo{run}"))
        out = tmp_path / f"out{run}"
        params = _params(first_epochs=2, second_epochs=2)
        a2gnn_label(params, **(paths | {"out": out}))
        results.append(_bytes(out))
    assert len(results[0]) == 7
    assert results[0] == results[1] == results[2]


def test_a_class_stays_inside_its_boxes_only_when_asked_to(paths: dict[str, Any]) -> None:
    wrong = np.full(SIZE, 255, np.uint8)
    wrong[:, :24] = 1  # seeds of the disc far outside its box
    write_bytes(paths["seeds"] / "one.png", encode_label_map(wrong))
    box = np.zeros(SIZE, bool)
    box[11:30, 15:34] = True
    found = {}
    for inside in (True, False):
        out = paths["out"] / str(inside)
        a2gnn_label(_params(inside_boxes=inside), **(paths | {"out": out}))
        found[inside] = read_label_map(out / "labels" / "one.png")
    assert (found[True][~box] == 0).all()
    assert (found[False][~box] == 1).any()
    np.testing.assert_array_equal(found[True][box], found[False][box])


def test_a_crowd_is_unknown_where_no_box_claims_it(paths: dict[str, Any]) -> None:
    small = {"first_epochs": 2, "second_epochs": 2}
    a2gnn_label(_params(**small), **paths)
    before = read_label_map(paths["out"] / "labels" / "one.png")
    region = add_crowd(paths["data"].table("instances"), "one", (20, 5, 48, 40))
    a2gnn_label(_params(**small), **paths)
    found = read_label_map(paths["out"] / "labels" / "one.png")
    expected = np.where(region & (before == 0), 255, before)  # a class is in its box alone
    np.testing.assert_array_equal(found, expected)
    assert (found[region] == 1).any()


def test_a_margin_lets_a_class_out_of_its_box(paths: dict[str, Any]) -> None:
    write_bytes(paths["seeds"] / "one.png", encode_label_map(np.full(SIZE, 1, np.uint8)))
    found = {}
    for margin in (0.0, 0.2):
        a2gnn_label(_params(box_margin=margin, first_epochs=9, second_epochs=0), **paths)
        labels = read_label_map(paths["out"] / "labels" / "one.png")
        rows, columns = np.nonzero(labels)
        found[margin] = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    assert found[0.0] == (11, 30, 15, 34)
    assert found[0.2] == (7, 34, 11, 38)


def test_unfitting_inputs_are_named(paths: dict[str, Any]) -> None:
    write_bytes(paths["seeds"] / "two.png", encode_label_map(np.zeros((4, 4), np.uint8)))
    message = r"two.png: size \(4, 4\); expected \(40, 48\) of its image"
    with pytest.raises(InputError, match=message):
        a2gnn_label(_params(first_epochs=1, second_epochs=0), **paths)
    (paths["seeds"] / "one.png").unlink()
    with pytest.raises(InputError, match=r"one.png: missing; every training image needs one"):
        a2gnn_label(_params(), **paths)


def test_a_graph_of_another_image_is_named(paths: dict[str, Any]) -> None:
    other = Graph(
        np.ones((1, 3), np.float16),
        np.ones((1, 1), np.float16),
        np.zeros((1, 2), np.int64),
        (1, 1),
        (3, 4),
        STRIDE,
    )
    write_bytes(paths["graphs"] / "one.npz", encode_graph(other))
    with pytest.raises(InputError, match=r"one.npz: size \(3, 4\); expected \(40, 48\)"):
        a2gnn_label(_params(), **paths)


def test_far_from_the_boxes_nothing_is_computed_and_all_is_background(
    paths: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def keep(**inputs: Any) -> Any:
        seen.append((inputs["grid"], inputs["seeds"].shape, inputs["boxes"]))
        return Problem(**inputs)

    monkeypatch.setattr("stages.a2gnn_label.Problem", keep)
    a2gnn_label(_params(surroundings=2), **paths)
    # the box of image one is 11..30 x 15..34: cells 2 to 8 x 3 to 9, two more on each side
    assert ((10, 10), (40, 40), [(11, 11, 30, 30)]) in seen
    found = read_score_map(paths["out"] / "maps" / "one.npz", SIZE)
    assert found.scores.shape[1:] == GRID
    np.testing.assert_array_equal(found.scores[0][:, [0, 11]], 1)
    true, labels = draw("one")[1], read_label_map(paths["out"] / "labels" / "one.png")
    assert overlap(labels == 1, true == 1) > 0.8


def test_surroundings_that_reach_the_border_change_nothing(
    paths: dict[str, Any], tmp_path: Path
) -> None:
    a2gnn_label(_params(surroundings=0), **paths)
    a2gnn_label(_params(surroundings=12), **(paths | {"out": tmp_path / "again"}))
    for path in (paths["out"] / "maps").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / "maps" / path.name).read_bytes()
