import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from models.a2gnn.affinity import AffinitySpec, window_offsets
from models.a2gnn.superpixels import superpixel_cells, superpixel_means
from stages.engine.errors import InputError
from stages.engine.memo import Memo
from stages.graph_build import Params, graph_build
from stages.io.data_set import Dataset
from stages.io.graphs import read_graph
from stages.io.networks import read_network, save_network
from stages.io.tables import IMAGES, write_table
from tests.reference.affinity import graph_edges

SPEC = AffinitySpec("resnet38d", 0.03, 8, (8, 8, 8), 2, "disc")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr("stages.engine.parallel.Memo", partial(Memo, folder=tmp_path / "memo"))
    monkeypatch.setenv("SEEDMASK_WORKERS", "1")
    generator = np.random.default_rng(0)
    rows = []
    for name, split in (("a", "train"), ("b", "train"), ("v", "val")):
        file = tmp_path / "root" / f"{name}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (40, 44, 3), dtype=np.uint8)).save(file)
        md5 = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        rows.append({"image_id": name, "split": split, "file": file.name, "width": 44,
                     "height": 40, "md5": md5})  # fmt: skip
    write_table(tmp_path / "images.parquet", pd.DataFrame(rows), IMAGES)
    torch.manual_seed(0)
    save_network(tmp_path / "weights.pt", SPEC.build(), SPEC)
    return {
        "data": Dataset(tmp_path, tmp_path / "root"),
        "weights": tmp_path / "weights.pt",
        "out": tmp_path / "out",
    }


@pytest.mark.parametrize(("features", "width"), [("concat", 16 + 32 + 124), ("affinity", 24)])
def test_graph_is_what_the_network_sees(
    paths: dict[str, Any], features: Literal["concat", "affinity"], width: int
) -> None:
    graph_build(Params(features, "cells", "affinity", 0.6), **paths)
    assert {path.name for path in (paths["out"] / "graphs").iterdir()} == {"a.npz", "b.npz"}
    graph = read_graph(paths["out"] / "graphs" / "a.npz")
    assert (graph.grid, graph.size, graph.stride) == ((5, 6), (40, 44), 8)
    assert graph.features.shape == (30, width)
    assert (graph.features >= 0).all()
    sums = graph.features.sum(1, dtype=np.float32)
    assert np.allclose(sums, 1, atol=5e-3) or (sums == 0).any()
    network = read_network(paths["weights"], SPEC)
    with Image.open(paths["data"].root / "a.png") as image, torch.no_grad():
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
        _, found = network(pixels)
    expected = graph_edges(found[0], 2, "disc", 0.6).numpy()
    for k, (dy, dx) in enumerate(window_offsets(2, "disc")):
        assert graph.offsets[k].tolist() == [dy, dx]
        for node in range(30):
            y, x = node // 6 + dy, node % 6 + dx
            wanted = expected[node, y * 6 + x] if 0 <= y < 5 and 0 <= x < 6 else 0.0
            assert graph.edges[node, k] == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("nodes", ["cells", "superpixels"])
def test_edges_may_be_those_of_the_features_themselves(
    paths: dict[str, Any], nodes: Literal["cells", "superpixels"]
) -> None:
    graph_build(Params("concat", nodes, "features", 0.1), **paths)
    graph = read_graph(paths["out"] / "graphs" / "a.npz")
    with Image.open(paths["data"].root / "a.png") as image, torch.no_grad():
        array = np.array(image)
        pixels = torch.from_numpy(array).permute(2, 0, 1)[None] / 255
        taps, _ = read_network(paths["weights"], SPEC)(pixels)
    together = torch.cat([tap[0] for tap in taps])
    if nodes == "superpixels":
        superpixels = superpixel_cells(array, 8)
        together = superpixel_means(together, superpixels)
        same = superpixels.flatten()[0] == superpixels.flatten()
        assert (graph.features[same.numpy()] == graph.features[0]).all()
    expected = graph_edges(together, 2, "disc", 0.1).numpy()
    right = graph.offsets.tolist().index([0, 1])
    for node in range(29):
        wanted = expected[node, node + 1] if node % 6 < 5 else 0.0
        assert graph.edges[node, right] == pytest.approx(wanted, abs=1e-3)


def test_metrics_count_nodes_and_edges(paths: dict[str, Any]) -> None:
    graph_build(Params("affinity", "cells", "affinity", 0.0), **paths)
    metrics = json.loads((paths["out"] / "metrics.json").read_text())
    pairs = sum((5 - abs(dy)) * (6 - abs(dx)) for dy, dx in window_offsets(2, "disc")) - 30
    assert metrics["images"] == 2
    assert metrics["nodes"] == 60
    assert metrics["edges"] == 2 * pairs
    assert 0 < metrics["mean_edge"] < 1


def test_new_weights_at_the_same_place_are_read(paths: dict[str, Any]) -> None:
    graph_build(Params("affinity", "cells", "affinity", 0.0), **paths)
    before = (paths["out"] / "graphs" / "a.npz").read_bytes()
    network = read_network(paths["weights"], SPEC)
    network.state_dict()["head.mix.weight"].mul_(2)
    save_network(paths["weights"], network, SPEC)
    graph_build(Params("affinity", "cells", "affinity", 0.0), **paths)
    assert (paths["out"] / "graphs" / "a.npz").read_bytes() != before


def test_weights_of_another_network_are_refused(paths: dict[str, Any]) -> None:
    save_network(paths["weights"], SPEC.build(), replace(SPEC, reduced=(8, 8, 9)))
    with pytest.raises(InputError, match=r"weights\.pt: does not fit .*size mismatch for head"):
        graph_build(Params("concat", "cells", "affinity", 0.0), **paths)
