import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from stages.engine.files import write_bytes
from stages.instances_eval import Params, instances_eval
from stages.io.data_set import Dataset
from stages.io.label_maps import encode_rle
from stages.io.measures import INSTANCE_MEASURES
from stages.io.salient_maps import encode_region
from stages.io.tables import CATEGORIES, IMAGES, INSTANCES, write_table

SIZE = (40, 48)


def rectangle(y0: int, x0: int, y1: int, x1: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(SIZE, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def row(
    image_id: str,
    number: int,
    category: int,
    mask: npt.NDArray[np.bool_] | None,
    score: float | None = None,
) -> dict[str, Any]:
    return {
        "image_id": image_id, "instance_id": number, "category": category,
        "x0": 0.0, "y0": 0.0, "x1": 1.0, "y1": 1.0, "area": 1.0, "is_crowd": False,
        "mask": None if mask is None else encode_rle(mask), "score": score,
    }  # fmt: skip


TRUTH_B = rectangle(5, 5, 25, 30)
TRUTH = [
    row("a", 1, 1, rectangle(0, 0, 20, 20)),
    row("a", 2, 1, rectangle(20, 20, 40, 40)),
    row("b", 3, 2, rectangle(5, 5, 25, 30)),
]


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Any]:
    rows = [
        {"image_id": name, "split": split, "file": name, "width": 48, "height": 40, "md5": ""}
        for name, split in (("a", "train"), ("b", "train"), ("c", "val"))
    ]
    write_table(tmp_path / "images.parquet", pd.DataFrame(rows), IMAGES)
    no_boxes = pd.DataFrame(columns=INSTANCES.names)
    write_table(tmp_path / "instances.parquet", no_boxes, INSTANCES)
    names = pd.DataFrame({"category": [1, 2], "name": ["cat", "dog"]})
    write_table(tmp_path / "categories.parquet", names, CATEGORIES)
    return {
        "data": Dataset(tmp_path),
        "ground_truth": tmp_path / "truth.parquet",
        "instances": tmp_path / "found.parquet",
        "split": "train",
        "out": tmp_path / "out",
        "name": "own",
    }


def measured(
    paths: dict[str, Any], truth: list[dict[str, Any]], found: list[dict[str, Any]]
) -> dict[str, Any]:
    for name, rows in (("ground_truth", truth), ("instances", found)):
        write_table(paths[name], pd.DataFrame(rows, columns=INSTANCES.names), INSTANCES)
    instances_eval(Params(), **paths)
    content: dict[str, Any] = json.loads((paths["out"] / "own.json").read_text())
    assert set(INSTANCE_MEASURES) <= set(content)
    return content


def test_truth_against_itself_scores_100_in_silence(
    paths: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = measured(paths, TRUTH, TRUTH)
    assert (metrics["map"], metrics["ap50"], metrics["ap75"]) == (100, 100, 100)
    assert metrics["ap"] == {"cat": 100, "dog": 100}
    assert (metrics["images"], metrics["instances"], metrics["predicted"]) == (2, 3, 3)
    assert capsys.readouterr().out == ""


def test_overlap_decides_at_which_threshold_a_mask_counts(paths: dict[str, Any]) -> None:
    found = [row("b", 9, 2, rectangle(5, 5, 25, 20), 0.9)]  # 15 of 25 columns: IoU 0.6
    metrics = measured(paths, TRUTH[2:], found)
    assert metrics["ap50"] == 100
    assert (metrics["ap70"], metrics["ap75"]) == (0, 0)
    assert (metrics["voc_ap50"], metrics["voc_ap70"]) == (100, 0)
    assert metrics["map"] == pytest.approx(30)  # at 0.50, 0.55, 0.60 of ten thresholds


def test_wrong_class_and_better_scored_false_positive_cost(paths: dict[str, Any]) -> None:
    wrong = [row("b", 9, 1, rectangle(5, 5, 25, 30), 1.0)]
    assert measured(paths, TRUTH[2:], wrong)["map"] == 0
    ahead = [row("b", 8, 2, rectangle(30, 30, 39, 47), 0.9), row("b", 9, 2, TRUTH_B, 0.5)]
    assert measured(paths, TRUTH[2:], ahead)["map"] == 50


def test_where_no_class_is_asked_for_a_mask_of_another_class_is_right(
    paths: dict[str, Any],
) -> None:
    found = [row("b", 9, 1, TRUTH_B, 1.0)]
    metrics = measured(paths, TRUTH, found)
    assert (metrics["ap50"], metrics["voc_ap50"]) == (0, 0)
    assert metrics["any_voc_ap50"] == pytest.approx(100 / 3, abs=0.01)
    assert metrics["found50"] == metrics["image_ap50"] == 50  # of two images, one whole
    assert metrics["found"] == metrics["image_ap"] == 50


def test_masks_of_no_class_have_no_values_by_class(paths: dict[str, Any]) -> None:
    metrics = measured(paths, TRUTH, [each | {"category": 0} for each in TRUTH])
    assert metrics["map"] is metrics["ap50"] is metrics["voc_ap50"] is None
    assert metrics["ap"] == {}
    assert metrics["any_map"] == metrics["any_voc_ap75"] == metrics["image_ap"] == 100


def test_the_split_decides_what_is_measured(paths: dict[str, Any]) -> None:
    truth = [*TRUTH, row("c", 4, 1, TRUTH_B)]
    assert measured(paths | {"split": "val"}, truth, truth[3:])["images"] == 1
    assert measured(paths, truth, truth[3:])["map"] == 0


def test_where_salient_ones_are_asked_for_the_others_are_none(paths: dict[str, Any]) -> None:
    region = rectangle(0, 0, 20, 20) | rectangle(20, 20, 40, 29)  # the first, and less than half
    write_bytes(paths["data"].folder / "regions/a.png", encode_region(region))
    metrics = measured(paths | {"objects": "salient"}, TRUTH, TRUTH)
    assert (metrics["images"], metrics["instances"], metrics["predicted"]) == (1, 1, 2)
    assert metrics["found"] == 100
    assert measured(paths, TRUTH, TRUTH)["instances"] == 3


def test_nothing_found_is_zero(paths: dict[str, Any]) -> None:
    assert measured(paths, TRUTH, [])["map"] == 0


def test_voc_counts_a_second_mask_of_an_object_where_coco_finds_it_another(
    paths: dict[str, Any],
) -> None:
    truth = [
        row("a", 1, 1, rectangle(0, 0, 20, 20)),
        row("a", 2, 1, rectangle(0, 0, 20, 30)),
    ]
    found = [
        row("a", 8, 1, rectangle(0, 0, 20, 20), 0.9),
        row("a", 9, 1, rectangle(0, 0, 20, 19), 0.8),  # IoU 0.95 and 0.63
    ]
    metrics = measured(paths, truth, found)
    assert metrics["ap50"] == 100
    assert metrics["voc_ap50"] == 50
    alone = measured(paths, truth, found[:1])
    assert alone["voc_ap50"] == 50
    assert alone["ap50"] == pytest.approx(100 * 51 / 101, abs=0.01)


def test_a_mask_on_a_crowd_counts_neither_way(paths: dict[str, Any]) -> None:
    crowd = row("b", 4, 2, rectangle(30, 30, 39, 47)) | {"is_crowd": True}
    found = [row("b", 8, 2, rectangle(30, 30, 39, 47), 0.9), row("b", 9, 2, TRUTH_B, 0.5)]
    metrics = measured(paths, [*TRUTH[2:], crowd], found)
    assert (metrics["ap50"], metrics["voc_ap50"]) == (100, 100)
    assert metrics["ap"] == {"dog": 100}


def test_box_iou_compares_each_true_mask_with_the_mask_of_its_box(paths: dict[str, Any]) -> None:
    whole = {"x0": 0.0, "y0": 0.0, "x1": 20.0, "y1": 20.0}
    speck = {"x0": 0.0, "y0": 30.0, "x1": 6.0, "y1": 36.0}  # 36 of 1920 pixels: below 2 %
    truth = [
        row("a", 1, 1, rectangle(0, 0, 20, 20)) | whole,
        row("a", 2, 1, rectangle(30, 0, 36, 6)) | speck,
        row("b", 3, 2, rectangle(0, 0, 40, 40)) | {"x1": 40.0, "y1": 40.0},
        row("b", 4, 2, rectangle(0, 0, 40, 48)) | {"is_crowd": True},
    ]
    boxes = pd.DataFrame([each | {"mask": None} for each in truth], columns=INSTANCES.names)
    write_table(paths["data"].table("instances"), boxes, INSTANCES)
    masks = [
        truth[0] | {"mask": encode_rle(rectangle(0, 0, 20, 10)), "score": 0.1},  # half of it
        truth[1] | {"mask": encode_rle(rectangle(30, 0, 36, 3))},
        row("b", 9, 2, rectangle(0, 0, 40, 40), 1.0),  # of no box of the data set
    ]
    metrics = measured(paths, truth, masks)
    assert metrics["box_iou"] == pytest.approx(100 * (0.5 + 0.5 + 0) / 3, abs=0.01)
    assert (metrics["box_iou_small"], metrics["box_iou_medium"]) == (50, 0)
    assert metrics["box_iou_large"] is None
    assert metrics["box_iou_tiny"] == 50
    assert measured(paths, truth, masks[2:])["box_iou"] is None


def test_no_masks_in_the_truth_gives_nulls_and_a_note(
    paths: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for truth in ([], [row("a", 1, 1, None)]):
        metrics = measured(paths, truth, TRUTH)
        assert metrics["map"] is metrics["ap50"] is metrics["ap70"] is metrics["voc_ap70"] is None
        assert metrics["images"] == 0
        assert "no instance masks in the ground truth" in capsys.readouterr().out


def test_masks_without_a_class_beside_named_ones_are_noise(paths: dict[str, Any]) -> None:
    noise = row("b", 4, 0, rectangle(30, 35, 38, 46))
    metrics = measured(paths, TRUTH, [*TRUTH, noise])
    assert metrics["map"] == metrics["any_map"] == 100
    assert metrics["named"] == metrics["noise_found"] == 100
    assert metrics["named_several"] is None
    wrong = measured(
        paths, TRUTH, [*TRUTH[:2], {**TRUTH[2], "category": 1}, {**noise, "category": 1}]
    )
    assert (wrong["named"], wrong["noise_found"]) == (50, 0)
