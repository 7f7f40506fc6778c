import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from models.cam import ClassifierSpec
from models.wsid.network import WSIDSpec
from stages.engine.command import parse_section
from stages.engine.errors import InputError
from stages.engine.training import TrainingImages
from stages.io.data_set import Dataset
from stages.io.label_maps import UNKNOWN, decode_rle, encode_label_map, read_label_map
from stages.io.networks import read_network, read_spec, save_network
from stages.io.score_maps import ScoreMap, encode_score_map
from stages.io.tables import COUNTS, INSTANCES, TAGS, read_rows, write_table
from stages.wsid_train import Lessons, Params, batches, wsid_train
from tests.stages.drawn_objects import OBJECTS, SIZE, mask_of, write_objects

SECTION: dict[str, Any] = {
    "seed": 0, "output_stride": 16, "train_backbone": False, "saliency_channels": 4,
    "rates": [1], "channels": 4,
    "mixing": True, "mutual": "parallel", "enhancement": "both", "canny": [0.67, 1.33],
    "enhancement_channels": 4, "detached": True, "high": 0.3, "low": 0.05, "confidence": 0.7,
    "iterations": 2, "gaussian_xy": 3.0, "gaussian_compat": 3.0, "bilateral_xy": 49.0,
    "bilateral_rgb": 5.0, "bilateral_compat": 4.0, "radius": 3, "subitizing": 1.0, "rounds": 2,
    "count_epochs": 1,
    "round_epochs": 1, "round_rate": 0.3, "keep_counted": True, "look_ups": 20, "short": 2.5,
    "least_area": 0.0, "walk_radius": 3, "walk_beta": 10.0, "walk_steps": 8, "tolerance": 0.0,
    "background": 0.25, "least_share": 0.0, "epochs": 1, "min_steps": 0, "batch": 2, "crop": 48,
    "scales": [0.8, 1.0], "jitter": [0.1, 0.1, 0.1, 0.0], "optimizer": "adamw",
    "learning_rate": 1e-3, "head_factor": 3.0, "momentum": 0.9, "weight_decay": 1e-4,
    "freeze_batch_norm": True, "precision": "32-true",
}  # fmt: skip
FILES = {
    "weights.pt", "weights.json", "first.parquet", "labels.parquet", "curve.csv", "rounds.csv",
    "metrics.json",
    *(f"rounds/{turn}/{name}" for turn in range(3) for name in
      ("saliency.pt", "saliency.json", "metrics.json", "labels/a.png", "labels/c.png")),
    *(f"rounds/{turn}/labels/d.png" for turn in (1, 2)),
    "rounds/0/weights.pt", "rounds/0/weights.json",
}  # fmt: skip


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Image a has tags and a count, c tags alone, d a count alone, b nothing."""
    data = write_objects(tmp_path, monkeypatch, "wsid_train")
    tags = pd.DataFrame([("a", 1), ("a", 2), ("c", 1), ("v", 1)], columns=TAGS.names)
    write_table(data.table("tags"), tags, TAGS)
    counts = pd.DataFrame([("a", 2), ("d", 1), ("v", 1)], columns=COUNTS.names)
    write_table(data.table("counts"), counts, COUNTS)
    (tmp_path / "cams").mkdir()
    for name, classes in (("a", [1, 2]), ("c", [1]), ("b", [])):
        cams = np.zeros((len(classes), 10, 12), dtype=np.float16)
        for image_id, category, box in OBJECTS:
            if image_id == name:
                cams[classes.index(category)] += 0.9 * mask_of(box)[2::4, 2::4]
        score_map = ScoreMap(cams, np.array(classes, np.int64), SIZE, 4)
        (tmp_path / f"cams/{name}.npz").write_bytes(encode_score_map(score_map))
    torch.manual_seed(0)
    spec = ClassifierSpec("cam", "mobilenet_v2", 1.0, 16, (1, 2))
    save_network(tmp_path / "weights.pt", spec.build(), spec)
    return {
        "data": data,
        "cams": tmp_path / "cams",
        "classifier": tmp_path / "weights.pt",
        "out": tmp_path / "out",
    }


def params(**changes: object) -> Params:
    return Params(**(SECTION | changes))


def files(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}


def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    paths: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wsid_train(params(), **paths)
    assert files(paths["out"]) == FILES
    again = paths["out"].with_name("again")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # after the last turn
        patch.setattr("stages.wsid_train.write_curve", killed)
        with pytest.raises(KeyboardInterrupt):
            wsid_train(params(), **(paths | {"out": again}))
    kept = paths["out"].with_name("checkpoints")
    assert len(list(kept.rglob("*.pt"))) == 4
    wsid_train(params(), **(paths | {"out": again}))
    assert not list(kept.rglob("*.pt"))
    for name in FILES:
        assert (again / name).read_bytes() == (paths["out"] / name).read_bytes()
    first, last, averages = _weights(paths["out"])
    changed = {name for name in first if not torch.equal(first[name], last[name])}
    assert changed
    assert all(name.startswith("saliency.") for name in changed), "rounds train the head alone"
    for name, values in averages.items():
        torch.testing.assert_close(last[f"saliency.{name}"], values)
    _check_what_is_told(paths["out"])


def _weights(out: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    return tuple(  # type: ignore[return-value]
        torch.load(out / name, weights_only=True)
        for name in ("rounds/0/weights.pt", "weights.pt", "rounds/2/saliency.pt")
    )


def _check_what_is_told(out: Path) -> None:
    metrics = json.loads((out / "metrics.json").read_text())
    known = {key: metrics[key] for key in ("images", "images_with_tags", "images_with_counts")}
    assert known == {"images": 3, "images_with_tags": 2, "images_with_counts": 2}
    rounds = list(csv.DictReader((out / "rounds.csv").read_text().splitlines()))
    assert [row["round"] for row in rounds] == ["0", "1", "2"]
    assert float(rounds[-1]["count_error"]) == metrics["count_error"] >= 0
    curve = list(csv.DictReader((out / "curve.csv").read_text().splitlines()))
    assert [row["turn"] for row in curve] == ["0", "0", "1", "2"]
    assert [float(row["boundaries"]) > 0 for row in curve] == [True, True, False, False]
    assert float(curve[0]["count"]) == 0 < float(curve[1]["count"])
    rows = read_rows(out / "labels.parquet", INSTANCES)
    assert len(rows) == metrics["instances"]
    by_image = {name: [row for row in rows if row["image_id"] == name] for name in "ad"}
    assert len(by_image["a"]) <= 2
    assert len(by_image["d"]) <= 1
    for row in rows:
        ys, xs = decode_rle(row["mask"], *SIZE).nonzero()
        box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert (row["x0"], row["y0"], row["x1"], row["y1"]) == box
    network = read_network(out / "weights.pt", read_spec(out / "weights.pt", WSIDSpec))
    assert network(torch.rand(1, 3, 40, 48)).saliency.shape == (1, 10, 12)


def lessons(paths: dict[str, Any], counted: list[int]) -> Lessons:
    """Image a with labels, and those counted of b, c and d."""
    data: Dataset = paths["data"]
    labels = paths["out"] / "labels"
    labels.mkdir(parents=True, exist_ok=True)
    (labels / "a.png").write_bytes(encode_label_map(mask_of((4, 4, 20, 22)).astype(np.uint8)))
    pictures = TrainingImages(data.images("train"))
    return Lessons(pictures, labels, [0, 0, 0, 0], counted, {"a": 2, "d": 1})


def test_batches_alternate_where_tags_and_counts_are_of_different_images(
    paths: dict[str, Any],
) -> None:
    generator = torch.Generator().manual_seed(0)
    found = list(batches(params(), lessons(paths, [3]), generator))
    assert [batch.counts.tolist() for batch in found] == [[2, 2], [1, 1], [2, 2], [1, 1]]
    assert [(batch.labels != UNKNOWN).any().item() for batch in found] == [True, False] * 2
    assert all(batch.labels.shape == (2, 12, 12) for batch in found)
    alone = list(batches(params(), lessons(paths, []), generator))
    assert len(alone) == 2


def test_the_first_labels_are_of_the_tagged_classes_and_follow_the_activations(
    paths: dict[str, Any],
) -> None:
    wsid_train(params(rounds=0, subitizing=0.0), **paths)
    labels = read_label_map(paths["out"] / "rounds/0/labels/a.png")
    assert set(np.unique(labels)) <= {0, 1, 2, UNKNOWN}
    for _, category, box in OBJECTS[:2]:
        assert (labels[mask_of(box)] == category).mean() > 0.6
    assert not (paths["out"] / "rounds/0/labels/d.png").exists()
    assert not (paths["out"] / "rounds/1").exists()


def test_no_tag_or_no_count_is_an_error(paths: dict[str, Any]) -> None:
    write_table(
        paths["data"].table("counts"), pd.DataFrame([("v", 1)], columns=COUNTS.names), COUNTS
    )
    with pytest.raises(InputError, match=r"counts\.parquet: no training image has a count; .*: 0"):
        wsid_train(params(), **paths)
    write_table(paths["data"].table("tags"), pd.DataFrame([("v", 1)], columns=TAGS.names), TAGS)
    with pytest.raises(InputError, match=r"tags\.parquet: no training image has a tag"):
        wsid_train(params(), **paths)
    assert not paths["out"].exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("mutual", "cascade", r"wsid_train\.mutual: .*'none', 'parallel', 'channel_first' or"),
        ("channels", 6, r"wsid_train\.channels: .* multiple of 4"),
        ("least_share", 1.5, r"wsid_train\.least_share: .* less than or equal to 1"),
        ("rates", [], r"wsid_train\.rates: "),
        ("rounds", -1, r"wsid_train\.rounds: .* greater than or equal to 0"),
    ],
)
def test_bad_params_are_named(key: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_section(Params, SECTION | {key: value}, "wsid_train")
