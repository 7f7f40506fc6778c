from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.engine.errors import InputError
from stages.io.data_set import (
    Box,
    Dataset,
    boxes_by_image,
    images_of_split,
    numbered_boxes_by_image,
    tags_by_image,
)
from stages.io.tables import CATEGORIES, IMAGES, INSTANCES, TAGS, write_table
from tests.stages.devkits import picture, picture_bytes


def images_table(tmp_path: Path, splits: dict[str, str]) -> Path:
    rows = [
        {"image_id": name, "split": split, "file": f"x/{name}.png", "width": 48, "height": 40}
        | {"md5": "0"}
        for name, split in splits.items()
    ]
    write_table(tmp_path / "images.parquet", pd.DataFrame(rows), IMAGES)
    return tmp_path / "images.parquet"


def test_images_of_a_split_keep_the_order_of_the_table(tmp_path: Path) -> None:
    table = images_table(tmp_path, {"b": "train", "c": "val", "a": "train"})
    found = images_of_split(table, tmp_path, "train")
    assert [image.image_id for image in found] == ["b", "a"]
    assert found[0].path == tmp_path / "x" / "b.png"
    assert found[0].size == (40, 48)


def test_training_images_there_must_be_and_validation_images_there_may(tmp_path: Path) -> None:
    table = images_table(tmp_path, {"a": "train"})
    assert images_of_split(table, tmp_path, "val") == []
    table = images_table(tmp_path, {"a": "val"})
    with pytest.raises(InputError, match=r"images\.parquet: no image in split 'train'"):
        images_of_split(table, tmp_path, "train")


def test_an_image_is_read_only_as_the_dataset_stage_saw_it(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.png").write_bytes(picture_bytes(picture()))
    (image,) = images_of_split(images_table(tmp_path, {"a": "train"}), tmp_path, "train")
    with pytest.raises(InputError, match="content changed"):
        image.read()


def test_boxes_are_grouped_and_crowds_left_out(tmp_path: Path) -> None:
    row = {"x0": 1.0, "y0": 2.0, "x1": 3.0, "y1": 4.0, "area": 4.0, "mask": None, "score": 1.0}
    rows = [
        row | {"image_id": name, "instance_id": number, "category": 3, "is_crowd": crowd}
        for number, (name, crowd) in enumerate([("b", False), ("a", False), ("b", True)])
    ]
    write_table(tmp_path / "t.parquet", pd.DataFrame(rows), INSTANCES)
    boxes = boxes_by_image(tmp_path / "t.parquet")
    assert boxes == {"b": (Box(3, 1, 2, 3, 4),), "a": (Box(3, 1, 2, 3, 4),)}
    numbered = numbered_boxes_by_image(tmp_path / "t.parquet")
    assert numbered == {"b": ((0, boxes["b"][0]),), "a": ((1, boxes["a"][0]),)}
    assert boxes["a"][0].corners == (1, 2, 3, 4)


def test_tags_are_ascending_and_unique(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [{"image_id": "a", "category": int(value)} for value in rng.integers(1, 6, 30)]
    write_table(tmp_path / "t.parquet", pd.DataFrame(rows), TAGS)
    assert tags_by_image(tmp_path / "t.parquet") == {"a": (1, 2, 3, 4, 5)}


def test_a_data_set_reads_each_table_when_it_is_asked(tmp_path: Path) -> None:
    images_table(tmp_path, {"a": "train", "b": "val"})
    names = pd.DataFrame({"category": [2, 1], "name": ["dog", "cat"]})
    write_table(tmp_path / "categories.parquet", names, CATEGORIES)
    data = Dataset(tmp_path, Path("photographs"))
    (image,) = data.images("val")
    assert (image.image_id, image.path) == ("b", Path("photographs/x/b.png"))
    assert list(data.categories().items()) == [(2, "dog"), (1, "cat")]
    assert list(data.class_names().items()) == [(0, "background"), (1, "cat"), (2, "dog")]
    for read in (data.boxes, data.numbered_boxes, data.crowds):
        with pytest.raises(InputError, match=r"instances\.parquet: no such table"):
            read()
    with pytest.raises(InputError, match=r"tags\.parquet: no such table"):
        data.tags()
