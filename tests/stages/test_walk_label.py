import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.engine.memo import Memo
from stages.io.data_set import Dataset
from stages.io.graphs import Graph, encode_graph
from stages.io.label_maps import encode_label_map, read_label_map
from stages.io.score_maps import read_score_map
from stages.io.tables import IMAGES, INSTANCES, read_rows, write_table
from stages.walk_label import Params, walk_label
from tests.reference.random_walk import dense_affinity, dense_walk

GRID, SIZE = (5, 6), (40, 44)
OFFSETS = np.array([(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])


def _graph() -> Graph:
    """Strong edges within the columns 0-2 and within 3-5, weak ones between."""
    edges = np.zeros((30, 9), dtype=np.float16)
    for node in range(30):
        for k, (dy, dx) in enumerate(OFFSETS.tolist()):
            y, x = node // 6 + dy, node % 6 + dx
            if 0 <= y < 5 and 0 <= x < 6:
                edges[node, k] = 0.9 if (x < 3) == (node % 6 < 3) else 0.3
    edges[:, 4] = 1
    return Graph(np.zeros((30, 2), dtype=np.float16), edges, OFFSETS, GRID, SIZE, 8)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr("stages.engine.parallel.Memo", partial(Memo, folder=tmp_path / "memo"))
    monkeypatch.setenv("SEEDMASK_WORKERS", "1")
    seeds = np.full(SIZE, 255, dtype=np.uint8)
    seeds[:8, :8], seeds[-8:, -4:] = 0, 7
    rows = []
    for name, split in (("a", "train"), ("empty", "train"), ("v", "val")):
        rows.append({"image_id": name, "split": split, "file": f"{name}.png", "width": 44,
                     "height": 40, "md5": ""})  # fmt: skip
        if split == "train":
            known = seeds if name == "a" else np.full_like(seeds, 255)
            write_bytes(tmp_path / "seeds" / f"{name}.png", encode_label_map(known))
            write_bytes(tmp_path / "graphs" / f"{name}.npz", encode_graph(_graph()))
    write_table(tmp_path / "images.parquet", pd.DataFrame(rows), IMAGES)
    box = {"image_id": "a", "instance_id": 1, "category": 7, "x0": 30.0, "y0": 20.0, "x1": 44.0,
           "y1": 40.0, "area": 280.0, "is_crowd": False, "mask": None, "score": 1.0}  # fmt: skip
    write_table(tmp_path / "instances.parquet", pd.DataFrame([box]), INSTANCES)
    return {
        "data": Dataset(tmp_path),
        "graphs": tmp_path / "graphs",
        "seeds": tmp_path / "seeds",
        "cams": tmp_path / "cams",
        "out": tmp_path / "out",
    }


@pytest.mark.parametrize("tolerance", [0.0, 1e-6])
def test_maps_are_the_shares_of_the_dense_walk(paths: dict[str, Any], tolerance: float) -> None:
    walk_label(Params(8.0, 64, tolerance, 1.0, False, 0, 8.0, 64, 6.0), **paths)
    score_map = read_score_map(paths["out"] / "maps" / "a.npz")
    assert score_map.classes.tolist() == [0, 7]
    start = np.zeros((2, 30))
    start[0, 0] = start[1, 29] = 1
    dense = dense_affinity(_graph().edges.astype(np.float64), OFFSETS, GRID)
    scores = dense_walk(dense, start, 8.0, 6)
    shares = (scores / scores.sum(0)).reshape(2, *GRID)
    np.testing.assert_allclose(score_map.scores, shares, atol=1e-3)


def test_light_background_walkers_leave_more_to_the_objects(paths: dict[str, Any]) -> None:
    shares = {}
    for weight in (1.0, 0.25):
        walk_label(Params(8.0, 64, 0.0, weight, False, 0, 8.0, 64, 6.0), **paths)
        shares[weight] = read_score_map(paths["out"] / "maps" / "a.npz").scores.astype(np.float64)
    odds = shares[1.0][1] / shares[1.0][0]
    np.testing.assert_allclose(shares[0.25][1] / shares[0.25][0], 4 * odds, rtol=0.01)


def test_labels_follow_the_strong_edges(paths: dict[str, Any]) -> None:
    walk_label(Params(8.0, 64, 0.0, 1.0, False, 0, 8.0, 64, 6.0), **paths)
    labels = read_label_map(paths["out"] / "labels" / "a.png")
    assert labels.shape == SIZE
    assert (labels[:, :22] == 0).all()
    assert (labels[:, 26:] == 7).all()
    metrics = json.loads((paths["out"] / "metrics.json").read_text())
    assert metrics["images"] == 2


def test_classes_stay_inside_their_boxes_if_asked(paths: dict[str, Any]) -> None:
    walk_label(Params(8.0, 64, 0.0, 1.0, True, 0, 8.0, 64, 6.0), **paths)
    labels = read_label_map(paths["out"] / "labels" / "a.png")
    assert (labels[20:, 30:] == 7).all()
    assert (labels == 7).sum() == 20 * 14


def test_a_crowd_is_unknown_where_no_box_claims_it(paths: dict[str, Any]) -> None:
    rows = read_rows(paths["data"].table("instances"), INSTANCES)
    crowd = rows[0] | {"instance_id": 2, "is_crowd": True, "x0": 10.0, "y0": 10.0}
    write_table(paths["data"].table("instances"), pd.DataFrame([*rows, crowd]), INSTANCES)
    walk_label(Params(8.0, 64, 0.0, 1.0, True, 0, 8.0, 64, 6.0), **paths)
    labels = read_label_map(paths["out"] / "labels" / "a.png")
    assert (labels[20:, 30:] == 7).all()
    assert (labels[10:20, 10:] == 255).all()
    assert (labels[:10] == 0).all()


def test_a_margin_lets_a_class_out_of_its_box(paths: dict[str, Any]) -> None:
    walk_label(
        Params(8.0, 64, 0.0, 1.0, True, 0.25, 8.0, 64, 6.0), **paths
    )  # of 14 columns and 20 rows
    labels = read_label_map(paths["out"] / "labels" / "a.png")
    assert (labels[15:, 27:] == 7).all()
    assert (labels[:15] == 0).all()


def test_image_without_seeds_is_background(paths: dict[str, Any]) -> None:
    walk_label(Params(8.0, 64, 0.0, 1.0, False, 0, 8.0, 64, 6.0), **paths)
    assert not read_label_map(paths["out"] / "labels" / "empty.png").any()
    score_map = read_score_map(paths["out"] / "maps" / "empty.npz")
    assert score_map.classes.tolist() == [0]
    assert (score_map.scores == 1).all()
    metrics = json.loads((paths["out"] / "metrics.json").read_text())
    assert metrics["images_without_seeds"] == 1
    assert metrics["nodes_unreached"] == 30


def test_seeds_of_another_size_are_refused(paths: dict[str, Any]) -> None:
    path = paths["seeds"] / "a.png"
    write_bytes(path, encode_label_map(np.zeros((4, 5), dtype=np.uint8)))
    with pytest.raises(InputError, match=r"a\.png: size \(4, 5\); expected \(40, 44\)"):
        walk_label(Params(8.0, 64, 0.0, 1.0, False, 0, 8.0, 64, 6.0), **paths)
