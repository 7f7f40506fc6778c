import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from models.cam import ClassifierSpec
from models.cgcnet.network import CGCNetSpec
from stages.cgcnet_train import Params, cgcnet_train
from stages.engine.command import parse_section
from stages.engine.errors import InputError
from stages.io.networks import read_spec, save_network
from stages.io.tables import INSTANCES, read_rows, write_table
from tests.stages.drawn_objects import write_objects

SECTION: dict[str, Any] = {
    "seed": 0, "refining": "gfr", "mask_stride": 8, "mask_channels": 4, "mask_rois": 3,
    "rival_overlap": 0.5, "rival_score": 0.5, "updates": 1, "update_epochs": 1, "update_rate": 0.3,
    "update_threshold": 9.0, "update_where": "anywhere", "update_weight": 0.0,
    "iterations": 2, "gaussian_xy": 1.0,
    "gaussian_compat": 3.0, "bilateral_xy": 70.0, "bilateral_rgb": 13.0, "bilateral_compat": 4.0,
    "pyramid": 8, "hidden": 8, "anchor": 16, "proposals": 20, "sampled": 8, "detections": 5,
    "overlap": 0.5, "epochs": 1, "min_steps": 0, "batch": 2, "crop": 48, "scales": [0.8, 1.2],
    "jitter": [0.1, 0.1, 0.1, 0.0], "optimizer": "adamw", "learning_rate": 1e-2,
    "head_factor": 3.0, "momentum": 0.9, "weight_decay": 1e-4, "freeze_batch_norm": False,
    "precision": "32-true",
}  # fmt: skip
FILES = {"weights.pt", "weights.json", "labels.parquet", "curve.csv", "updates.csv", "metrics.json"}


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    data = write_objects(tmp_path, monkeypatch, "cgcnet_train")
    torch.manual_seed(0)
    spec = ClassifierSpec("cam", "mobilenet_v2", 1.0, 16, (1, 2))
    save_network(tmp_path / "weights.pt", spec.build(), spec)
    return {
        "data": data,
        "labels": tmp_path / "objects.parquet",
        "classifier": tmp_path / "weights.pt",
        "out": tmp_path / "out",
    }


def trained(paths: dict[str, Any], **changes: object) -> dict[str, Any]:
    cgcnet_train(Params(**(SECTION | changes)), **paths)
    metrics: dict[str, Any] = json.loads((paths["out"] / "metrics.json").read_text())
    return metrics


def masks(path: Path) -> list[str]:
    return [row["mask"] for row in read_rows(path, INSTANCES) if row["image_id"] != "v"]


def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    paths: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(paths)
    assert {path.name for path in paths["out"].iterdir()} == FILES
    again = paths["out"].with_name("again")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # after the last turn's training
        patch.setattr("stages.cgcnet_train.write_curve", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(paths | {"out": again})
    kept = paths["out"].with_name("checkpoints")
    assert len(list(kept.rglob("*.pt"))) == 2
    trained(paths | {"out": again})
    assert not list(kept.rglob("*.pt"))
    for name in FILES:
        assert (again / name).read_bytes() == (paths["out"] / name).read_bytes()


def test_what_becomes_of_the_labels_is_counted_and_the_backbone_stays_as_it_is(
    paths: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.cgcnet_train._forget", lambda _: None)
    metrics = trained(paths, refining="lfr")
    updates = pd.read_csv(paths["out"] / "updates.csv")
    assert updates["epoch"].tolist() == [1]
    assert (updates["updated"] + updates["kept"]).tolist() == [4]
    assert (metrics["images"], metrics["labels"]) == (3, 4)
    assert metrics["updated"] == updates["updated"].iloc[-1]
    assert pd.read_csv(paths["out"] / "curve.csv")["epoch"].tolist() == [1, 2]
    assert read_spec(paths["out"] / "weights.pt", CGCNetSpec).branch.refining == "lfr"
    first, last = (
        torch.load(paths["out"] / name, weights_only=True)
        for name in (".rounds.tmp/0.pt", "weights.pt")
    )
    changed = {key for key in first if not torch.equal(first[key], last[key])}
    assert changed
    assert not [key for key in changed if key.startswith("levels.pyramid.backbone")]


def test_only_the_rule_changes_a_label(
    paths: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = masks(paths["labels"])

    def refined(predicted: "np.ndarray[Any, Any]", *_: object) -> "np.ndarray[Any, Any]":
        inside = np.zeros_like(predicted)
        inside[5:15, 5:15] = 0.9
        return inside

    monkeypatch.setattr("stages.cgcnet_train.refined_object", refined)
    assert trained(paths, update_threshold=-99.0)["updated"] == 0
    assert masks(paths["out"] / "labels.parquet") == before
    assert trained(paths, update_threshold=99.0)["updated"] == 4
    assert len({*masks(paths["out"] / "labels.parquet")}) == 1
    # no pixel is in two labels here
    assert trained(paths, update_threshold=99.0, update_where="contested")["updated"] == 0
    assert masks(paths["out"] / "labels.parquet") == before


def test_no_label_is_an_error(paths: dict[str, Any]) -> None:
    write_table(paths["labels"], pd.DataFrame(columns=INSTANCES.names), INSTANCES)
    with pytest.raises(InputError, match=r"objects\.parquet: no label of a training image"):
        trained(paths)
    assert not paths["out"].exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("refining", "gap", r"cgcnet_train\.refining: .*'gfr', 'lfr', 'roimasking' or 'roialign'"),
        ("mask_stride", 16, r"cgcnet_train\.mask_stride: "),
        ("updates", -1, r"cgcnet_train\.updates: .* greater than or equal to 0"),
        ("bilateral_rgb", 0.0, r"cgcnet_train\.bilateral_rgb: .* greater than 0"),
    ],
)
def test_bad_params_are_named(key: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_section(Params, SECTION | {key: value}, "cgcnet_train")
