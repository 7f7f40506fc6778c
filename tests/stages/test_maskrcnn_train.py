import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from models.cam import ClassifierSpec
from models.maskrcnn import MaskRCNNSpec
from stages.engine.command import parse_section
from stages.engine.errors import InputError
from stages.io.label_maps import encode_rle
from stages.io.networks import read_spec, save_network
from stages.io.tables import INSTANCES, write_table
from stages.maskrcnn_train import Params, maskrcnn_train
from tests.stages.drawn_objects import write_objects

SECTION: dict[str, Any] = {
    "seed": 0, "pyramid": 8, "hidden": 8, "anchor": 16, "proposals": 20, "sampled": 8,
    "detections": 5, "overlap": 0.5, "any_class": False, "epochs": 2, "min_steps": 0, "batch": 2,
    "crop": 48, "scales": [0.8, 1.2], "jitter": [0.1, 0.1, 0.1, 0.0], "optimizer": "adamw",
    "learning_rate": 1e-3, "head_factor": 3.0, "momentum": 0.9, "weight_decay": 1e-4,
    "freeze_batch_norm": False, "precision": "32-true",
}  # fmt: skip
PARAMS = Params(**SECTION)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    data = write_objects(tmp_path, monkeypatch, "maskrcnn_train")
    torch.manual_seed(0)
    spec = ClassifierSpec("cam", "mobilenet_v2", 1.0, 16, (1, 2))
    save_network(tmp_path / "weights.pt", spec.build(), spec)
    return {
        "data": data,
        "instances": tmp_path / "objects.parquet",
        "classifier": tmp_path / "weights.pt",
        "out": tmp_path / "out",
    }


def test_same_inputs_give_the_same_bytes(paths: dict[str, Any]) -> None:
    maskrcnn_train(PARAMS, **paths)
    again = paths["out"].with_name("again")
    maskrcnn_train(PARAMS, **(paths | {"out": again}))
    names = {"weights.pt", "weights.json", "curve.csv", "metrics.json"}
    assert {path.name for path in again.iterdir()} == names
    for name in names:
        assert (again / name).read_bytes() == (paths["out"] / name).read_bytes()
    metrics = json.loads((again / "metrics.json").read_text())
    assert metrics.pop("loss") > 0
    assert metrics == {"images": 3, "images_without_instances": 1, "instances": 4}


def test_whatever_class_makes_a_network_of_one(paths: dict[str, Any]) -> None:
    maskrcnn_train(Params(**(SECTION | {"any_class": True, "epochs": 1})), **paths)
    spec = read_spec(paths["out"] / "weights.pt", MaskRCNNSpec)
    assert (spec.classes, spec.any_class) == (2, True)


def test_no_instance_at_all_is_said_and_leaves_no_weights(
    paths: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(paths["instances"], pd.DataFrame(columns=INSTANCES.names), INSTANCES)
    maskrcnn_train(PARAMS, **paths)
    assert "nothing to train on" in capsys.readouterr().out
    assert [path.name for path in paths["out"].iterdir()] == ["metrics.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"mask": encode_rle(np.ones((80, 96), bool))},
            r"instance_id 2: mask does not fit \(40, 48\) of its image",
        ),
        ({"category": 0}, r"instance_id 2: category 0, no class; expected a class, or any_class"),
    ],
)
def test_bad_instances_are_named_before_training(
    paths: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    frame = pd.read_parquet(paths["instances"])
    for column, value in change.items():
        frame.loc[frame["instance_id"] == 2, column] = value
    write_table(paths["instances"], frame, INSTANCES)
    with pytest.raises(InputError, match=rf"objects\.parquet: image_id a, {message}"):
        maskrcnn_train(PARAMS, **paths)
    assert not paths["out"].exists()


def test_a_backbone_without_a_pyramid_is_named(paths: dict[str, Any]) -> None:
    spec = ClassifierSpec("cam", "resnet38d", 0.03, 8, (1, 2))
    save_network(paths["classifier"], spec.build(), spec)
    with pytest.raises(InputError, match=r"weights\.pt: output_stride: resnet38d has 8, got 32"):
        maskrcnn_train(PARAMS, **paths)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sampled", 2, r"maskrcnn_train\.sampled: .* greater than or equal to 4"),
        ("overlap", 0, r"maskrcnn_train\.overlap: .* greater than 0"),
        ("proposal", 3, r"maskrcnn_train\.proposal: unknown key; did you mean 'proposals'"),
    ],
)
def test_bad_params_are_named(key: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_section(Params, SECTION | {key: value}, "maskrcnn_train")
