import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pycocotools.coco import COCO

from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.io.label_maps import encode_label_map, encode_rle, palette, read_label_map
from stages.io.tables import INSTANCES, read_table, write_table
from stages.masks_export import Params, masks_export
from tests.stages.drawn_discs import DISCS, SIZE, draw, write_discs


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Any]:
    written = write_discs(tmp_path)
    table = read_table(written.table("instances"), INSTANCES)
    table = table[table["image_id"] != "held"].copy()
    masks = [
        draw(name)[1] == category
        for name, category in zip(table["image_id"], table["category"], strict=True)
    ]
    table["mask"] = [encode_rle(mask) for mask in masks]
    table["area"] = [float(mask.sum()) for mask in masks]
    write_table(tmp_path / "masked.parquet", table, INSTANCES)
    for name in DISCS:
        write_bytes(tmp_path / "labels" / f"{name}.png", encode_label_map(draw(name)[1]))
    return {
        "data": written,
        "instances": tmp_path / "masked.parquet",
        "labels": tmp_path / "labels",
        "out": tmp_path / "out",
    }


def load(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools narrates
        return COCO(str(path))


def test_pycocotools_reads_the_masks(paths: dict[str, Any]) -> None:
    masks_export(Params(), **paths)
    coco = load(paths["out"] / "instances.json")
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == [
        "photos/one.png",
        "photos/two.png",
        "photos/empty.png",
    ]
    assert coco.loadCats(coco.getCatIds()) == [{"id": 1, "name": "sun"}, {"id": 2, "name": "moon"}]
    annotations: list[dict[str, Any]] = coco.loadAnns(coco.getAnnIds())
    assert len(annotations) == 3
    for annotation in annotations:
        name = Path(coco.imgs[annotation["image_id"]]["file_name"]).stem
        mask = coco.annToMask(annotation).astype(bool)
        np.testing.assert_array_equal(mask, draw(name)[1] == annotation["category_id"])
        rows, columns = np.nonzero(mask)
        x, y, width, height = annotation["bbox"]
        assert (x, y) == (columns.min(), rows.min())
        assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)
        assert annotation["area"] == mask.sum()
        assert annotation["iscrowd"] == 0
    assert len(coco.getAnnIds(catIds=[2])) == 1


def test_the_voc_folder_has_palette_images_and_the_list(paths: dict[str, Any]) -> None:
    masks_export(Params(), **paths)
    voc = paths["out"] / "voc"
    listing = (voc / "ImageSets" / "Segmentation" / "train.txt").read_text()
    assert listing == "one\ntwo\nempty\n"
    for name in listing.split():
        for folder in ("SegmentationClass", "SegmentationObject"):
            with Image.open(voc / folder / f"{name}.png") as image:
                assert image.mode == "P"
                assert image.getpalette() == list(palette())
                assert image.size == (SIZE[1], SIZE[0])
        found = read_label_map(voc / "SegmentationClass" / f"{name}.png")
        np.testing.assert_array_equal(found, draw(name)[1])
    assert not (voc / "SegmentationClass" / "held.png").exists()
    objects = read_label_map(voc / "SegmentationObject" / "two.png")
    np.testing.assert_array_equal(objects, draw("two")[1])


def test_of_two_masks_the_smaller_one_is_on_top(paths: dict[str, Any]) -> None:
    large, small = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    large[5:30, 5:30] = small[10:15, 10:15] = True
    table = read_table(paths["instances"], INSTANCES).iloc[[0, 0]].copy()
    table["mask"] = [encode_rle(small), encode_rle(large)]
    table["area"] = [25.0, 625.0]
    write_table(paths["instances"], table, INSTANCES)
    masks_export(Params(), **paths)
    objects = read_label_map(paths["out"] / "voc" / "SegmentationObject" / "one.png")
    np.testing.assert_array_equal(objects, np.where(small, 1, np.where(large, 2, 0)))


def test_an_instance_without_mask_is_named(paths: dict[str, Any]) -> None:
    table = read_table(paths["instances"], INSTANCES)
    table["mask"] = table["mask"].astype(object)
    table.loc[1, "mask"] = None
    write_table(paths["instances"], table, INSTANCES)
    with pytest.raises(InputError, match=r"image two, instance 2: no mask; expected one"):
        masks_export(Params(), **paths)


def test_more_instances_than_label_values_are_refused(paths: dict[str, Any]) -> None:
    table = read_table(paths["instances"], INSTANCES)
    many = pd.concat([table.iloc[[0]]] * 255, ignore_index=True)
    write_table(paths["instances"], many, INSTANCES)
    with pytest.raises(InputError, match="image one: 255 instances; expected at most 254"):
        masks_export(Params(), **paths)
