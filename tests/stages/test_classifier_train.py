import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

import stages.classifier_train as stage
from models.cam import CamClassifier, ClassifierSpec
from models.seam import SeamClassifier
from stages.classifier_train import Params, classifier_train
from stages.engine.command import parse_section, read_params_file
from stages.engine.errors import InputError
from stages.engine.training import Checkpoint
from stages.io.data_set import Dataset
from stages.io.networks import read_network, read_spec
from stages.io.tables import COUNTS, TAGS, write_table
from tests.stages.drawn_discs import write_discs

SECTION: dict[str, Any] = {
    "seed": 0, "method": "cam", "backbone": "resnet38d", "width": 0.05, "output_stride": 8,
    "training_stride": 8,
    "weights": "none", "freeze_batch_norm": False, "dropout": 0.0, "epochs": 3, "min_steps": 0,
    "batch": 3,
    "crop": 40, "scales": [0.9, 1.1], "jitter": [0.1, 0.1, 0.1, 0.0], "learning_rate": 0.05,
    "head_factor": 1.0, "optimizer": "sgd", "momentum": 0.9, "weight_decay": 5e-4,
    "precision": "32-true", "second_scale": 0.5, "cross_share": 0.2, "min_pool": False,
}  # fmt: skip


def params(**changes: object) -> Params:
    found: Params = parse_section(Params, SECTION | changes, "params.yaml: classifier_train")
    return found


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    own = partial(Checkpoint, folder=tmp_path / "checkpoints")
    monkeypatch.setattr(stage, "Checkpoint", own)
    monkeypatch.setattr("stages.engine.training.TRAINING_THREADS", 1)
    found = write_discs(tmp_path)
    tags = pd.DataFrame({"image_id": ["one", "two", "two", "held"], "category": [1, 1, 2, 2]})
    write_table(tmp_path / "tags.parquet", tags, TAGS)
    write_counts(found, [])
    return {
        "data": found,
        "out": tmp_path / "out",
    }


def write_counts(data: Dataset, rows: list[tuple[str, int]]) -> None:
    write_table(data.table("counts"), pd.DataFrame(rows, columns=COUNTS.names), COUNTS)


def test_an_image_of_unknown_tags_is_left_out(paths: dict[str, Any]) -> None:
    untagged = next(
        image.image_id
        for image in paths["data"].images("train")
        if image.image_id not in ("one", "two")
    )
    for count, images in ((2, 2), (0, 3)):  # nothing salient is nothing known to be there
        write_counts(paths["data"], [(untagged, count), ("one", 1)])
        classifier_train(params(epochs=1, batch=1), **paths)
        assert json.loads((paths["out"] / "metrics.json").read_text())["images"] == images
    write_counts(paths["data"], [("one", 1), ("two", 1), (untagged, 4)])
    write_table(paths["data"].table("tags"), pd.DataFrame({"image_id": [], "category": []}), TAGS)
    with pytest.raises(InputError, match=r"tags\.parquet: no training image has a tag"):
        classifier_train(params(), **paths)


def test_it_learns_the_tags_and_writes_what_it_promises(paths: dict[str, Any]) -> None:
    classifier_train(params(epochs=12), **paths)
    out = paths["out"]
    assert {file.name for file in out.iterdir()} == {
        "weights.pt", "weights.json", "curve.csv", "metrics.json",
    }  # fmt: skip
    metrics = json.loads((out / "metrics.json").read_text())
    counts = {key: metrics[key] for key in ("images", "images_without_tags", "categories")}
    assert counts == {"images": 3, "images_without_tags": 1, "categories": 2}
    assert metrics["tag_average_precision"] == 1.0
    curve = list(csv.DictReader((out / "curve.csv").read_text().splitlines()))
    assert [row["epoch"] for row in curve] == [str(number) for number in range(1, 13)]
    assert float(curve[-1]["loss"]) == metrics["loss"] < float(curve[0]["loss"])
    spec = read_spec(out / "weights.pt", ClassifierSpec)
    network = read_network(out / "weights.pt", spec)
    assert spec.categories == (1, 2)
    assert not network.training
    assert network.class_maps(torch.rand(1, 3, 40, 48)).shape == (1, 2, 5, 6)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_it_learns_the_tags_and_four_losses_by_seam(paths: dict[str, Any], precision: str) -> None:
    chosen = params(method="seam", min_pool=True, epochs=6, precision=precision)
    classifier_train(chosen, **paths)
    curve = list(csv.DictReader((paths["out"] / "curve.csv").read_text().splitlines()))
    assert list(curve[0]) == ["epoch", "loss", "tags", "equivariance", "cross", "min_pool"]
    assert float(curve[-1]["tags"]) < float(curve[0]["tags"])
    spec = read_spec(paths["out"] / "weights.pt", ClassifierSpec)
    network = read_network(paths["out"] / "weights.pt", spec)
    assert isinstance(network, SeamClassifier)
    maps = network.class_maps(torch.rand(1, 3, 40, 48))
    assert maps.shape == (1, 2, 5, 6)
    assert ((maps >= 0) & (maps <= 1)).all()


def test_a_network_that_does_not_know_its_own_images_is_said_to_be_undertrained(
    paths: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "tag_average_precision", lambda logits, tags: 0.14)
    classifier_train(params(epochs=1, min_steps=2), **paths)
    said = capsys.readouterr().out
    assert "after 2 steps" in said
    assert "14% average precision: undertrained; classifier_train.min_steps" in said
    monkeypatch.setattr(stage, "tag_average_precision", lambda logits, tags: 0.5)
    classifier_train(params(epochs=1), **paths)
    assert "undertrained" not in capsys.readouterr().out


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(paths: dict[str, Any]) -> None:
    contents = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        out = paths["out"] / name
        classifier_train(params(seed=seed, epochs=1), **paths | {"out": out})
        contents.append((out / "weights.pt").read_bytes())
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


def test_it_starts_from_the_named_weights_and_keeps_frozen_batch_norm(
    paths: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.io.pretrained.WEIGHTS_FOLDER", tmp_path)
    source = params_network()
    for part in source.backbone.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            part.running_mean.fill_(0.125)
    torch.save(source.backbone.body.state_dict(), tmp_path / "start.pt")
    chosen = params(weights="start.pt", freeze_batch_norm=True, epochs=1)
    classifier_train(chosen, **paths)
    weights = paths["out"] / "weights.pt"
    network = read_network(weights, read_spec(weights, ClassifierSpec))
    found, start = network.state_dict(), source.state_dict()
    norms = [key for key in found if "bn" in key.split(".")[-2]]
    assert len(norms) > 100
    assert all(torch.equal(found[key], start[key]) for key in norms)
    assert not torch.equal(found["backbone.body.b7.conv_branch1.weight"],
                           start["backbone.body.b7.conv_branch1.weight"])  # fmt: skip


def params_network() -> CamClassifier:
    torch.manual_seed(5)
    spec = ClassifierSpec("cam", "resnet38d", 0.05, 8, (1, 2))
    return spec.build()


def test_weights_that_do_not_fit_are_named(
    paths: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.io.pretrained.WEIGHTS_FOLDER", tmp_path)
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pt")
    message = r"classifier_train\.weights: 'other\.pt' does not fit resnet38d: .*Missing key"
    with pytest.raises(InputError, match=message) as caught:
        classifier_train(params(weights="other.pt"), **paths)
    assert "\n" not in str(caught.value)
    assert not paths["out"].exists()


def test_a_width_that_the_backbone_cannot_have_is_named(paths: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"classifier_train\.width: only resnet38d can be scaled"):
        classifier_train(params(backbone="resnet18"), **paths)


def test_it_may_be_trained_at_a_coarser_stride_than_it_is_used_at(paths: dict[str, Any]) -> None:
    chosen = params(backbone="mobilenet_v2", width=1.0, training_stride=16, epochs=1, crop=32)
    classifier_train(chosen, **paths)
    weights = paths["out"] / "weights.pt"
    network = read_network(weights, read_spec(weights, ClassifierSpec))
    assert network.backbone.output_stride == 8


def test_a_tag_without_category_is_named(paths: dict[str, Any]) -> None:
    write_table(
        paths["data"].table("tags"), pd.DataFrame({"image_id": ["one"], "category": [9]}), TAGS
    )
    with pytest.raises(InputError, match=r"tags\.parquet: image one: category 9 is not in"):
        classifier_train(params(), **paths)


def test_only_known_methods_and_precisions_are_taken() -> None:
    for key, value in (("method", "guess"), ("precision", "64"), ("output_stride", 4)):
        with pytest.raises(InputError, match=f"params.yaml: classifier_train.{key}: "):
            params(**{key: value})


def test_params_yaml_holds_a_valid_section() -> None:
    section = read_params_file(Path("params.yaml"))["classifier_train"]
    assert parse_section(Params, section, "params.yaml: classifier_train")
