import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from models.cam import ClassifierSpec
from stages.deeplab_train import Params, deeplab_train
from stages.engine.command import parse_section
from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.engine.training import Checkpoint
from stages.io.data_set import Dataset
from stages.io.label_maps import encode_label_map
from stages.io.networks import save_network
from stages.io.tables import CATEGORIES, IMAGES, write_table

SECTION: dict[str, Any] = {
    "seed": 0, "head": "aspp", "channels": 8, "rates": [1, 2], "output_stride": 16, "epochs": 2,
    "min_steps": 0,
    "batch": 2, "crop": 32, "scales": [0.75, 1.5], "jitter": [0.1, 0.1, 0.1, 0.0],
    "optimizer": "sgd", "learning_rate": 0.01, "head_factor": 10.0, "momentum": 0.9,
    "weight_decay": 1e-4, "freeze_batch_norm": False, "precision": "32-true",
}  # fmt: skip
PARAMS = Params(**SECTION)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    own = partial(Checkpoint, folder=tmp_path / "checkpoints")
    monkeypatch.setattr("stages.deeplab_train.Checkpoint", own)
    monkeypatch.setattr("stages.engine.training.TRAINING_THREADS", 1)
    generator = np.random.default_rng(0)
    rows = []
    for name in ("a", "b", "c", "v"):
        file = tmp_path / "root" / f"{name}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(file)
        md5 = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        split = "val" if name == "v" else "train"
        rows.append({"image_id": name, "split": split, "file": file.name, "width": 48,
                     "height": 40, "md5": md5})  # fmt: skip
        labels = np.zeros((40, 48), dtype=np.uint8)
        labels[10:30, 10:30] = 2
        labels[0] = 255
        write_bytes(tmp_path / "labels" / f"{name}.png", encode_label_map(labels))
    write_table(tmp_path / "images.parquet", pd.DataFrame(rows), IMAGES)
    names = pd.DataFrame({"category": [1, 2], "name": ["cat", "dog"]})
    write_table(tmp_path / "categories.parquet", names, CATEGORIES)
    torch.manual_seed(0)
    spec = ClassifierSpec("cam", "mobilenet_v2", 1.0, 16, (1, 2))
    save_network(tmp_path / "weights.pt", spec.build(), spec)
    return {
        "data": Dataset(tmp_path, tmp_path / "root"),
        "labels": tmp_path / "labels",
        "classifier": tmp_path / "weights.pt",
        "out": tmp_path / "out",
    }


def test_same_inputs_give_the_same_bytes(paths: dict[str, Any]) -> None:
    deeplab_train(PARAMS, **paths)
    again = paths["out"].with_name("again")
    deeplab_train(PARAMS, **(paths | {"out": again}))
    names = {"weights.pt", "weights.json", "curve.csv", "metrics.json"}
    assert {path.name for path in again.iterdir()} == names
    for name in names:
        assert (again / name).read_bytes() == (paths["out"] / name).read_bytes()
    metrics = json.loads((again / "metrics.json").read_text())
    assert set(metrics) == {"images", "images_without_labels", "loss"}
    assert metrics["images"] == 3
    assert len((again / "curve.csv").read_text().splitlines()) == 3


def test_trains_the_backbone_unless_frozen_batch_norm(paths: dict[str, Any]) -> None:
    key = "backbone.body.features.0.1.running_mean"
    before = torch.load(paths["classifier"], weights_only=True)[key]
    deeplab_train(PARAMS, **paths)
    assert not torch.equal(torch.load(paths["out"] / "weights.pt", weights_only=True)[key], before)
    deeplab_train(Params(**(SECTION | {"freeze_batch_norm": True})), **paths)
    assert torch.equal(torch.load(paths["out"] / "weights.pt", weights_only=True)[key], before)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_learns_what_it_is_shown(paths: dict[str, Any], optimizer: str) -> None:
    rate = {"sgd": 0.01, "adamw": 0.002}[optimizer]
    more = {"optimizer": optimizer, "learning_rate": rate, "epochs": 8, "crop": 48}
    deeplab_train(Params(**(SECTION | more)), **paths)
    losses = pd.read_csv(paths["out"] / "curve.csv")["loss"]
    assert losses.iloc[-3:].mean() < 0.8 * losses.iloc[:3].mean()


def test_images_without_labels_are_left_out(paths: dict[str, Any]) -> None:
    (paths["labels"] / "b.png").unlink()
    deeplab_train(PARAMS, **paths)
    metrics = json.loads((paths["out"] / "metrics.json").read_text())
    assert (metrics["images"], metrics["images_without_labels"]) == (2, 1)


def test_no_labels_at_all_is_said_and_leaves_no_weights(
    paths: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    deeplab_train(PARAMS, **(paths | {"labels": paths["out"].with_name("nowhere")}))
    assert "nothing to train on" in capsys.readouterr().out
    assert [path.name for path in paths["out"].iterdir()] == ["metrics.json"]


def test_bad_label_maps_are_named_before_training(paths: dict[str, Any]) -> None:
    write_bytes(paths["labels"] / "c.png", encode_label_map(np.full((40, 48), 7, np.uint8)))
    with pytest.raises(InputError, match=r"c\.png: expected labels below 3 or 255, found 7"):
        deeplab_train(PARAMS, **paths)
    write_bytes(paths["labels"] / "c.png", encode_label_map(np.zeros((4, 4), np.uint8)))
    with pytest.raises(InputError, match=r"c\.png: size \(4, 4\); expected \(40, 48\)"):
        deeplab_train(PARAMS, **paths)
    assert not paths["out"].exists()


def test_weights_of_another_backbone_are_named(paths: dict[str, Any]) -> None:
    other = ClassifierSpec("cam", "resnet38d", 0.03, 8, (1, 2))
    beside = ClassifierSpec("cam", "mobilenet_v2", 1.0, 16, (1, 2))
    save_network(paths["classifier"], other.build(), beside)
    with pytest.raises(InputError, match=r"weights\.pt: does not fit the network of its \.json"):
        deeplab_train(PARAMS, **paths)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("batch", 1, r"deeplab_train\.batch: .* greater than or equal to 2"),
        ("head", "fcn", r"deeplab_train\.head: .*'aspp' or 'largefov'"),
        ("rates", [], r"deeplab_train\.rates: "),
        ("scales", [1.0], r"deeplab_train\.scales"),
        ("chanels", 3, r"deeplab_train\.chanels: unknown key; did you mean 'channels'"),
    ],
)
def test_bad_params_are_named(key: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_section(Params, SECTION | {key: value}, "deeplab_train")
