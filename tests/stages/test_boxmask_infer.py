import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from models.boxmask.network import BoxMaskSpec
from models.boxmask.teacher import folds_of
from stages.boxmask_infer import Params, _network, boxmask_infer
from stages.engine import parallel
from stages.engine.errors import InputError
from stages.engine.memo import Memo
from stages.io.label_maps import decode_rle, read_label_map
from stages.io.networks import save_network
from stages.io.score_maps import read_score_map
from stages.io.tables import INSTANCES, read_rows, write_table
from tests.stages.drawn_discs import DISCS, SIZE, add_crowd, draw, overlap, write_discs
from tests.stages.test_boxmask_train import contents, write_cuts

PARAMS = Params(seed=0, sure=0.8)
SPEC = BoxMaskSpec("mobilenet_v2", 1.0, 32, 0.25, 2, (8, 8, 8, 4))


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("SEEDMASK_WORKERS", "1")
    monkeypatch.setattr(parallel, "Memo", partial(Memo, folder=tmp_path / "memo"))
    _network.cache_clear()
    data = write_discs(tmp_path)
    write_cuts(tmp_path / "cuts.parquet", data.table("instances"))
    for fold in (0, 1):
        torch.manual_seed(fold)
        save_network(tmp_path / "networks" / f"{fold}.pt", SPEC.build(), SPEC)
    return {
        "data": data,
        "cuts": tmp_path / "cuts.parquet",
        "networks": tmp_path / "networks",
        "out": tmp_path / "out",
    }


def test_every_training_image_is_labelled_inside_its_boxes(paths: dict[str, Any]) -> None:
    boxmask_infer(PARAMS, **paths)
    for name in ("one", "two", "empty"):
        score_map = read_score_map(paths["out"] / "maps" / f"{name}.npz", SIZE)
        assert score_map.stride == 1
        assert score_map.classes.tolist() == [0, *sorted(disc[0] for disc in DISCS[name])]
        np.testing.assert_allclose(score_map.scores.sum(0, dtype=float), 1, atol=0.01)
        labels = read_label_map(paths["out"] / "labels" / f"{name}.png", SIZE)
        seeds = read_label_map(paths["out"] / "seeds" / f"{name}.png", SIZE)
        outside = np.ones(SIZE, bool)
        for category, row, column, radius in DISCS[name]:
            box = np.s_[row - radius : row + radius + 1, column - radius : column + radius + 1]
            outside[box] = False
            assert (labels[box] == category).any()
            assert (seeds[box] == category).any()
        assert not labels[outside].any()
        assert not seeds[outside].any()
        assert set(np.unique(seeds)) <= {0, 1, 2, 255}
    assert {path.stem for path in (paths["out"] / "labels").iterdir()} == {"one", "two", "empty"}


def test_the_table_has_a_mask_per_box_and_its_agreement(paths: dict[str, Any]) -> None:
    boxmask_infer(PARAMS, **paths)
    given = read_rows(paths["cuts"], INSTANCES)
    found = read_rows(paths["out"] / "instances.parquet", INSTANCES)
    same = ("image_id", "instance_id", "category", "x0", "y0", "x1", "y1", "is_crowd")
    assert [[row[key] for key in same] for row in found] == [
        [row[key] for key in same] for row in given
    ]
    for row in found:
        mask = decode_rle(row["mask"], *SIZE)
        assert mask.any()
        assert row["area"] == mask.sum()
        mask[int(row["y0"]) : int(row["y1"]), int(row["x0"]) : int(row["x1"])] = False
        assert not mask.any()
        assert 0 <= row["score"] <= 1
    assert found[-1]["score"] == 0  # GrabCut said nothing about it
    metrics = json.loads((paths["out"] / "metrics.json").read_text())
    assert metrics["images"] == 3
    assert metrics["boxes"] == 3
    assert metrics["boxes_without_a_cut"] == 1


def test_an_image_is_labelled_by_the_network_of_its_fold(paths: dict[str, Any]) -> None:
    boxmask_infer(PARAMS, **paths)
    before = contents(paths["out"])
    torch.manual_seed(7)
    fold = folds_of(["one", "two"], 2)["one"]
    save_network(paths["networks"] / f"{fold}.pt", SPEC.build(), SPEC)
    _network.cache_clear()  # a process reads a file once
    boxmask_infer(PARAMS, **paths)
    after = contents(paths["out"])
    assert after["maps/one.npz"] != before["maps/one.npz"]
    assert after["maps/two.npz"] == before["maps/two.npz"]


def test_a_network_that_knows_the_discs_finds_them(
    paths: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def round_ones(network: object, images: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(0.5, 32) / 32
        x0, y0, x1, y1 = (boxes[:, column, None] for column in range(4))
        down = ((2 * rows - y0 - y1) / (y1 - y0)) ** 2
        across = ((2 * rows - x0 - x1) / (x1 - x0)) ** 2
        return ((down[:, :, None] + across[:, None, :]) < 1).float()

    monkeypatch.setattr("stages.boxmask_infer.predict_masks", round_ones)
    boxmask_infer(PARAMS, **paths)
    for name in ("one", "two"):
        true = draw(name)[1]
        labels = read_label_map(paths["out"] / "labels" / f"{name}.png")
        seeds = read_label_map(paths["out"] / "seeds" / f"{name}.png")
        for category in {disc[0] for disc in DISCS[name]}:
            assert overlap(labels == category, true == category) > 0.85
        known = seeds != 255
        assert known.mean() > 0.8
        assert (seeds[known] == true[known]).mean() > 0.98
    rows = read_rows(paths["out"] / "instances.parquet", INSTANCES)
    assert rows[0]["score"] > 0.85


def test_a_crowd_is_unknown_where_no_box_claims_it(paths: dict[str, Any]) -> None:
    region = add_crowd(paths["data"].table("instances"), "one", (20, 0, 48, 40))
    boxmask_infer(PARAMS, **paths)
    for folder in ("labels", "seeds"):
        found = read_label_map(paths["out"] / folder / "one.png")
        assert not (found[region] == 0).any()
        assert (found[region] == 255).any()
        assert (found[:, :14] == 0).all()


def test_results_repeat_bit_for_bit(paths: dict[str, Any], tmp_path: Path) -> None:
    boxmask_infer(PARAMS, **paths)
    (tmp_path / "memo").rename(tmp_path / "forgotten")
    boxmask_infer(PARAMS, **(paths | {"out": tmp_path / "again"}))
    assert contents(tmp_path / "again") == contents(paths["out"])


def test_a_missing_network_is_named_but_images_without_boxes_need_none(
    paths: dict[str, Any], tmp_path: Path
) -> None:
    nowhere = paths | {"networks": tmp_path / "nowhere"}
    with pytest.raises(InputError, match=r"nowhere: no network; expected one per fold"):
        boxmask_infer(PARAMS, **nowhere)
    write_table(paths["cuts"], pd.DataFrame([], columns=INSTANCES.names), INSTANCES)
    boxmask_infer(PARAMS, **nowhere)
    assert not read_rows(paths["out"] / "instances.parquet", INSTANCES)
    assert not read_label_map(paths["out"] / "labels" / "one.png").any()
