import contextlib
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from stages.engine.errors import InputError
from stages.sources.coco import decode_segmentation, read_coco
from tests.stages.devkits import coco_box, coco_image, faults, write_coco

Mask = npt.NDArray[np.bool_]


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


def test_one_file_alone_states_no_split(tmp_path: Path) -> None:
    (image,) = read_coco(write_coco(tmp_path, [coco_image(1, "a.png")])).images
    assert image.split is None


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
        ([coco_image(1, "a.png")], [coco_box(2, 3, [0, 0, 1, 1])], "image_id 2: no image"),
        ([coco_image(1, "a.png")], [coco_box(2, 3, None)], "image_id 2: no image"),
        ([coco_image(1, "a.png"), coco_image(1, "b.png")], [], "duplicate image id 1"),
        ([coco_image(1, "a.png"), coco_image(2, "a.jpg")], [], "duplicate image id 'a'"),
        ([{"file_name": "a.png"}], [], "id None: expected a whole number"),
    ],
)
def test_entries_that_belong_to_no_image_are_refused(
    tmp_path: Path, images: list[Any], boxes: list[Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_coco(write_coco(tmp_path, images, boxes))
    assert "annotations" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "boxes", "message"),
    [
        (coco_image(1, "a.png"), [coco_box(1, 99, [0, 0, 1, 1])], "category_id 99: unknown"),
        (coco_image(1, "a.png"), [coco_box(1, 3, [0, math.nan, 1, 1])], "expected finite"),
        (coco_image(1, "a.png"), [coco_box(1, 3, [0, 0, math.inf, 1])], "expected finite"),
        (coco_image(1, "a.png"), [coco_box(1, 3, [0, 0, 10**400, 1])], "expected finite"),
        (coco_image(1, "a.png"), [coco_box(1, 3, [0, 0, 1])], "bbox .*: expected"),
        (coco_image(1, "a.png"), [coco_box(1, 3, ["0", 0, 1, 1])], "bbox .*: expected"),
        (coco_image(1, "a.png"), [coco_box(1, 3, [True, 0, 1, 1])], "bbox .*: expected"),
        (coco_image(1, "a.png"), [coco_box(1, 3, None, iscrowd=1)], "bbox None: expected"),
        *(
            (coco_image(1, "a.png"), [coco_box(1, 3, [0, 0, 1, 1], iscrowd=value)], "iscrowd .*")
            for value in (2, -1, 1.5, "0", "false", None, [1], {})
        ),
        (coco_image(1, "../a.png"), [], "expected a path inside"),
        (coco_image(1, "/elsewhere/a.png"), [], "expected a path inside"),
        (coco_image(1, "x/../../a.png"), [], "expected a path inside"),
        (coco_image(1, "a b.png"), [], "image id 'a b'"),
        (coco_image(1, "a.png", width="48"), [], "width '48': expected a whole number"),
        ({"id": 1, "file_name": "a.png", "width": 48}, [], "height None: expected a whole"),
        ({"id": 1}, [], "file_name None: expected text"),
    ],
)
def test_a_bad_entry_is_the_fault_of_its_image(
    tmp_path: Path, entry: dict[str, Any], boxes: list[Any], message: str
) -> None:
    write_coco(tmp_path, [coco_image(0, "good.png"), entry | {"file_name": "b.png"}], boxes)
    path = tmp_path / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    content["images"][1] = entry
    path.write_text(json.dumps(content))
    good, bad = read_coco(tmp_path).images
    assert good.fault is None
    assert bad.fault is not None
    assert re.search(message, bad.fault)
    assert bad.fault.startswith(str(path))
    assert "\n" not in bad.fault


@pytest.mark.parametrize("name", ["x" * 256 + ".png", "\ud800.png", "a\nb.png", "a\0b.png"])
def test_names_that_no_file_can_have_are_faults(tmp_path: Path, name: str) -> None:
    write_coco(tmp_path, [coco_image(1, "a.png")])
    path = tmp_path / "annotations" / "instances_train.json"
    path.write_text(path.read_text().replace('"a.png"', json.dumps(name)))
    (image,) = read_coco(tmp_path).images
    assert image.fault is not None
    assert "expected printable characters, at most 255 bytes" in image.fault
    assert image.file.isprintable()


def test_an_id_leaves_room_for_the_names_of_outputs(tmp_path: Path) -> None:
    (fault,) = faults(read_coco(write_coco(tmp_path, [coco_image(1, "x" * 201 + ".png")])))
    assert "200 at most" in fault


def test_a_link_that_leads_out_is_a_fault(tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    root = tmp_path / "data"
    (root / "images" / "train").mkdir(parents=True)
    outside.write_bytes(b"")
    (root / "images" / "train" / "a.png").symlink_to(outside)
    (fault,) = faults(read_coco(write_coco(root, [coco_image(1, "a.png")])))
    assert "leads out of" in fault


def test_a_link_without_an_end_is_a_fault(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "train"
    folder.mkdir(parents=True)
    (folder / "a.png").symlink_to("b.png")
    (folder / "b.png").symlink_to("a.png")
    (fault,) = faults(read_coco(write_coco(tmp_path, [coco_image(1, "a.png")])))
    assert "a link without an end" in fault


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ([(1, "cat"), (2, "cat")], "category name 'cat': stands twice"),
        ([(1, "cat"), (2, "cat ")], "category name 'cat ': stands twice"),
        ([(1, "cat"), (2, "Background")], "category name 'Background': expected none"),
        ([(1, " ")], "category name ' ': expected printable text"),
        ([(1, "a\nb")], r"category name 'a\\nb': expected printable text"),
        ([(1, "\ud800")], r"category name '\\ud800': expected printable text"),
        ([], "0 categories; expected 1 to 254"),
    ],
)
def test_bad_category_names_are_refused(
    tmp_path: Path, categories: list[tuple[int, str]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_coco(write_coco(tmp_path, [coco_image(1, "a.png")], categories=categories))


def test_images_beside_the_listed_ones_are_named(tmp_path: Path) -> None:
    write_coco(tmp_path, [coco_image(1, "a.png"), coco_image(2, "b b.png")])
    for name in ("new.JPG", "below/new.png", "notes.txt", ".hidden.png"):
        path = tmp_path / "images" / "train" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    expected = ("images/train/below/new.png", "images/train/new.JPG")
    assert read_coco(tmp_path).unlisted == expected


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
    (tmp_path / "annotations" / "instances_train.json").write_text("[" * 10**6)
    with pytest.raises(InputError, match="nested too deeply"):
        read_coco(tmp_path)
    (tmp_path / "annotations" / "instances_train.json").write_text("1" * 5000)
    with pytest.raises(InputError, match="not readable as json"):
        read_coco(tmp_path)
    (tmp_path / "annotations" / "instances_train.json").unlink()
    os.mkfifo(tmp_path / "annotations" / "instances_train.json")
    with pytest.raises(InputError, match="is a pipe, socket or device; expected a file"):
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
        ({"counts": [80]}, r"size None; expected \[8, 10\]"),
        ({}, "counts None: not polygons or run lengths"),
        ({"size": [8, 10], "counts": [79]}, "counts cover 79 pixels; expected 80"),
        ({"size": [8, 10], "counts": [90, -10]}, "expected whole numbers from 0"),
        ({"size": [8, 10], "counts": [2**32 + 80]}, "counts cover 4294967376 pixels"),
        ({"size": [8, 10], "counts": [80.0]}, "expected whole numbers"),
        ({"size": [8, 10], "counts": "oooo"}, "not compressed run lengths"),
        ({"size": [8, 10], "counts": "\u00e4"}, "not compressed run lengths"),
        ({"size": [8, 10], "counts": "o" * 10**6 + "0"}, "not compressed run lengths"),
        ([[1, 1, math.nan, 5, 6, 6]], "expected finite"),
        ([[1, 1, 10**400, 5, 6, 6]], "expected finite"),
        ([["a", 1, 2, 5, 6, 6]], "not polygons or run lengths"),
        ([[[1, 1, 2, 5, 6, 6]]], "not polygons or run lengths"),
        ([[1, 1, 2, 5, 6, 6, 7]], "not polygons or run lengths"),
        ([1, 1, 2, 5, 6, 6], "not polygons or run lengths"),
        ("1 1 2 5 6 6", "not polygons or run lengths"),
        ([[1, 1, 1e9, 5, 6, 6]], r"corner \[1000000000.0, 5.0\]: far outside its 10x8 image"),
        ([[1, 1, 5, -1e300, 6, 6]], "far outside its 10x8 image"),
        ([[0, 0, 10, 8] * 10**5 * 2], "outline longer than 2000000 pixels"),
    ],
)
def test_bad_segmentations_are_named(segmentation: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        decode_segmentation(segmentation, (10, 8), "x.json: annotations[3]")
    assert str(caught.value).startswith("x.json: annotations[3]: segmentation")
    assert len(str(caught.value)) < 400


@given(
    hnp.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))),
    st.sampled_from(["list", "text"]),
)
def test_run_lengths_come_back_as_the_mask_they_were_made_of(mask: Mask, form: str) -> None:
    compressed = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    counts: Any = compressed["counts"].decode()
    if form == "list":
        flat = mask.ravel(order="F")
        edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]]).astype(int)))
        counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    found = decode_segmentation({"size": list(mask.shape), "counts": counts}, mask.shape[::-1], "")
    np.testing.assert_array_equal(found, mask)


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=30))
def test_any_text_is_run_lengths_of_the_image_or_named(counts: str) -> None:
    with contextlib.suppress(InputError):
        mask = decode_segmentation({"size": [8, 10], "counts": counts}, (10, 8), "here")
        expected = coco_mask.decode({"size": [8, 10], "counts": counts.encode()})
        np.testing.assert_array_equal(mask, expected)
