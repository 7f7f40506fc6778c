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

from models.a2gnn.affinity import AffinitySpec
from models.cam import ClassifierSpec
from stages.affinity_train import Params, affinity_train
from stages.engine.command import parse_section
from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.engine.training import Checkpoint
from stages.io.data_set import Dataset
from stages.io.label_maps import encode_label_map
from stages.io.networks import read_spec, save_network
from stages.io.tables import IMAGES, write_table
from stages.io.weights import read_weights

SECTION: dict[str, Any] = {
    "seed": 0, "output_stride": 8, "reduced": [64, 128, 256], "radius": 2, "window": "disc",
    "balance": "paper", "regularizer": 3.0, "sigma_xy": 6.0, "sigma_rgb": 0.1,
    "train_backbone": True, "epochs": 2, "min_steps": 0, "batch": 2, "crop": 48,
    "jitter": [0.1, 0.1, 0.1, 0.0],
    "learning_rate": 0.01, "head_factor": 10.0, "momentum": 0.0, "weight_decay": 5e-4,
    "precision": "32-true",
}  # fmt: skip
PARAMS = Params(**SECTION)
HEAD_ONLY = Params(**(SECTION | {"train_backbone": False, "epochs": 12, "learning_rate": 0.003}))


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    own = partial(Checkpoint, folder=tmp_path / "checkpoints")
    monkeypatch.setattr("stages.affinity_train.Checkpoint", own)
    monkeypatch.setattr("stages.engine.training.TRAINING_THREADS", 1)
    generator = np.random.default_rng(0)
    rows = []
    for name in ("a", "b", "c", "v"):
        labels = np.zeros((40, 56), dtype=np.uint8)
        labels[8:32, 16:40] = 2
        image = np.where(labels[..., None] > 0, (200, 40, 40), (40, 120, 60))
        image = (image + generator.integers(-20, 20, image.shape)).astype(np.uint8)
        labels[:, 44:] = 255
        file = tmp_path / "root" / f"{name}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(file)
        md5 = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        split = "val" if name == "v" else "train"
        rows.append({"image_id": name, "split": split, "file": file.name, "width": 56,
                     "height": 40, "md5": md5})  # fmt: skip
        if split == "train":
            write_bytes(tmp_path / "seeds" / f"{name}.png", encode_label_map(labels))
    write_table(tmp_path / "images.parquet", pd.DataFrame(rows), IMAGES)
    torch.manual_seed(0)
    spec = ClassifierSpec("cam", "resnet38d", 0.03, 8, (1, 2))
    network = spec.build()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
    network.backbone(torch.rand(2, 3, 40, 56))  # leaves statistics as training would
    save_network(tmp_path / "weights.pt", network, spec)
    return {
        "data": Dataset(tmp_path, tmp_path / "root"),
        "seeds": tmp_path / "seeds",
        "classifier": tmp_path / "weights.pt",
        "out": tmp_path / "out",
    }


@pytest.mark.parametrize("params", [PARAMS, HEAD_ONLY])
def test_same_inputs_give_the_same_bytes(paths: dict[str, Any], params: Params) -> None:
    affinity_train(params, **paths)
    again = paths["out"].with_name("again")
    affinity_train(params, **(paths | {"out": again}))
    names = {"weights.pt", "weights.json", "curve.csv", "metrics.json"}
    assert {path.name for path in again.iterdir()} == names
    for name in names:
        assert (again / name).read_bytes() == (paths["out"] / name).read_bytes()
    metrics = json.loads((again / "metrics.json").read_text())
    assert set(metrics) == {"images", "labelled_share", "loss", "labelled", "regularizer"}
    assert metrics["images"] == 3
    assert metrics["labelled_share"] == round(44 / 56, 4)
    spec = read_spec(again / "weights.pt", AffinitySpec)
    assert (spec.radius, spec.window, spec.backbone) == (2, "disc", "resnet38d")


def test_head_alone_learns_and_leaves_the_backbone(paths: dict[str, Any]) -> None:
    affinity_train(HEAD_ONLY, **paths)
    before, after = read_weights(paths["classifier"]), read_weights(paths["out"] / "weights.pt")
    for key in before:
        if key.startswith("backbone."):
            assert torch.equal(before[key], after[key])
    losses = pd.read_csv(paths["out"] / "curve.csv")["loss"]
    assert losses.iloc[-1] < 0.9 * losses.iloc[0]


def test_the_backbone_of_a_seam_classifier_serves_as_well(paths: dict[str, Any]) -> None:
    spec = ClassifierSpec("seam", "resnet38d", 0.03, 8, (1, 2))
    network = spec.build()
    save_network(paths["classifier"], network, spec)
    affinity_train(HEAD_ONLY, **paths)
    after = read_weights(paths["out"] / "weights.pt")
    for key, value in network.backbone.state_dict().items():
        assert torch.equal(value, after[f"backbone.{key}"])


def test_backbone_learns_but_not_its_batch_norm(paths: dict[str, Any]) -> None:
    affinity_train(PARAMS, **paths)
    before, after = read_weights(paths["classifier"]), read_weights(paths["out"] / "weights.pt")
    same = {key: torch.equal(before[key], after[key]) for key in before if key in after}
    norms = {key.rpartition(".")[0] + "." for key in before if key.endswith("running_mean")}
    assert norms
    for key, equal in same.items():
        assert equal == key.startswith(tuple(norms)), key


@pytest.mark.parametrize("change", [{"crop": 96}, {"crop": 16}, {"balance": "psa"}])
def test_crops_larger_and_smaller_than_the_images_train(
    paths: dict[str, Any], change: dict[str, object]
) -> None:
    for train_backbone in (True, False):
        section = SECTION | change | {"train_backbone": train_backbone, "epochs": 1}
        affinity_train(Params(**section), **paths)
        assert np.isfinite(pd.read_csv(paths["out"] / "curve.csv").to_numpy()).all()


def test_seeds_of_another_size_are_refused(paths: dict[str, Any]) -> None:
    path = paths["seeds"] / "b.png"
    write_bytes(path, encode_label_map(np.zeros((4, 5), dtype=np.uint8)))
    message = r"b\.png: size \(4, 5\); expected \(40, 56\) of its image"
    with pytest.raises(InputError, match=message):
        affinity_train(PARAMS, **paths)
    assert not paths["out"].exists()


def test_seeds_without_any_label_are_refused(paths: dict[str, Any]) -> None:
    for path in paths["seeds"].iterdir():
        write_bytes(path, encode_label_map(np.full((40, 56), 255, dtype=np.uint8)))
    with pytest.raises(InputError, match="seeds: no labelled pixel in 3 label maps"):
        affinity_train(PARAMS, **paths)


def test_reduced_needs_one_number_per_tap(paths: dict[str, Any]) -> None:
    params = Params(**(SECTION | {"reduced": [64, 128]}))
    message = r"affinity_train\.reduced: expected 3 numbers, found \[64, 128\]"
    with pytest.raises(InputError, match=message):
        affinity_train(params, **paths)


def test_stride_that_the_backbone_lacks_is_refused(paths: dict[str, Any]) -> None:
    params = Params(**(SECTION | {"output_stride": 16}))
    with pytest.raises(InputError, match=r"affinity_train\.output_stride: resnet38d has 8, got 16"):
        affinity_train(params, **paths)


def test_stride_is_its_own_whatever_the_classifier_had(paths: dict[str, Any]) -> None:
    spec = ClassifierSpec("cam", "mobilenet_v2", 1.0, 16, (1, 2))
    save_network(paths["classifier"], spec.build(), spec)
    affinity_train(Params(**(SECTION | {"train_backbone": False, "epochs": 1})), **paths)
    assert read_spec(paths["out"] / "weights.pt", AffinitySpec).output_stride == 8


def test_unknown_key_is_named() -> None:
    with pytest.raises(InputError, match=r"affinity_train\.radios: unknown key; did you mean"):
        parse_section(Params, SECTION | {"radios": 5}, "params.yaml: affinity_train")
