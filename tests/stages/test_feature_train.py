import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from models.cam import ClassifierSpec
from models.tag_assignment.features import FeatureSpec
from stages.engine.errors import InputError
from stages.feature_infer import Params as InferParams
from stages.feature_infer import feature_infer
from stages.feature_train import Params, feature_train
from stages.io.data_set import Dataset
from stages.io.features import read_features
from stages.io.label_maps import decode_rle
from stages.io.networks import read_network, read_spec, save_network
from stages.io.tables import INSTANCES, TAGS, read_rows, write_table
from tests.stages.drawn_objects import SIZE, write_objects

PARAMS = Params(
    seed=0, method="centre", backbone="classifier", weights="none", output_stride=16, side=32,
    masked=True, centre_weight=0.1, centre_rate=0.5, epochs=2, min_steps=0, batch=2,
    jitter=(0.1, 0.1, 0.1, 0.0), optimizer="adamw", learning_rate=1e-3, head_factor=5.0,
    momentum=0.9, weight_decay=0.0, freeze_batch_norm=True, precision="32-true",
)  # fmt: skip


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    spec = ClassifierSpec("cam", "mobilenet_v2", 1.0, 16, (1, 2))
    path = tmp_path_factory.mktemp("classifier") / "weights.pt"
    save_network(path, spec.build(), spec)
    return path


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    found = write_objects(tmp_path, monkeypatch, "feature_train")
    tags = [("a", 1), ("a", 2), ("c", 1), ("d", 2)]
    write_table(tmp_path / "tags.parquet", pd.DataFrame(tags, columns=TAGS.names), TAGS)
    return found


def trained(data: Dataset, classifier: Path, params: Params = PARAMS) -> dict[str, Any]:
    """What metrics.json says."""
    out = data.folder / "out"
    feature_train(params, data, data.folder / "objects.parquet", classifier, out)
    metrics: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return metrics


def test_it_learns_from_the_instances_of_images_with_one_tag(
    data: Dataset, classifier: Path
) -> None:
    metrics = trained(data, classifier)
    assert metrics.pop("loss") > 0
    assert metrics == {"instances": 2, "classes": 2, "trained": True}
    curve = pd.read_csv(data.folder / "out/curve.csv")
    assert list(curve.columns) == ["epoch", "loss", "classes", "centre"]
    assert len(curve) == 2
    weights = data.folder / "out/weights.pt"
    spec = read_spec(weights, FeatureSpec)
    assert spec == FeatureSpec("mobilenet_v2", 1.0, 16, 32, masked=True)
    before = torch.load(classifier, weights_only=True)
    after = read_network(weights, spec).state_dict()
    changed = [not torch.equal(value, before[name]) for name, value in after.items()]
    assert any(changed)


def test_a_backbone_serves_as_it_is(data: Dataset, classifier: Path) -> None:
    metrics = trained(data, classifier, replace(PARAMS, method="as_it_is"))
    assert (metrics["trained"], metrics["loss"]) == (False, None)
    weights = data.folder / "out/weights.pt"
    before = torch.load(classifier, weights_only=True)
    for name, value in read_network(weights, read_spec(weights, FeatureSpec)).state_dict().items():
        torch.testing.assert_close(value, before[name])
    assert math.isnan(pd.read_csv(data.folder / "out/curve.csv")["loss"][0])


def test_of_one_class_nothing_is_learned_and_it_is_said(
    data: Dataset, classifier: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tags = pd.DataFrame([("a", 1), ("a", 2), ("c", 1)], columns=TAGS.names)
    write_table(data.folder / "tags.parquet", tags, TAGS)
    assert trained(data, classifier)["trained"] is False
    assert "1 instances of 1 classes in images with one tag" in capsys.readouterr().out


def test_a_named_backbone_takes_the_named_weights(data: Dataset, classifier: Path) -> None:
    own = replace(PARAMS, method="as_it_is", backbone="mobilenet_v2", output_stride=32)
    trained(data, classifier, own)
    assert read_spec(data.folder / "out/weights.pt", FeatureSpec).output_stride == 32
    with pytest.raises(InputError, match=r"feature_train\.weights: data/raw/weights/no\.pth is mi"):
        trained(data, classifier, replace(own, weights="no.pth"))


def test_a_feature_is_the_networks_of_the_crop(data: Dataset, classifier: Path) -> None:
    trained(data, classifier, replace(PARAMS, method="as_it_is"))
    weights, table = data.folder / "out/weights.pt", data.folder / "objects.parquet"
    feature_infer(InferParams(), data, table, weights, data.folder / "features")
    found = read_features(data.folder / "features/features.npz")
    rows = [row for row in read_rows(table, INSTANCES) if row["image_id"] != "v"]
    assert found.instance_ids.tolist() == [row["instance_id"] for row in rows]
    spec = read_spec(weights, FeatureSpec)
    network = read_network(weights, spec)
    pictures = {image.image_id: image.read() for image in data.images("train")}
    for row, value in zip(rows, found.values, strict=True):
        mask = decode_rle(row["mask"], *SIZE)
        box = (row["x0"], row["y0"], row["x1"], row["y1"])
        crop = torch.from_numpy(spec.crop(pictures[row["image_id"]], mask, box))
        with torch.inference_mode():
            expected = network(crop.permute(2, 0, 1)[None].float() / 255)[0]
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


def test_without_instances_there_are_no_features(data: Dataset, classifier: Path) -> None:
    trained(data, classifier, replace(PARAMS, method="as_it_is"))
    table = data.folder / "none.parquet"
    write_table(table, pd.DataFrame([], columns=INSTANCES.names), INSTANCES)
    feature_infer(
        InferParams(), data, table, data.folder / "out/weights.pt", data.folder / "features"
    )
    assert read_features(data.folder / "features/features.npz").values.shape == (0, 320)
