import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.io.data_set import Dataset
from stages.io.label_maps import encode_label_map
from stages.io.tables import CATEGORIES, IMAGES, write_table
from stages.labels_eval import Params, labels_eval

SIZE = (8, 10)


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    images, categories = tmp_path / "images.parquet", tmp_path / "categories.parquet"
    rows = [
        {
            "image_id": name,
            "split": split,
            "file": f"{name}.png",
            "width": 10,
            "height": 8,
            "md5": "",
        }
        for name, split in (("a", "train"), ("b", "train"), ("c", "val"))
    ]
    write_table(images, pd.DataFrame(rows), IMAGES)
    names = pd.DataFrame({"category": [1, 2, 3], "name": ["cat", "dog", "cow"]})
    write_table(categories, names, CATEGORIES)
    truth = np.zeros(SIZE, dtype=np.uint8)
    truth[:4, :5] = 1
    truth[0] = 255
    write_bytes(tmp_path / "truth" / "a.png", encode_label_map(truth))
    write_bytes(tmp_path / "truth" / "b.png", encode_label_map(np.full(SIZE, 2, np.uint8)))
    shutil.copytree(tmp_path / "truth", tmp_path / "labels")
    return {
        "data": Dataset(tmp_path),
        "split": "train",
        "ground_truth": tmp_path / "truth",
        "labels": tmp_path / "labels",
        "out": tmp_path / "out",
        "name": "source",
    }


def measured(data: dict[str, Any], *classes: str) -> dict[str, Any]:
    labels_eval(Params(list(classes)), **data)
    content: dict[str, Any] = json.loads((data["out"] / "source.json").read_text())
    return content


def test_truth_against_itself_scores_100(data: dict[str, Any]) -> None:
    scores = measured(data)
    assert (scores["miou"], scores["precision"], scores["coverage"]) == (100, 100, 100)
    assert scores["iou"] == {"background": 100, "cat": 100, "dog": 100}
    assert (scores["images"], scores["images_without_truth"]) == (2, 0)
    assert "miou_classes" not in scores


def test_rows_per_image_and_chosen_classes(data: dict[str, Any]) -> None:
    half = np.full(SIZE, 2, dtype=np.uint8)
    half[:4] = 255
    write_bytes(data["labels"] / "b.png", encode_label_map(half))
    scores = measured(data, "cat", "dog")
    assert scores["iou"]["dog"] == 50
    assert scores["miou_classes"] == 75
    assert scores["miou"] == pytest.approx(250 / 3, abs=0.01)
    rows = pd.read_parquet(data["out"] / "source.parquet").set_index("image_id")
    assert list(rows.index) == ["a", "b"]
    assert rows.loc["b", "miou"] == 50
    assert rows.loc["b", "coverage"] == 50
    assert list(np.asarray(rows.loc["a", "categories"])) == [0, 1]


def test_an_image_without_background_is_not_worst_for_a_few_pixels_of_it(
    data: dict[str, Any],
) -> None:
    few = np.full(SIZE, 2, dtype=np.uint8)
    few[0, :4] = 0
    write_bytes(data["labels"] / "b.png", encode_label_map(few))
    scores = measured(data)
    assert scores["iou"]["background"] < 100  # the set counts what it wrongly claims
    rows = pd.read_parquet(data["out"] / "source.parquet").set_index("image_id")
    assert rows.loc["b", "miou"] == 95
    assert list(np.asarray(rows.loc["b", "categories"])) == [2]


def test_images_without_truth_are_counted_and_left_out(data: dict[str, Any]) -> None:
    (data["ground_truth"] / "a.png").unlink()
    scores = measured(data)
    assert (scores["images"], scores["images_without_truth"]) == (1, 1)
    (data["ground_truth"] / "b.png").unlink()
    scores = measured(data)
    assert scores["miou"] is None
    assert scores["images"] == 0
    assert len(pd.read_parquet(data["out"] / "source.parquet")) == 0


def test_missing_label_map_is_named(data: dict[str, Any]) -> None:
    (data["labels"] / "b.png").unlink()
    with pytest.raises(InputError, match=r"b\.png: no such label map"):
        measured(data)
    assert not data["out"].exists()


def test_wrong_size_and_unknown_class_are_named(data: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"labels_eval\.classes: no class 'cta' in the data set"):
        measured(data, "cta")
    write_bytes(data["labels"] / "a.png", encode_label_map(np.zeros((3, 3), np.uint8)))
    with pytest.raises(InputError, match=r"a\.png: prediction: expected shape \(8, 10\)"):
        measured(data)


def test_the_other_split_is_measured_alone(data: dict[str, Any]) -> None:
    for folder in ("ground_truth", "labels"):
        write_bytes(data[folder] / "c.png", encode_label_map(np.full(SIZE, 3, np.uint8)))
    scores = measured(data | {"split": "val"})
    assert scores["iou"] == {"cow": 100}
    assert scores["images"] == 1


def test_starts_without_torch() -> None:
    code = "import sys, stages.labels_eval; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
