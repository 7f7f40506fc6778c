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
from models.cam import ClassifierSpec
from stages.boxmask_train import Params, boxmask_train
from stages.engine import training
from stages.engine.command import parse_section
from stages.engine.errors import InputError
from stages.engine.training import Checkpoint
from stages.io.label_maps import encode_rle
from stages.io.networks import read_network, read_spec, save_network
from stages.io.tables import INSTANCES, read_rows, write_table
from stages.io.weights import read_weights
from tests.stages.drawn_discs import SIZE, draw, write_discs

SECTION: dict[str, Any] = {
    "seed": 0, "folds": 2, "rounds": 2, "steps": 3, "batch": 2, "crop": 32, "margin": 0.25,
    "stride": 2, "channels": [8, 8, 8, 4], "projection": 1.0, "pairwise": 0.5, "closeness": 0.05,
    "jitter": [0.1, 0.1, 0.1, 0.0], "learning_rate": 1e-3, "head_factor": 10.0,
    "weight_decay": 1e-2, "precision": "32-true",
}  # fmt: skip


def params(**changes: object) -> Params:
    return parse_section(Params, SECTION | changes, "boxmask_train")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    own = partial(Checkpoint, folder=tmp_path / "checkpoints")
    monkeypatch.setattr("stages.boxmask_train.Checkpoint", own)
    data = write_discs(tmp_path)
    write_cuts(tmp_path / "cuts.parquet", data.table("instances"))
    torch.manual_seed(0)
    spec = ClassifierSpec("cam", "mobilenet_v2", 1.0, 16, (1, 2))
    save_network(tmp_path / "classifier.pt", spec.build(), spec)
    return {
        "data": data,
        "cuts": tmp_path / "cuts.parquet",
        "classifier": tmp_path / "classifier.pt",
        "out": tmp_path / "out",
    }


def write_cuts(path: Path, instances: Path) -> None:
    """The discs of the training images; of the last box nothing but the box."""
    rows = [row for row in read_rows(instances, INSTANCES) if row["image_id"] != "held"]
    for row in rows:
        mask = draw(row["image_id"])[1] == row["category"]
        if row is rows[-1]:
            mask[int(row["y0"]) : int(row["y1"]), int(row["x0"]) : int(row["x1"])] = True
        row["mask"] = encode_rle(mask)
    write_table(path, pd.DataFrame(rows), INSTANCES)


def contents(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()
    }


def test_same_inputs_give_the_same_bytes_a_network_per_fold(paths: dict[str, Any]) -> None:
    boxmask_train(params(), **paths)
    first = contents(paths["out"])
    networks = {f"networks/{fold}.{end}" for fold in (0, 1) for end in ("pt", "json")}
    assert set(first) == networks | {"curve.csv", "metrics.json"}
    boxmask_train(params(), **(paths | {"out": paths["out"].with_name("again")}))
    assert contents(paths["out"].with_name("again")) == first
    metrics = json.loads(first["metrics.json"])
    assert metrics["boxes"] == 3
    assert metrics["boxes_without_a_cut"] == 1
    assert metrics["folds"] == 2
    curve = pd.read_csv(paths["out"] / "curve.csv")
    assert list(curve) == ["epoch", "loss", "teacher", "projection", "pairwise"]
    assert list(curve["epoch"]) == [1, 2, 3, 4]  # two rounds of two networks
    spec = read_spec(paths["out"] / "networks" / "0.pt", BoxMaskSpec)
    assert (spec.backbone, spec.crop, spec.margin) == ("mobilenet_v2", 32, 0.25)
    read_network(paths["out"] / "networks" / "0.pt", spec)


def test_a_network_learns_from_the_other_folds_alone(paths: dict[str, Any]) -> None:
    boxmask_train(params(rounds=1), **paths)
    before = contents(paths["out"])
    fold = folds_of(["one", "two"], 2)["one"]
    rows = read_rows(paths["cuts"], INSTANCES)
    empty = np.zeros(SIZE, bool)
    empty[20, 20] = True
    rows[0]["mask"] = encode_rle(empty)  # of image one
    write_table(paths["cuts"], pd.DataFrame(rows), INSTANCES)
    boxmask_train(params(rounds=1), **paths)
    after = contents(paths["out"])
    assert after[f"networks/{fold}.pt"] == before[f"networks/{fold}.pt"]
    assert after[f"networks/{1 - fold}.pt"] != before[f"networks/{1 - fold}.pt"]


def test_a_kill_after_the_first_network_ends_with_the_same_bits(
    paths: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    boxmask_train(params(), **paths)
    whole = contents(paths["out"])
    run, calls = training.fit, []

    def killed(*arguments: Any, **named: Any) -> Any:
        calls.append(named["start"])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(*arguments, **named)

    again = paths | {"out": paths["out"].with_name("again")}
    monkeypatch.setattr(training, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        boxmask_train(params(), **again)
    assert not again["out"].exists()
    boxmask_train(params(), **again)
    assert contents(again["out"]) == whole
    done = [start is not None for start in calls[3:]]
    assert done == [True, True, False, False]


def test_learns_the_discs_and_says_when_it_did_not(
    paths: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    boxmask_train(params(folds=1, rounds=1, steps=1), **paths)
    metrics = json.loads((paths["out"] / "metrics.json").read_text())
    assert metrics["undertrained"]
    assert metrics["agreement"] <= metrics["agreement_of_filled_boxes"]
    assert "undertrained: GrabCut's masks overlap" in capsys.readouterr().out
    boxmask_train(params(folds=1, rounds=1, steps=40), **paths)
    metrics = json.loads((paths["out"] / "metrics.json").read_text())
    assert not metrics["undertrained"]
    assert metrics["agreement"] > 0.85


def test_batch_norm_and_the_shallow_part_of_the_backbone_stay(paths: dict[str, Any]) -> None:
    boxmask_train(params(rounds=1), **paths)
    before = read_weights(paths["classifier"])
    after = read_weights(paths["out"] / "networks" / "0.pt")
    changed = [
        key
        for key in before
        if key.startswith("backbone.") and not torch.equal(before[key], after[f"pyramid.{key}"])
    ]
    assert any("features.17" in key for key in changed)
    assert not any("running" in key or "features.3." in key for key in changed)


def test_more_boxes_than_the_steps_can_see_are_not_read(paths: dict[str, Any]) -> None:
    boxmask_train(params(folds=1, rounds=1, steps=1), **paths)
    assert json.loads((paths["out"] / "metrics.json").read_text())["boxes"] == 2


def test_without_boxes_there_is_nothing_to_train(paths: dict[str, Any]) -> None:
    write_table(paths["cuts"], pd.DataFrame([], columns=INSTANCES.names), INSTANCES)
    boxmask_train(params(), **paths)
    assert set(contents(paths["out"])) == {"curve.csv", "metrics.json"}
    assert (paths["out"] / "networks").is_dir()


def test_bad_inputs_are_named(paths: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"boxmask_train\.channels: expected 4, one per level"):
        boxmask_train(params(channels=[8, 8]), **paths)
    rows = read_rows(paths["cuts"], INSTANCES)
    rows[0]["mask"] = None
    write_table(paths["cuts"], pd.DataFrame(rows), INSTANCES)
    with pytest.raises(InputError, match=r"instance 1 of image one: mask: expected run lengths"):
        boxmask_train(params(), **paths)
    assert not paths["out"].exists()
