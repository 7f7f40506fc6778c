import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.metrics import ConfusionMatrix
from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.io.data_set import read_class_names
from stages.io.label_maps import encode_label_map
from stages.io.measures import (
    IMAGE_SCORES,
    count_pixels,
    image_scores,
    labels_of,
    percent,
    read_truth,
    scores_of_image,
    set_scores,
)
from stages.io.tables import CATEGORIES, read_rows, write_table

NAMES = {0: "background", 1: "cat", 2: "dog"}


def matrix() -> ConfusionMatrix:
    found = ConfusionMatrix(3)
    truth = np.array([[0, 0, 0, 1]], dtype=np.uint8)
    count_pixels(found, truth, np.array([[0, 0, 1, 1]], dtype=np.uint8), Path("x.png"))
    return found


def test_percentages_have_two_decimals_and_no_nan() -> None:
    assert percent(0.123456) == 12.35
    assert percent(math.nan) is None


def test_scores_of_a_set_leave_absent_classes_out_and_are_plain_json() -> None:
    scores = set_scores(matrix(), NAMES)
    assert scores["iou"] == {"background": 66.67, "cat": 50.0}
    assert scores["class_precision"] == {"background": 100.0, "cat": 50.0}
    assert (scores["miou"], scores["precision"], scores["coverage"]) == (58.33, 75.0, 100.0)
    assert json.loads(json.dumps(scores)) == scores


def test_scores_of_an_image_round_trip_through_the_table(tmp_path: Path) -> None:
    rows = [image_scores("a", matrix()), image_scores("b", ConfusionMatrix(3))]
    write_table(tmp_path / "x.parquet", pd.DataFrame(rows), IMAGE_SCORES)
    first, second = read_rows(tmp_path / "x.parquet", IMAGE_SCORES)
    assert first["categories"] == [0, 1]
    assert first["iou"] == [66.67, 50.0]
    assert second["categories"] == []
    assert second["miou"] is None or math.isnan(second["miou"])


def test_an_image_has_scores_of_the_classes_of_its_truth_alone() -> None:
    found = ConfusionMatrix(3)
    truth = np.array([[1, 1, 1, 1]], dtype=np.uint8)
    prediction = np.array([[1, 1, 1, 0]], dtype=np.uint8)
    count_pixels(found, truth, prediction, Path("x.png"))
    row = image_scores("a", found)
    assert (row["miou"], row["categories"], row["iou"]) == (75.0, [1], [75.0])
    assert scores_of_image("a", truth, prediction) == row


def test_class_names_start_with_the_background(tmp_path: Path) -> None:
    names = pd.DataFrame({"category": [2, 1], "name": ["dog", "cat"]})
    write_table(tmp_path / "categories.parquet", names, CATEGORIES)
    assert read_class_names(tmp_path / "categories.parquet") == NAMES
    assert labels_of(["dog", "background"], NAMES, "x") == [2, 0]
    with pytest.raises(InputError, match=r"x: no class 'cow' in the data set; it has background"):
        labels_of(["cow"], NAMES, "x")


def test_label_map_that_does_not_fit_is_named() -> None:
    truth = np.zeros((2, 2), dtype=np.uint8)
    with pytest.raises(InputError, match=r"x\.png: prediction: expected labels below 3"):
        count_pixels(ConfusionMatrix(3), truth, truth + 9, Path("x.png"))


def test_truth_may_be_missing(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.png", encode_label_map(np.ones((2, 3), dtype=np.uint8)))
    found = read_truth(tmp_path, "a")
    assert found is not None
    assert found.shape == (2, 3)
    assert read_truth(tmp_path, "b") is None
