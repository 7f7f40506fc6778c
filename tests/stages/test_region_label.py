import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.cgcnet.region_labels import Priors
from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.io.data_set import Dataset
from stages.io.label_maps import decode_rle, encode_label_map
from stages.io.salient_maps import encode_region
from stages.io.tables import INSTANCES, read_rows
from stages.region_label import Params, region_label
from tests.stages.drawn_objects import OBJECTS, SIZE, mask_of, write_objects

BOXES = {name: [box for image, _, box in OBJECTS if image == name] for name in "abcdv"}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    found = write_objects(tmp_path, monkeypatch, "region_label")
    for name, boxes in BOXES.items():
        region = np.any([mask_of(box) for box in boxes], axis=0) if boxes else np.zeros(SIZE, bool)
        region[0, :6] = True  # a region that no box touches
        write_bytes(tmp_path / "regions" / f"{name}.png", encode_region(region))
    return found


def labelled(
    data: Dataset, *, priors: Priors = "both"
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    out = data.folder / "out"
    region_label(Params(priors=priors, least_fit=0.0), data, out)
    metrics: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return read_rows(out / "instances.parquet", INSTANCES), metrics


def test_every_box_of_the_training_images_gets_its_part(data: Dataset) -> None:
    rows, metrics = labelled(data)
    assert [row["instance_id"] for row in rows] == [1, 2, 3, 4]
    for row, (image_id, category, box) in zip(rows, OBJECTS, strict=False):
        assert (row["image_id"], row["category"]) == (image_id, category)
        assert (row["x0"], row["y0"], row["x1"], row["y1"]) == box
        assert np.array_equal(decode_rle(row["mask"], *SIZE), mask_of(box))
    assert metrics == {
        "images": 3, "images_without_region_or_boxes": 1, "rejected_images": 0, "labels": 4,
        "boxes_without_region": 0, "regions_without_box": 3, "shared_patches": 0,
        "discarded_share": 0.0,
    }  # fmt: skip


def test_a_box_without_a_region_gets_no_label_and_is_counted(data: Dataset) -> None:
    region = mask_of(BOXES["a"][0])
    region[12, 30] = True  # a speck in the other box, and far from being large
    region[30, 40] = True
    write_bytes(data.folder / "regions/a.png", encode_region(region))
    write_bytes(data.folder / "regions/c.png", encode_region(~mask_of((2, 2, 46, 38))))
    rows, metrics = labelled(data)
    assert [row["instance_id"] for row in rows] == [1, 2, 4]
    assert rows[1]["area"] == 1
    assert metrics["boxes_without_region"] == 1
    assert metrics["discarded_share"] > 0
    assert labelled(data, priors="none")[1]["discarded_share"] == 0


@pytest.mark.parametrize("value", [0, 1])
def test_a_map_of_one_value_is_rejected_and_counted(data: Dataset, value: int) -> None:
    region = np.full(SIZE, bool(value))
    write_bytes(data.folder / "regions/a.png", encode_region(region))
    rows, metrics = labelled(data)
    assert {row["image_id"] for row in rows} == {"c", "d"}
    assert metrics["rejected_images"] == 1
    listed = (data.folder / "out/rejected.csv").read_text().splitlines()
    reason = f"region map all {value}: expected both, salient and not"
    assert listed == ["image,reason", f'a,"{reason}"']


def test_bad_maps_are_named(data: Dataset) -> None:
    path = data.folder / "regions/c.png"
    write_bytes(path, encode_region(np.ones((4, 5), bool)))
    with pytest.raises(InputError, match=r"c\.png: size \(4, 5\); expected \(40, 48\)"):
        labelled(data)
    write_bytes(path, encode_label_map(np.arange(40 * 48, dtype=np.uint8).reshape(SIZE)))
    with pytest.raises(InputError, match=r"c\.png: values .*: not binary"):
        labelled(data)
    assert not (data.folder / "out/instances.parquet").exists()


def test_where_nothing_is_left_one_line_says_why(data: Dataset) -> None:
    for name in "acd":
        (data.folder / f"regions/{name}.png").unlink()
    with pytest.raises(InputError, match=r"regions: of 4 training images 0 have a region map and"):
        labelled(data)
    write_bytes(data.folder / "regions/a.png", encode_region(np.zeros(SIZE, bool)))
    with pytest.raises(InputError, match="1 of these maps are empty or full; expected a region"):
        labelled(data)
