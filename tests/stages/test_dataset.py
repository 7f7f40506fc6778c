import hashlib
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from stages.dataset import Params
from stages.engine.command import parse_section
from stages.engine.errors import InputError
from stages.io.label_maps import decode_rle, encode_rle, read_label_map
from stages.io.photographs import read_image
from stages.io.tables import CATEGORIES, IMAGES, INSTANCES, TAGS, read_rows
from tests.stages.dataset_runs import metrics, read, rejected
from tests.stages.devkits import (
    HEIGHT,
    WIDTH,
    coco_box,
    coco_image,
    picture,
    save,
    voc_annotation,
    voc_object,
    write_coco,
    write_folder,
    write_voc,
)

UPRIGHT_BOX = (5, 8, 17, 31)  # in the upright 48 x 40 image
#: What undoes an EXIF orientation: from the upright image to the stored one.
TO_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def corners(row: dict[str, Any]) -> tuple[float, ...]:
    return row["x0"], row["y0"], row["x1"], row["y1"]


def rectangle(x0: int, y0: int, x1: int, y1: int) -> dict[str, Any]:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return {"size": [HEIGHT, WIDTH], "counts": encode_rle(mask)}


# --- the tables ------------------------------------------------------------------------------


def test_voc_becomes_tables_and_label_maps(tmp_path: Path) -> None:
    objects = [voc_object("dog", (1, 1, 10, 20)), voc_object("cat", (11, 21, 48, 40))]
    annotations = {"b": voc_annotation(objects), "a": voc_annotation([]), "c": voc_annotation([])}
    root = write_voc(tmp_path / "voc", annotations, ["b", "a"], ["c"])
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    labels[:20, :10], labels[20:, 10:], labels[20, 10:] = 12, 8, 255
    for image_id in annotations:
        save(root / "SegmentationClass" / f"{image_id}.png", Image.fromarray(labels))
    out = read(root, "voc")

    images = read_rows(out / "images.parquet", IMAGES)
    assert [(row["image_id"], row["split"]) for row in images] == [
        ("a", "train"),
        ("b", "train"),
        ("c", "val"),
    ]
    content = (root / images[0]["file"]).read_bytes()
    assert images[0]["md5"] == hashlib.md5(content).hexdigest()
    assert (images[0]["width"], images[0]["height"]) == (WIDTH, HEIGHT)
    assert read_image(root / images[0]["file"], images[0]["md5"]).shape == (HEIGHT, WIDTH, 3)

    boxes = read_rows(out / "instances.parquet", INSTANCES)
    assert [(row["image_id"], row["instance_id"], row["category"]) for row in boxes] == [
        ("b", 1, 12),
        ("b", 2, 8),
    ]
    assert corners(boxes[1]) == (10, 20, 48, 40)
    tags = read_rows(out / "tags.parquet", TAGS)
    assert [(row["image_id"], row["category"]) for row in tags] == [("b", 8), ("b", 12)]
    assert len(read_rows(out / "categories.parquet", CATEGORIES)) == 20
    np.testing.assert_array_equal(
        read_label_map(out / "ground_truth" / "semantic" / "b.png"), labels
    )
    assert read_rows(out / "ground_truth" / "instances.parquet", INSTANCES) == []
    counts = metrics(out)
    assert (counts["train_images"], counts["val_images"], counts["instances"]) == (2, 1, 2)
    assert rejected(out) == []


def test_voc_objects_become_instance_masks(tmp_path: Path) -> None:
    objects = [voc_object("dog", (1, 1, 10, 20)), voc_object("cat", (11, 21, 48, 40))]
    root = write_voc(tmp_path / "voc", {"a": voc_annotation(objects)}, ["a"], [])
    numbers = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    numbers[2:5, 3:9], numbers[30:33, 20:28], numbers[0] = 1, 2, 255
    save(root / "SegmentationObject" / "a.png", Image.fromarray(numbers))
    out = read(root, "voc")
    truths = read_rows(out / "ground_truth" / "instances.parquet", INSTANCES)
    assert [(row["instance_id"], row["category"]) for row in truths] == [(1, 12), (2, 8)]
    assert corners(truths[1]) == (20, 30, 28, 33)
    np.testing.assert_array_equal(decode_rle(truths[0]["mask"], HEIGHT, WIDTH), numbers == 1)

    numbers[0] = 7
    save(root / "SegmentationObject" / "a.png", Image.fromarray(numbers))
    with pytest.raises(InputError, match=r"a\.png: object 7; the annotation has 2 objects"):
        read(root, "voc")


def test_coco_masks_are_painted_small_on_large_and_crowds_are_unknown(tmp_path: Path) -> None:
    boxes = [
        coco_box(1, 3, [0, 0, 4, 4], segmentation=rectangle(0, 0, 4, 4)),
        coco_box(1, 18, [0, 0, 20, 20], segmentation=rectangle(0, 0, 20, 20)),
        coco_box(1, 3, [10, 10, 30, 20], iscrowd=1, segmentation=rectangle(10, 10, 40, 30)),
    ]
    images = [coco_image(1, "a.png"), coco_image(2, "b.png")]
    out = read(write_coco(tmp_path / "coco", images, boxes), "coco")
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    expected[10:30, 10:40], expected[:20, :20], expected[:4, :4] = 255, 2, 1
    truth = out / "ground_truth"
    np.testing.assert_array_equal(read_label_map(truth / "semantic" / "a.png"), expected)
    assert not read_label_map(truth / "semantic" / "b.png").any()
    truths = read_rows(truth / "instances.parquet", INSTANCES)
    assert [row["area"] for row in truths] == [16, 400, 600]
    given = read_rows(out / "instances.parquet", INSTANCES)
    assert [row["instance_id"] for row in truths] == [row["instance_id"] for row in given]
    assert metrics(out)["crowds"] == 1
    crowd = np.zeros((HEIGHT, WIDTH), dtype=bool)
    crowd[10:30, 10:40] = True
    assert [row["mask"] for row in given] == [None, None, encode_rle(crowd)]
    assert given[2]["area"] == 600


def test_instances_hold_no_ground_truth(tmp_path: Path) -> None:
    images = [coco_image(1, "a.png")]
    segmentation = [[1.0, 1.0, 9.0, 1.0, 5.0, 9.0]]
    with_mask = coco_box(1, 3, [1, 1, 8, 8], area=32, segmentation=segmentation)
    without = coco_box(1, 3, [1, 1, 8, 8], area=1)
    tables = []
    for name, box in (("with", with_mask), ("without", without)):
        out = read(write_coco(tmp_path / name, images, [box]), "coco")
        tables.append((out / "instances.parquet").read_bytes())
    row = read_rows(out / "instances.parquet", INSTANCES)[0]
    assert row["mask"] is None
    assert row["area"] == 64
    assert tables[0] == tables[1]
    assert list((out / "ground_truth" / "semantic").iterdir()) == []


def test_a_folder_becomes_tables(tmp_path: Path) -> None:
    lines = ["x/a.png,train,cat,1,2,11,22", "b.png,val,,,,,"]
    root = write_folder(tmp_path / "folder", lines, ["x/a.png", "b.png"])
    labels = np.full((HEIGHT, WIDTH), 1, dtype=np.uint8)
    save(root / "ground_truth" / "x__a.png", Image.fromarray(labels))
    out = read(root, "folder")
    images = read_rows(out / "images.parquet", IMAGES)
    assert [row["image_id"] for row in images] == ["x__a", "b"]
    assert metrics(out)["images_without_instances"] == 1
    assert metrics(out)["ground_truth_semantic"] == 1
    assert (out / "ground_truth" / "semantic" / "x__a.png").exists()


def test_a_second_run_gives_the_same_bytes_and_leaves_nothing_old(tmp_path: Path) -> None:
    root = write_coco(
        tmp_path / "coco",
        [coco_image(1, "a.png")],
        [coco_box(1, 3, [0, 0, 4, 4], segmentation=rectangle(0, 0, 4, 4))],
    )
    out = read(root, "coco")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    stale = out / "ground_truth" / "semantic" / "old.png"
    stale.write_bytes(b"")
    read(root, "coco")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


# --- boxes -----------------------------------------------------------------------------------


def test_boxes_are_clipped_or_dropped_and_counted(tmp_path: Path) -> None:
    lines = [
        "a.png,train,cat,-5,-5,10,10",
        "a.png,train,cat,40,30,99,99",
        "a.png,train,cat,0,0,48.001,40",
        "a.png,train,dog,5,5,5,9",
        "a.png,train,dog,9,9,5,5",
        "a.png,train,dog,60,60,70,70",
    ]
    out = read(write_folder(tmp_path / "folder", lines, ["a.png"]), "folder")
    rows = read_rows(out / "instances.parquet", INSTANCES)
    assert [corners(row) for row in rows] == [(0, 0, 10, 10), (40, 30, 48, 40), (0, 0, 48, 40)]
    counts = metrics(out)
    assert (counts["boxes_clipped"], counts["boxes_dropped"]) == (2, 3)
    assert [row["category"] for row in read_rows(out / "tags.parquet", TAGS)] == [1]
    reasons = [(row["row"].split(": ")[1], row["reason"]) for row in rejected(out)]
    assert [row for row, _ in reasons] == ["line 5", "line 6", "line 7"]
    assert [reason.split(" box")[0] for _, reason in reasons[:2]] == ["empty or inverted"] * 2
    assert "lies outside its 48x40 image" in reasons[2][1]


# --- splits and images in no list ------------------------------------------------------------


def test_without_a_split_some_are_held_out_by_their_ids(tmp_path: Path) -> None:
    names = [f"{number:03d}" for number in range(40)]
    root = write_folder(tmp_path / "folder", [], [f"{name}.png" for name in names])

    def splits(names: list[str], hold_out: int) -> dict[str, str]:
        lines = ["file,category,x0,y0,x1,y1", *(f"{name}.png,cat,0,0,9,9" for name in names)]
        (root / "boxes.csv").write_text("\n".join(lines))
        out = read(root, "folder", hold_out=hold_out)
        return {row["image_id"]: row["split"] for row in read_rows(out / "images.parquet", IMAGES)}

    found = splits(names, 5)
    assert 2 <= list(found.values()).count("val") <= 16
    assert splits(names[:20], 5) == {name: found[name] for name in names[:20]}
    assert set(splits(names, 0).values()) == {"train"}


def test_a_coco_file_alone_is_split_too(tmp_path: Path) -> None:
    images = [coco_image(number, f"{number:03d}.png") for number in range(40)]
    out = read(write_coco(tmp_path / "coco", images), "coco")
    assert 2 <= metrics(out)["val_images"] <= 16


def test_images_in_no_row_are_counted_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["a.png", "forgotten.png", "x/forgotten.png"]
    out = read(write_folder(tmp_path / "folder", ["a.png,train,cat,0,0,4,4"], files), "folder")
    lines = (out / "unlisted.csv").read_text().splitlines()
    assert lines == ["image", "forgotten.png", "x/forgotten.png"]
    assert metrics(out)["unlisted_images"] == 2
    assert "2 images are in no list, see" in capsys.readouterr().out


# --- what it takes ---------------------------------------------------------------------------


def test_many_outlines_of_one_image_are_not_held_at_once(tmp_path: Path) -> None:
    side, count = 400, 300
    outline = [[0, 0, side, 0, side, side, 0, side]]
    boxes = [coco_box(1, 3, [0, 0, side, side], segmentation=outline) for _ in range(count)]
    root = write_coco(tmp_path / "coco", [], [])
    save(root / "images" / "train" / "a.png", picture(side, side))
    write_coco(root, [coco_image(1, "a.png", width=side, height=side)], boxes)
    tracemalloc.start()
    try:
        read(root, "coco")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.5 * count * side * side


def test_boxes_that_the_table_cannot_tell_from_nothing_are_dropped(tmp_path: Path) -> None:
    lines = ["a.png,train,cat,10,10,10.0000000001,20", "a.png,train,cat,0,0,4,4"]
    out = read(write_folder(tmp_path / "folder", lines, ["a.png"]), "folder")
    assert len(read_rows(out / "instances.parquet", INSTANCES)) == 1
    assert rejected(out)[0]["reason"].endswith("covers next to nothing")


def test_crowd_boxes_stay_in_the_table(tmp_path: Path) -> None:
    boxes = [coco_box(1, 3, [5, 6, 7, 8], iscrowd=crowd) for crowd in (1, True, 0, False)]
    root = write_coco(tmp_path / "coco", [coco_image(1, "a.png")], boxes)
    rows = read_rows(read(root, "coco") / "instances.parquet", INSTANCES)
    assert [row["is_crowd"] for row in rows] == [True, True, False, False]
    assert {corners(row) for row in rows} == {(5, 6, 12, 14)}


def test_missing_root_and_data_without_a_sound_image_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder; expected a data set in voc format"):
        read(tmp_path / "nowhere", "voc")
    root = write_folder(tmp_path / "folder", ["a.png,train,cat,0,0,4,4"], [])
    with pytest.raises(InputError, match="no usable image"):
        read(root, "folder", max_rejected=1)


# --- which way up ----------------------------------------------------------------------------


def oriented(path: Path, orientation: int) -> tuple[int, int]:
    """A PNG that shows UPRIGHT_BOX in red when its EXIF orientation is applied; stored (W, H)."""
    values = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    x0, y0, x1, y1 = UPRIGHT_BOX
    values[y0:y1, x0:x1, 0] = 255
    image = Image.fromarray(values)
    if orientation > 1:
        image = image.transpose(TO_STORED[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(path, image, exif=exif)
    return image.size


def red_box(pixels: np.ndarray[Any, Any]) -> tuple[int, ...]:
    red = pixels[..., 0] > 128
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_and_masks_agree_with_every_orientation(tmp_path: Path, orientation: int) -> None:
    """Annotated on the stored pixels where the sides are exchanged, else on the upright image."""
    root = tmp_path / "coco"
    width, height = oriented(root / "images" / "train" / "a.png", orientation)
    stored = np.asarray(Image.open(root / "images" / "train" / "a.png").convert("RGB"))
    box = UPRIGHT_BOX if orientation < 5 else red_box(stored)
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 1
    runs = coco_mask.encode(np.asfortranarray(mask))
    entry = coco_box(
        1,
        3,
        [int(box[0]), int(box[1]), int(box[2] - box[0]), int(box[3] - box[1])],
        segmentation={"size": [height, width], "counts": runs["counts"].decode()},
    )
    image = coco_image(1, "a.png") | {"width": width, "height": height}
    out = read(write_coco(root, [image], [entry]), "coco")

    (row,) = read_rows(out / "images.parquet", IMAGES)
    assert (row["width"], row["height"]) == (WIDTH, HEIGHT)
    upright = read_image(root / row["file"], row["md5"])
    (found,) = read_rows(out / "instances.parquet", INSTANCES)
    assert corners(found) == red_box(upright) == UPRIGHT_BOX
    labels = read_label_map(out / "ground_truth" / "semantic" / "a.png")
    np.testing.assert_array_equal(labels == 1, upright[..., 0] > 128)
    assert metrics(out)["oriented_images"] == int(orientation > 1)
    assert metrics(out)["orientation_assumed"] == int(1 < orientation < 5)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_of_the_upright_size_are_left_alone(tmp_path: Path, orientation: int) -> None:
    root = tmp_path / "coco"
    oriented(root / "images" / "train" / "a.png", orientation)
    x0, y0, x1, y1 = UPRIGHT_BOX
    entry = coco_box(1, 3, [x0, y0, x1 - x0, y1 - y0])
    out = read(write_coco(root, [coco_image(1, "a.png")], [entry]), "coco")
    (found,) = read_rows(out / "instances.parquet", INSTANCES)
    assert corners(found) == UPRIGHT_BOX
    assert metrics(out)["orientation_assumed"] == 0


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I;16", "1"])
def test_every_image_mode_is_read(tmp_path: Path, mode: str) -> None:
    name = "a.jpg" if mode == "CMYK" else "a.png"
    root = write_folder(tmp_path / "folder", [f"{name},train,cat,0,0,4,4"], [])
    if mode == "I;16":
        image = Image.fromarray(np.full((HEIGHT, WIDTH), 40000, dtype=np.uint16))
    else:
        image = picture().convert(mode)
    save(root / name, image)
    (row,) = read_rows(read(root, "folder") / "images.parquet", IMAGES)
    assert (row["width"], row["height"]) == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    "root", ["data/scenes", "../Tom's photos (new)", "/mnt/é/a-b_c, 2+1@x", "."]
)
def test_a_folder_may_be_called_what_people_call_folders(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    section = {"root": f"{root}/x", "format": "coco", "max_rejected": 0, "hold_out": 5}
    assert parse_section(Params, section, "params.yaml: dataset").root == f"{root}/x"


@pytest.mark.parametrize(
    "root",
    [
        *("", " a", "-rf", "$(touch x)", "`touch x`", "a;b", "a|b", "a\nb", "a\tb", 'a"b', "a\\b"),
        *("~/a", "s3://a", "a\0b", "${a.b}", "a*", "a&b", "<a", "a\u202eb", "#a", "@dataset.root"),
    ],
)
def test_a_folder_that_a_program_may_take_for_something_else_is_refused(root: str) -> None:
    with pytest.raises(InputError, match=r"^params\.yaml: dataset\.root: expected a folder's path"):
        parse_section(
            Params, {"root": root, "format": "coco", "max_rejected": 0}, "params.yaml: dataset"
        )


@pytest.mark.parametrize(
    "root", [".", "data", "data/dataset", "data/dataset/a", "data/../data", "/"]
)
def test_a_folder_that_the_stage_writes_is_refused(root: str) -> None:
    with pytest.raises(InputError, match=r"dataset\.root: expected a folder apart from data/datas"):
        parse_section(
            Params, {"root": root, "format": "coco", "max_rejected": 0}, "params.yaml: dataset"
        )
