import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.instances_split import Params, instances_split
from stages.io.corrections import AUTOMATIC, HUMAN, write_origins
from stages.io.label_maps import decode_rle, encode_label_map
from stages.io.score_maps import ScoreMap, encode_score_map
from stages.io.tables import INSTANCES, read_rows
from tests.stages.drawn_discs import DISCS, SIZE, draw, write_discs


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Any]:
    written = write_discs(tmp_path)
    for name in DISCS:
        true = draw(name)[1]
        write_bytes(tmp_path / "labels" / f"{name}.png", encode_label_map(true))
        scores = np.stack([np.where(true == label, 0.75, 0.125) for label in (0, 1, 2)])
        score_map = ScoreMap(scores.astype(np.float16), np.arange(3), SIZE, 1)
        write_bytes(tmp_path / "maps" / f"{name}.npz", encode_score_map(score_map))
    write_origins(tmp_path / "origins.csv", dict.fromkeys(DISCS, AUTOMATIC))
    return {
        "data": written,
        "labels": tmp_path / "labels",
        "origins": tmp_path / "origins.csv",
        "probabilities": tmp_path / "maps",
        "out": tmp_path / "out",
    }


def metrics(paths: dict[str, Any]) -> dict[str, float]:
    content: dict[str, float] = json.loads((paths["out"] / "metrics.json").read_text())
    return content


def test_every_box_of_a_training_image_gets_its_mask(paths: dict[str, Any]) -> None:
    instances_split(Params(), **paths)
    rows = read_rows(paths["out"] / "instances.parquet", INSTANCES)
    assert [(row["image_id"], row["category"]) for row in rows] == [
        ("one", 1),
        ("two", 1),
        ("two", 2),
    ]
    given = read_rows(paths["data"].table("instances"), INSTANCES)
    for row, box in zip(rows, given, strict=False):
        mask = decode_rle(row["mask"], *SIZE)
        np.testing.assert_array_equal(mask, draw(row["image_id"])[1] == row["category"])
        assert row["area"] == mask.sum()
        assert row["score"] == 0.75
        for key in ("instance_id", "x0", "y0", "x1", "y1"):
            assert row[key] == box[key]
    assert metrics(paths) == {
        "images": 3,
        "instances": 3,
        "boxes_filled_without_their_class": 0,
        "boxes_emptied_by_hand": 0,
        "classes_by_hand_without_a_box": 0,
        "mean_score": 0.75,
    }


def test_a_box_without_its_class_is_filled_and_counted(paths: dict[str, Any]) -> None:
    write_bytes(paths["labels"] / "one.png", encode_label_map(np.zeros(SIZE, np.uint8)))
    score_map = ScoreMap(np.ones((1, *SIZE), np.float16), np.array([0]), SIZE, 1)
    write_bytes(paths["probabilities"] / "one.npz", encode_score_map(score_map))
    instances_split(Params(), **paths)
    row = read_rows(paths["out"] / "instances.parquet", INSTANCES)[0]
    assert row["area"] == 19 * 19
    assert row["score"] == 0
    assert metrics(paths)["boxes_filled_without_their_class"] == 1


def test_a_corrected_label_is_split_as_it_is(paths: dict[str, Any]) -> None:
    """ "two" has a sun and a moon; the person sees no sun, and a class 3 that no box has."""
    labels = np.where(draw("two")[1] == 2, 2, 0).astype(np.uint8)
    labels[:5] = 3
    labels[20:22, 30:33] = 255
    write_bytes(paths["labels"] / "two.png", encode_label_map(labels))
    write_origins(paths["origins"], {"one": AUTOMATIC, "two": HUMAN, "empty": AUTOMATIC})
    scores = ScoreMap(np.ones((1, *SIZE), np.float16), np.array([0]), SIZE, 1)
    write_bytes(paths["probabilities"] / "two.npz", encode_score_map(scores))
    instances_split(Params(), **paths)
    _, moon = read_rows(paths["out"] / "instances.parquet", INSTANCES)
    assert (moon["image_id"], moon["category"], moon["score"]) == ("two", 2, 1)
    np.testing.assert_array_equal(decode_rle(moon["mask"], *SIZE), labels == 2)
    found = metrics(paths)
    assert found["instances"] == 2
    assert found["boxes_filled_without_their_class"] == 0
    assert found["boxes_emptied_by_hand"] == 1
    assert found["classes_by_hand_without_a_box"] == 1


def test_a_data_set_without_boxes_gives_an_empty_table(
    paths: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from stages import instances_split as module

    monkeypatch.setattr(module.Dataset, "numbered_boxes", lambda data: {})
    instances_split(Params(), **paths)
    assert read_rows(paths["out"] / "instances.parquet", INSTANCES) == []
    assert metrics(paths)["mean_score"] is None


def test_a_label_map_of_another_size_is_refused(paths: dict[str, Any]) -> None:
    write_bytes(paths["labels"] / "two.png", encode_label_map(np.zeros((5, 6), np.uint8)))
    with pytest.raises(InputError, match=r"two\.png: size \(5, 6\); expected \(40, 48\)"):
        instances_split(Params(), **paths)


def test_a_missing_score_map_is_named(paths: dict[str, Any]) -> None:
    (paths["probabilities"] / "one.npz").unlink()
    with pytest.raises(InputError, match=r"one\.npz: no such score map"):
        instances_split(Params(), **paths)
