"""Ranked instances of drawn scenes and of a tiny set, as a stage."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.io.data_set import Dataset
from stages.io.label_maps import read_label_map
from stages.io.salient_maps import encode_grey
from stages.io.tables import FIXATIONS, IMAGES, INSTANCES, VOTES, read_rows, write_table
from stages.ranking_curate import Params, ranking_curate
from stages.scenes import Params as Scenes
from stages.scenes import scenes
from tests.stages.dataset_runs import read
from tests.stages.drawn_objects import OBJECTS, SIZE, mask_of, write_objects

PARAMS: dict[str, Any] = {
    "saliency": "fixations", "sigma": 0.03, "salient_by": "votes", "measure": "max",
    "more_than": 3, "fewest": 2, "most": 8, "most_overlap": 0.8,
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Image a has two objects, which four subjects pick; the second is looked at more."""
    found = write_objects(tmp_path, monkeypatch, "ranking_curate")
    (tmp_path / "objects.parquet").rename(tmp_path / "outlines.parquet")
    looks = [("a", f"s{n % 4}", *((30.0, 20.0) if n % 3 else (10.0, 10.0)), 0.0) for n in range(12)]
    write_table(
        tmp_path / "fixations.parquet", pd.DataFrame(looks, columns=FIXATIONS.names), FIXATIONS
    )
    votes = [("a", f"s{n}", instance, None) for n in range(4) for instance in (1, 2)]
    write_table(tmp_path / "votes.parquet", pd.DataFrame(votes, columns=VOTES.names), VOTES)
    return found


def curate(data: Dataset, **more: Any) -> tuple[list[dict[str, Any]], dict[str, tuple[str, str]]]:
    """The ranked rows, and rule and reason of every image that was dropped."""
    out = data.folder / "out"
    ranking_curate(Params(**{**PARAMS, **more}), data, out)
    with (out / "rejected.csv").open() as file:
        dropped = {row["image"]: (row["rule"], row["reason"]) for row in csv.DictReader(file)}
    return read_rows(out / "instances.parquet", INSTANCES), dropped


def test_instances_are_ranked_and_every_other_image_is_named_with_its_rule(data: Dataset) -> None:
    rows, dropped = curate(data)
    assert [(row["instance_id"], row["rank"]) for row in rows] == [(2, 1), (1, 2)]
    assert rows[0]["score"] == 1
    assert 0.4 < rows[1]["score"] < 0.6
    assert dropped == {name: ("gaze", "nothing was looked at") for name in "bcdv"}
    out = data.folder / "out"
    assert [row["image_id"] for row in read_rows(out / "images.parquet", IMAGES)] == ["a"]
    grey = read_label_map(out / "maps/a.png", SIZE)
    assert [grey[20, 30], grey[10, 10], grey[0, 0]] == [255, 128, 0]
    assert (out / "pictures/a.jpg").exists()
    assert (out / "sizes.csv").read_text() == "instances,images,percent\n2,1,100.0\n"
    assert (out / "categories.csv").read_text().splitlines()[1:] == ["dog,8.0,1", "cat,7.0,1"]
    found = json.loads((out / "metrics.json").read_text())
    assert (found["images"], found["rejected_gaze"], found["rejected_iv"]) == (1, 4, 0)


def test_gaze_may_stand_in_for_votes_and_maps_for_gaze(data: Dataset) -> None:
    assert [row["instance_id"] for row in curate(data, salient_by="gaze", more_than=2)[0]] == [2, 1]
    values = np.zeros(SIZE, np.uint8)
    for (name, _, box), level in zip(OBJECTS[:2], (200, 90), strict=True):
        assert name == "a"
        values[mask_of(box)] = level
    write_bytes(data.folder / "saliency/a.png", encode_grey(values))
    rows, _ = curate(data, saliency="maps")
    assert [row["instance_id"] for row in rows] == [1, 2]
    assert [row["score"] for row in rows] == pytest.approx([200 / 255, 90 / 255], abs=1e-5)


def test_where_nothing_is_left_one_line_says_why(data: Dataset) -> None:
    with pytest.raises(InputError, match=r"of 5 images none is fit .* \(i: 1, gaze: 4\)"):
        curate(data, more_than=4)
    assert "i,4 subjects saw it" in (data.folder / "out/rejected.csv").read_text()
    assert not (data.folder / "out/instances.parquet").exists()


def test_the_hidden_order_of_drawn_scenes_is_found_and_planted_images_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEEDMASK_WORKERS", "1")
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "scenes"
    scenes(Scenes(seed=0, train_images=20, val_images=1, width=128, height=96, mix={}), root)
    folder = read(root, "coco")
    rows, dropped = curate(Dataset(folder, root))
    with (root / "ground_truth/planted.csv").open() as file:
        planted = {Path(row["file"]).stem: row["reason"] for row in csv.DictReader(file)}
    assert planted
    rules = {"missing": "ii", "segmentation": "iii"}
    assert {name: dropped[name][0] for name in planted} == {n: rules[r] for n, r in planted.items()}
    assert all(rule == "iv" for name, (rule, _) in dropped.items() if name not in planted)
    true = pd.DataFrame(read_rows(folder / "ground_truth/instances.parquet", INSTANCES))
    both = pd.DataFrame(rows).merge(true[["instance_id", "rank"]], on="instance_id")
    agree = [
        own["rank_x"].corr(own["rank_y"], method="spearman") for _, own in both.groupby("image_id")
    ]
    assert np.mean(agree) > 0.85
