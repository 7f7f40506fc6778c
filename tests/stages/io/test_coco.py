import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from stages.io.coco import decode_segmentation, read_coco
from stages.io.errors import InputError
from stages.io.sources import held_out
from tests.stages.devkits import coco_box, coco_image, write_coco


def test_label_values_follow_the_order_of_ids(tmp_path: Path) -> None:
    root = write_coco(tmp_path, [coco_image(7, "a.png")], [coco_box(7, 18, [1, 2, 3, 4])])
    source = read_coco(root)
    assert source.categories == {1: "car", 2: "dog"}
    assert source.images[0].boxes[0].category == 2
    assert source.images[0].boxes[0].corners == (1.0, 2.0, 4.0, 6.0)
    assert source.images[0].file == "images/train/a.png"


def test_two_files_are_the_two_splits(tmp_path: Path) -> None:
    write_coco(tmp_path, [coco_image(1, "a.png")], name="train2017")
    write_coco(tmp_path, [coco_image(1, "b.png")], name="val2017")
    found = {image.image_id: image.split for image in read_coco(tmp_path).images}
    assert found == {"a": "train", "b": "val"}


def test_one_file_is_split_by_id_alone(tmp_path: Path) -> None:
    names = [f"{number:03d}.png" for number in range(40)]
    images = [coco_image(number, name) for number, name in enumerate(names)]
    splits = {
        image.image_id: image.split for image in read_coco(write_coco(tmp_path, images)).images
    }
    assert 2 <= sum(split == "val" for split in splits.values()) <= 16
    assert all((splits[image_id] == "val") == held_out(image_id) for image_id in splits)
    fewer = read_coco(write_coco(tmp_path, images[:20])).images
    assert all(splits[image.image_id] == image.split for image in fewer)


@pytest.mark.parametrize("folder", ["train2017", "images/train2017", "images", "."])
def test_images_are_found_in_the_usual_folders(tmp_path: Path, folder: str) -> None:
    write_coco(tmp_path, [coco_image(1, "a.png")], name="train2017")
    (tmp_path / folder).mkdir(exist_ok=True, parents=True)
    (tmp_path / "images/train2017/a.png").rename(tmp_path / folder / "a.png")
    assert (tmp_path / read_coco(tmp_path).images[0].file) == tmp_path / folder / "a.png"


def test_crowds_are_marked(tmp_path: Path) -> None:
    runs = {"size": [40, 48], "counts": [0, 1920]}
    box = coco_box(1, 3, [0, 0, 9, 9], iscrowd=1, segmentation=runs)
    image = read_coco(write_coco(tmp_path, [coco_image(1, "a.png")], [box])).images[0]
    assert image.boxes[0].is_crowd
    assert image.outlined


@pytest.mark.parametrize(
    ("images", "boxes", "message"),
    [
        ([coco_image(1, "a.png")], [coco_box(1, 99, [0, 0, 1, 1])], "category_id 99: unknown"),
        ([coco_image(1, "a.png")], [coco_box(2, 3, [0, 0, 1, 1])], "image_id 2: no image"),
        ([coco_image(1, "a.png"), coco_image(1, "b.png")], [], "duplicate image id 1"),
        ([coco_image(1, "a.png"), coco_image(2, "a.jpg")], [], "duplicate image id 'a'"),
        ([coco_image(1, "a.png")], [coco_box(1, 3, [0, math.nan, 1, 1])], "expected finite"),
        ([coco_image(1, "a.png")], [coco_box(1, 3, [0, 0, math.inf, 1])], "expected finite"),
        ([coco_image(1, "a.png")], [coco_box(1, 3, [0, 0, 1])], "bbox .*: expected"),
        ([coco_image(1, "a.png")], [coco_box(1, 3, ["0", 0, 1, 1])], "bbox .*: expected"),
        ([coco_image(1, "a.png")], [coco_box(1, 3, None)], "bbox None: expected"),
        ([coco_image(1, "../a.png")], [], "expected a path inside"),
        ([coco_image(1, "/elsewhere/a.png")], [], "expected a path inside"),
        ([coco_image(1, "x/../../a.png")], [], "expected a path inside"),
        ([coco_image(1, "a b.png")], [], "image id 'a b'"),
        ([coco_image(1, "a.png", width="48")], [], "width '48': expected a whole number"),
        ([{"id": 1, "file_name": "a.png", "width": 48}], [], "height None: expected a whole"),
    ],
)
def test_bad_entries_are_named(
    tmp_path: Path, images: list[Any], boxes: list[Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_coco(write_coco(tmp_path, images, boxes))
    assert "annotations" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    root = tmp_path / "data"
    (root / "images" / "train").mkdir(parents=True)
    outside.write_bytes(b"")
    (root / "images" / "train" / "a.png").symlink_to(outside)
    with pytest.raises(InputError, match="leads out of"):
        read_coco(write_coco(root, [coco_image(1, "a.png")]))


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such annotation files; .* found none"):
        read_coco(tmp_path)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train.json").write_text("{")
    with pytest.raises(InputError, match="not readable as json"):
        read_coco(tmp_path)
    (tmp_path / "annotations" / "instances_train.json").write_text("[]")
    with pytest.raises(InputError, match="images: expected a list"):
        read_coco(tmp_path)


def test_splits_must_share_categories(tmp_path: Path) -> None:
    write_coco(tmp_path, [coco_image(1, "a.png")], name="train")
    write_coco(tmp_path, [coco_image(1, "b.png")], name="val", categories=[(1, "cat")])
    with pytest.raises(InputError, match="categories differ"):
        read_coco(tmp_path)


def test_a_category_id_stands_once(tmp_path: Path) -> None:
    write_coco(tmp_path, [coco_image(1, "a.png")], categories=[(1, "cat"), (1, "dog")])
    with pytest.raises(InputError, match="id 1: a category of this id stands above"):
        read_coco(tmp_path)


def test_polygons_and_both_run_lengths_give_the_same_mask() -> None:
    expected = np.zeros((8, 10), dtype=bool)
    expected[2:5, 3:7] = True
    flat = expected.ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]]).astype(int)))
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    compressed = coco_mask.encode(np.asfortranarray(expected, dtype=np.uint8))
    forms: list[Any] = [
        [[3, 2, 7, 2, 7, 5, 3, 5]],
        {"size": [8, 10], "counts": counts},
        {"size": [8, 10], "counts": compressed["counts"].decode()},
    ]
    for form in forms:
        np.testing.assert_array_equal(decode_segmentation(form, (10, 8), "here"), expected)


def test_polygons_without_an_inside_are_empty() -> None:
    assert not decode_segmentation([[1, 1, 5, 5]], (10, 8), "here").any()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [9, 9], "counts": [81]}, r"size \[9, 9\]; expected \[8, 10\]"),
        ({"counts": [80]}, "not polygons or run lengths"),
        ([[1, 1, math.nan, 5, 6, 6]], "expected finite"),
        ([["a", 1, 2, 5, 6, 6]], "not polygons or run lengths"),
    ],
)
def test_bad_segmentations_are_named(segmentation: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        decode_segmentation(segmentation, (10, 8), "x.json: annotations[3]")
    assert str(caught.value).startswith("x.json: annotations[3]: segmentation")


def test_json_constants_do_not_pass_as_numbers(tmp_path: Path) -> None:
    write_coco(tmp_path, [coco_image(1, "a.png")], [coco_box(1, 3, [True, 0, 1, 1])])
    content = json.loads((tmp_path / "annotations" / "instances_train.json").read_text())
    assert content["annotations"][0]["bbox"][0] is True
    with pytest.raises(InputError, match="bbox"):
        read_coco(tmp_path)
