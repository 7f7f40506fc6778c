import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from models.cam import ClassifierSpec
from models.irsr.network import RankingSpec
from stages.engine.command import parse_section
from stages.engine.errors import InputError
from stages.io.label_maps import encode_rle
from stages.io.networks import read_network, read_spec, save_network
from stages.io.tables import INSTANCES, write_table
from stages.ranker_train import Params, Ranked, ranker_train
from tests.stages.drawn_objects import write_objects

SECTION: dict[str, Any] = {
    "seed": 0, "variant": "paper", "reasoning": "graphs",
    "cues": ["relation", "local", "global", "person"], "subgraphs": 2, "global_nodes": 2,
    "position": False, "loss": "pairs", "gamma": 1.0, "ranks": 8, "person": ["cat"],
    "size": [32, 64], "pyramid": 16, "hidden": 8, "anchor": 16, "proposals": 20, "sampled": 8,
    "detections": 5, "overlap": 0.5, "first_epochs": 1, "epochs": 1, "min_steps": 0, "batch": 3,
    "crop": 48, "scales": [0.8, 1.2],
    "jitter": [0.1, 0.1, 0.1, 0.0], "optimizer": "adamw", "learning_rate": 1e-3,
    "head_factor": 3.0, "momentum": 0.9, "weight_decay": 1e-4, "freeze_batch_norm": False,
    "precision": "32-true",
}  # fmt: skip
FILES = {"weights.pt", "weights.json", "curve.csv", "metrics.json"}


def write_ranked(folder: Path, **changes: object) -> None:
    """Ranks in the order of each image's objects, and something else of instance 2."""
    frame = pd.read_parquet(folder / "objects.parquet")
    frame["rank"] = frame.groupby("image_id").cumcount() + 1
    for column, value in changes.items():
        frame.loc[frame["instance_id"] == 2, column] = value
    write_table(folder / "ranked.parquet", frame, INSTANCES)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    data = write_objects(tmp_path, monkeypatch, "ranker_train")
    write_ranked(tmp_path)
    torch.manual_seed(0)
    spec = ClassifierSpec("cam", "mobilenet_v2", 1.0, 16, (1, 2))
    save_network(tmp_path / "weights.pt", spec.build(), spec)
    return {
        "data": data,
        "instances": tmp_path / "ranked.parquet",
        "first_images": data.table("images"),
        "first_instances": tmp_path / "objects.parquet",
        "categories": data.table("categories"),
        "classifier": tmp_path / "weights.pt",
        "out": tmp_path / "out",
    }


def trained(paths: dict[str, Any], **changes: object) -> dict[str, Any]:
    params = parse_section(Params, SECTION | changes, "ranker_train")
    ranker_train(params, **paths)
    metrics: dict[str, Any] = json.loads((paths["out"] / "metrics.json").read_text())
    return metrics


def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    paths: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = trained(paths)
    assert metrics.pop("loss") > 0
    assert metrics == {
        "images": 3, "images_without_instances": 1, "first_images": 3, "instances": 4,
        "persons": 2
    }  # fmt: skip
    assert {path.name for path in paths["out"].iterdir()} == FILES
    curve = pd.read_csv(paths["out"] / "curve.csv")
    assert curve["epoch"].tolist() == [1, 2]
    assert curve["ranking"][0] == 0 < curve["ranking"][1], "objects of all images have no order"
    assert (curve[["masks", "persons"]] > 0).all(axis=None)
    again = paths["out"].with_name("again")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # after the last epoch
        patch.setattr("stages.ranker_train.write_curve", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(paths | {"out": again})
    assert not again.exists()
    assert len(list(again.with_name("checkpoints").rglob("*.pt"))) == 2
    trained(paths | {"out": again})
    assert not list(again.with_name("checkpoints").rglob("*.pt"))
    for name in FILES:
        assert (again / name).read_bytes() == (paths["out"] / name).read_bytes()


def test_its_weights_say_what_network_they_are_of(paths: dict[str, Any]) -> None:
    trained(paths, variant="released", cues=["relation"], loss="classes", first_epochs=0)
    spec = read_spec(paths["out"] / "weights.pt", RankingSpec)
    assert spec.size == (32, 64)
    assert (spec.ranking.variant, spec.ranking.cues) == ("released", ("relation",))
    network = read_network(paths["out"] / "weights.pt", spec)
    assert network.branch.predictor.out_features == 8


def test_who_is_a_person_is_known_of_named_categories_alone() -> None:
    rows = [{"category": category, "rank": 4 - category} for category in (0, 1, 2)]
    where = Path("ranked.parquet")
    assert Ranked(rows, frozenset({2}), where).is_person().tolist() == [-1, 0, 1]
    assert Ranked(rows, None, where).is_person().tolist() == [-1, -1, -1]
    assert Ranked(rows, None, where).ranks().tolist() == [4, 3, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": None}, r"image_id a, instance_id 2: rank None; expected 1 \(most salient\)"),
        ({"rank": 0}, r"image_id a, instance_id 2: rank 0; expected 1 \(most salient\) or more"),
        (
            {"mask": encode_rle(np.ones((80, 96), bool))},
            r"image_id a, instance_id 2: mask does not fit \(40, 48\) of its image",
        ),
    ],
)
def test_bad_instances_are_named_before_training(
    paths: dict[str, Any], changes: dict[str, object], message: str
) -> None:
    write_ranked(paths["instances"].parent, **changes)
    with pytest.raises(InputError, match=rf"ranked\.parquet: {message}"):
        trained(paths)
    assert not paths["out"].exists()


def test_no_ranked_instance_is_an_error(paths: dict[str, Any]) -> None:
    write_table(paths["instances"], pd.DataFrame(columns=INSTANCES.names), INSTANCES)
    with pytest.raises(InputError, match=r"ranked\.parquet: no ranked instance of a training"):
        trained(paths)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"person": ["cow"]}, r"ranker_train\.person: 'cow' is none of background, cat, dog"),
        ({"subgraphs": 3}, r"subgraphs: expected a divisor of 8 features, got 3"),
        ({"pyramid": 24}, r"pyramid: expected a multiple of 16, got 24"),
        ({"reasoning": "concatenation"}, r"cues: expected no relation without graphs"),
        ({"cues": ["size"]}, r"ranker_train\.cues\.0: .*'relation', 'local', 'global'"),
        ({"gamma": -1.0}, r"ranker_train\.gamma: .* greater than or equal to 0"),
        ({"size": [16, 64]}, r"ranker_train\.size\.0: .* greater than or equal to 32"),
        ({"first_epochs": -1}, r"ranker_train\.first_epochs: .* greater than or equal to 0"),
    ],
)
def test_bad_params_are_named(
    paths: dict[str, Any], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        trained(paths, **changes)
    assert not paths["out"].exists()
