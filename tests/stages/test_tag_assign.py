import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.io.features import Features, read_features, write_features
from stages.io.label_maps import encode_label_map, read_label_map
from stages.io.score_maps import ScoreMap, encode_score_map
from stages.io.tables import (
    DOUBTS,
    INSTANCES,
    KINDS,
    NAMES,
    TAGS,
    read_rows,
    read_table,
    write_table,
)
from stages.tag_assign import Method, Params, tag_assign
from tests.stages.drawn_salient import (
    IMAGES_OF,
    MISTAKEN,
    SIZE,
    TRUTH,
    Salient,
    half,
    write_salient,
)

PARAMS = Params(
    seed=0, neighbours=2, symmetrise="union", beta=1.0, retention=10 / 12, infeasible="raise",
    batch=0, time_limit=10.0, solver="ascent",
)  # fmt: skip


@pytest.fixture
def salient(tmp_path: Path) -> Salient:
    return write_salient(tmp_path)


def assigned(
    salient: Salient, params: Params = PARAMS, method: Method = "graph"
) -> tuple[list[int], dict[str, Any]]:
    """The category of each instance, and metrics.json."""
    out = salient.data.folder / "out"
    tag_assign(params, salient.data, salient.instances, salient.features, salient.maps, method, out)
    rows = read_rows(out / "salient.parquet", INSTANCES)
    metrics: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return [row["category"] for row in rows], metrics


def test_the_graph_corrects_what_attention_mistakes_and_rejects_noise(salient: Salient) -> None:
    found, metrics = assigned(salient)
    assert tuple(found) == TRUTH
    assert metrics | {"lower": 0, "upper": 0} == {
        "method": "graph", "solver": "ascent", "instances": 12, "instances_without_tags": 0,
        "assigned": 10, "rejected": 2, "tags_without_instance": 0, "lower": 0, "upper": 0,
        "gap": 0.0,
    }  # fmt: skip
    assert 0 < metrics["lower"] <= metrics["upper"]
    attention, _ = assigned(salient, method="attention")
    wrong = [row for row, (a, b) in enumerate(zip(attention, found, strict=True)) if a != b]
    rows = read_rows(salient.instances, INSTANCES)
    assert {rows[row]["image_id"] for row in wrong} == {MISTAKEN, "noise0", "noise1"}


def test_without_filtering_every_instance_has_a_tag(salient: Salient) -> None:
    found, metrics = assigned(salient, method="unfiltered")
    assert all(found)
    assert (metrics["assigned"], metrics["rejected"], metrics["gap"]) == (12, 0, 0.0)


def test_random_tags_are_of_the_image_and_of_the_seed(salient: Salient) -> None:
    rows = read_rows(salient.instances, INSTANCES)
    drawn = [assigned(salient, replace(PARAMS, seed=seed), "random")[0] for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1]
    assert len(set(map(tuple, drawn))) > 1
    for row, tag in zip(rows, drawn[0], strict=True):
        assert tag in IMAGES_OF[row["image_id"]]
    metrics = assigned(salient, method="random")[1]
    assert metrics["lower"] is metrics["gap"] is metrics["solver"] is None


def test_the_statement_in_cvxpy_finds_the_same_objective(salient: Salient) -> None:
    _, mine = assigned(salient)
    found, theirs = assigned(salient, replace(PARAMS, solver="cvxpy"))
    assert tuple(found) == TRUTH
    assert theirs["lower"] == pytest.approx(mine["lower"], rel=1e-9)


def test_batches_are_problems_of_their_own(salient: Salient) -> None:
    whole, _ = assigned(salient, replace(PARAMS, retention=1.0))
    found, metrics = assigned(salient, replace(PARAMS, retention=1.0, batch=4))
    assert metrics["assigned"] == len(whole) == 12
    assert metrics["gap"] == 0
    assert metrics["lower"] < assigned(salient, replace(PARAMS, retention=1.0))[1]["lower"]
    assert all(found)


def test_labels_have_what_is_named_and_255_where_something_was_rejected(salient: Salient) -> None:
    assigned(salient)
    labels = salient.data.folder / "out/labels"
    expected = np.zeros(SIZE, dtype=np.uint8)
    expected[half(0)], expected[half(1)] = 1, 255
    np.testing.assert_array_equal(read_label_map(labels / "noise0.png"), expected)
    assert (read_label_map(labels / "none.png") == 255).all()
    assert {path.stem for path in labels.iterdir()} == set(IMAGES_OF)
    rows = read_rows(salient.data.folder / "out/instances.parquet", INSTANCES)
    assert [row["category"] for row in rows] == [tag for tag in TRUTH if tag]


def test_a_whole_mask_stays_as_it_was_brought(salient: Salient) -> None:
    folder = salient.data.folder
    brought = encode_label_map(np.full(SIZE, 2, dtype=np.uint8))
    write_bytes(folder / "masks/cat0.png", brought)
    kinds = read_table(folder / "kinds.parquet", KINDS)
    kinds.loc[kinds["image_id"] == "cat0", "kind"] = "mask"
    write_table(folder / "kinds.parquet", kinds, KINDS)
    assigned(salient)
    assert (folder / "out/labels/cat0.png").read_bytes() == brought


def test_the_least_certain_comes_first(salient: Salient) -> None:
    found, _ = assigned(salient)
    names = read_rows(salient.data.folder / "out/names.parquet", NAMES)
    doubts = read_rows(salient.data.folder / "out/doubts.parquet", DOUBTS)
    for rows, column in ((names, "margin"), (doubts, "least_margin")):
        margins = [row[column] for row in rows]
        assert margins == sorted(margins)
    for row in names:
        tag = {0: None, 1: "cat", 2: "dog"}[found[row["instance_id"] - 1]]
        assert row["tag"] == tag
        assert (row["attention"] is None) == (tag is None)
    for row in doubts:
        own = [each for each in names if each["image_id"] == row["image_id"]]
        rejected = sum(each["tag"] is None for each in own)
        counts = (row["instances"], row["named"], row["rejected"])
        assert counts == (len(own), len(own) - rejected, rejected)
        assert row["least_margin"] == own[0]["margin"]
    assigned(salient, method="attention")
    names = read_rows(salient.data.folder / "out/names.parquet", NAMES)
    assert [row["margin"] for row in names] == [None] * 12


def test_no_instances_are_no_error(salient: Salient) -> None:
    write_table(salient.instances, pd.DataFrame([], columns=INSTANCES.names), INSTANCES)
    empty = Features(np.empty(0, np.int64), np.empty((0, 4), np.float32))
    write_features(salient.features, empty)
    found, metrics = assigned(salient)
    assert found == []
    assert (metrics["lower"], metrics["upper"], metrics["gap"]) == (0, 0, 0)
    assert (read_label_map(salient.data.folder / "out/labels/cat0.png") == 255).all()


def test_without_any_tag_all_is_rejected_or_refused(salient: Salient) -> None:
    tags = salient.data.folder / "tags.parquet"
    write_table(tags, pd.DataFrame([], columns=TAGS.names), TAGS)
    refused(salient, "tag_assign.retention: 0.8333333333333334 of 12 instances are 10, but 0 have")
    found, metrics = assigned(salient, replace(PARAMS, infeasible="clip"))
    assert found == [0] * 12
    assert metrics["instances_without_tags"] == 12


def refused(salient: Salient, problem: str, params: Params = PARAMS) -> None:
    with pytest.raises(InputError) as caught:
        assigned(salient, params)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (salient.data.folder / "out/metrics.json").exists()


@pytest.mark.parametrize(
    ("value", "what"), [(np.nan, "nan or infinity"), (np.inf, "nan or infinity"), (0, "zeros")]
)
def test_a_feature_without_a_direction_is_refused(
    salient: Salient, value: float, what: str
) -> None:
    features = read_features(salient.features)
    features.values[2] = value
    write_features(salient.features, features)
    refused(salient, f"features.npz: image_id dog0, instance_id 3: {what}")


def test_features_of_other_instances_are_refused(salient: Salient) -> None:
    features = read_features(salient.features)
    other = Features(features.instance_ids[:-1], features.values[:-1])
    write_features(salient.features, other)
    refused(salient, "features.npz: 11 features are not those of the 12 of ")
    salient.features.write_bytes(b"PK")
    refused(salient, "features.npz: not a file of features: ")
    salient.features.unlink()
    refused(salient, "features.npz: no such features")


@pytest.mark.parametrize("value", [1.5, -0.5, np.nan])
def test_attention_outside_0_to_1_is_refused(salient: Salient, value: float) -> None:
    scores = np.zeros((1, *SIZE), dtype=np.float16)
    scores[0, 3, 5] = value
    score_map = ScoreMap(scores, np.array([1], np.int64), SIZE, 1)
    write_bytes(salient.maps / "cat1.npz", encode_score_map(score_map))
    refused(salient, f"cat1.npz: score {value}; expected 0 to 1")


def test_a_tag_without_scores_is_refused(salient: Salient) -> None:
    score_map = ScoreMap(np.zeros((1, *SIZE), np.float16), np.array([2], np.int64), SIZE, 1)
    write_bytes(salient.maps / "cat1.npz", encode_score_map(score_map))
    refused(salient, "cat1.npz: no scores of category 1, a tag of the image")


def test_a_tag_that_is_no_class_is_refused(salient: Salient) -> None:
    tags = read_table(salient.data.table("tags"), TAGS)
    tags.loc[0, "category"] = 7
    write_table(salient.data.table("tags"), tags, TAGS)
    refused(salient, "tags.parquet: image cat0: category 7 is none of 1, 2")


def test_more_to_name_than_have_a_tag_is_refused_or_clipped(salient: Salient) -> None:
    tags = read_table(salient.data.table("tags"), TAGS)
    write_table(salient.data.table("tags"), tags[tags["image_id"] != "both0"], TAGS)
    asked = replace(PARAMS, retention=1.0)
    refused(
        salient,
        "tag_assign.retention: 1.0 of 12 instances are 12, but 10 have a tag; expected",
        asked,
    )
    _, metrics = assigned(salient, replace(asked, infeasible="clip"))
    assert (metrics["assigned"], metrics["instances_without_tags"]) == (10, 2)


def test_an_instance_of_no_training_image_is_refused(salient: Salient) -> None:
    rows = read_table(salient.instances, INSTANCES)
    rows.loc[0, "image_id"] = "elsewhere"
    write_table(salient.instances, rows, INSTANCES)
    refused(salient, "image_id elsewhere, instance_id 1: expected a mask, of a training image")
