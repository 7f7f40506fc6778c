import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.engine.errors import InputError
from stages.instances_select import Params, instances_select
from stages.io.data_set import Dataset
from stages.io.label_maps import decode_rle, encode_rle
from stages.io.tables import INSTANCES, read_rows, read_table, write_table
from tests.stages.drawn_objects import OBJECTS, SIZE, mask_of, write_objects


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    return write_objects(tmp_path, monkeypatch, "instances_select")


def selected(data: Dataset, instances: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    out = data.folder / "out"
    instances_select(Params(least_score=0.5), data, instances, out)
    metrics: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return read_rows(out / "instances.parquet", INSTANCES), metrics


def coco(data: Dataset) -> tuple[Path, dict[str, Any]]:
    """The objects as json: an outline, run lengths, one of an image that is none of ours."""
    names = ["a", "b", "c", "d", "v", "elsewhere"]
    images = [
        {"id": number, "file_name": f"some/where/{name}.jpg"} for number, name in enumerate(names)
    ]
    annotations: list[dict[str, Any]] = []
    for image_id, _, (x0, y0, x1, y1) in OBJECTS:
        outline = [x0, y0, x1, y0, x1, y1, x0, y1]
        segmentation: Any = [outline]
        if image_id == "c":
            flat = mask_of((x0, y0, x1, y1)).ravel(order="F").astype(int)
            ends = np.flatnonzero(np.diff(flat, prepend=0, append=0))
            runs = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
            segmentation = {"size": list(SIZE), "counts": runs}
        annotations.append({"image_id": names.index(image_id), "segmentation": segmentation})
    annotations[0]["score"] = 0.7
    annotations.append({"image_id": 5, "segmentation": [[0, 0, 3, 0, 3, 3]]})
    return data.folder / "brought.json", {"images": images, "annotations": annotations}


def test_a_table_and_json_give_the_same_instances_of_the_training_images(data: Dataset) -> None:
    rows, metrics = selected(data, data.folder / "objects.parquet")
    assert [row["instance_id"] for row in rows] == [1, 2, 3, 4]
    for row, (image_id, _, box) in zip(rows, OBJECTS, strict=False):
        assert (row["image_id"], row["category"]) == (image_id, 0)
        assert (row["x0"], row["y0"], row["x1"], row["y1"]) == box
        np.testing.assert_array_equal(decode_rle(row["mask"], *SIZE), mask_of(box))
    assert metrics == {
        "images": 4, "images_without_instances": 1, "instances": 4, "below_score": 0,
        "empty_masks": 0, "of_other_images": 0,
    }  # fmt: skip
    path, content = coco(data)
    path.write_text(json.dumps(content))
    same, counts = selected(data, path)
    assert same[0].pop("score") == pytest.approx(0.7)
    assert rows[0].pop("score") is None
    assert same == rows
    assert counts == metrics | {"of_other_images": 1}


def test_what_scores_low_or_is_empty_is_left_out_and_counted(data: Dataset) -> None:
    path = data.folder / "objects.parquet"
    table = read_table(path, INSTANCES)
    table["score"] = [0.4, 0.5, 0.9, 0.6, 0.1]
    nothing = np.zeros(SIZE, dtype=bool)
    table.loc[2, "mask"] = encode_rle(nothing)
    write_table(path, table, INSTANCES)
    rows, metrics = selected(data, path)
    assert [row["image_id"] for row in rows] == ["a", "d"]
    assert (metrics["below_score"], metrics["empty_masks"]) == (1, 1)


def test_no_instance_at_all_is_said(data: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    path = data.folder / "objects.parquet"
    write_table(path, pd.DataFrame([], columns=INSTANCES.names), INSTANCES)
    rows, metrics = selected(data, path)
    assert rows == []
    assert metrics["images_without_instances"] == 4
    assert "no salient instance in any training image" in capsys.readouterr().out


def refused(data: Dataset, path: Path, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        selected(data, path)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (data.folder / "out").exists()


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("mask", None, "image_id a, instance_id 1: no mask; expected run lengths"),
        ("mask", "?!", "segmentation: counts '?!': not compressed run lengths"),
        ("mask", "05", "segmentation: counts cover 5 pixels; expected 1920"),
        ("score", 1.5, "image_id a, instance_id 1: score 1.5: expected 0 to 1"),
        ("image_id", "x", None),
    ],
)
def test_a_bad_row_of_a_table_is_named(
    data: Dataset, column: str, value: object, problem: str | None
) -> None:
    path = data.folder / "objects.parquet"
    table = read_table(path, INSTANCES)
    if problem is None:  # all of them: one alone may be of an image that was left out
        table[column] = value
        problem = "no image 'x'; expected ids of "
    else:
        table[column] = table[column].astype(object)
        table.loc[0, column] = value
    write_table(path, table, INSTANCES)
    refused(data, path, problem)


def _set(place: str, number: int, key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda content: content[place][number].update({key: value})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content.pop("images"), "brought.json: images: expected a list"),
        (_set("images", 1, "file_name", 3), "images[1]: id 1, file_name 3; expected both"),
        (
            _set("images", 1, "id", 0),
            "images[1]: id 0, file_name 'some/where/b.jpg': an image like",
        ),
        (_set("images", 1, "file_name", "a.png"), "images[1]: id 1, file_name 'a.png': an image"),
        (_set("annotations", 2, "image_id", 77), "annotations[2]: image_id 77: no image has"),
        (_set("annotations", 0, "image_id", [0]), "annotations[0]: image_id [0]: no image has"),
        (_set("annotations", 0, "segmentation", None), "None: not polygons or run lengths"),
        (_set("annotations", 0, "segmentation", [[1, 2, float("nan"), 3, 4, 5]]), "finite"),
        (_set("annotations", 0, "score", "high"), "annotations[0]: score 'high': expected 0 to 1"),
        (_set("annotations", 0, "score", float("nan")), "score nan: expected 0 to 1"),
    ],
)
def test_what_is_wrong_in_json_is_named(
    data: Dataset, change: Callable[[dict[str, Any]], None], problem: str
) -> None:
    path, content = coco(data)
    change(content)
    path.write_text(json.dumps(content))
    refused(data, path, problem)


def test_a_file_that_is_none_is_named(data: Dataset) -> None:
    refused(data, data.folder / "none.parquet", "none.parquet: no such table")
    refused(data, data.folder / "none.json", "none.json: cannot be read: ")
    (data.folder / "bad.json").write_text("{")
    refused(data, data.folder / "bad.json", "bad.json: not readable as json")
