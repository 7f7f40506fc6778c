"""Labels beside the images, read by the stage `dataset` in every format."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.engine.errors import InputError
from stages.io.label_maps import read_label_map
from stages.io.salient_maps import read_region
from stages.io.tables import COUNTS, IMAGES, INSTANCES, POINTS, TAGS, read_rows
from tests.stages.dataset_runs import Format, metrics, read, rejected
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

STROKES = np.full((HEIGHT, WIDTH), 255, dtype=np.uint8)
STROKES[3:5, 2:9], STROKES[30, 2:40] = 1, 0


def write(tmp_path: Path, format: Format) -> Path:
    """Two images, a with a box and b with none, both of dogs (and cows in the folder)."""
    root = tmp_path / format
    if format == "coco":
        images = [coco_image(1, "a.png"), coco_image(2, "b.png")]
        return write_coco(root, images, [coco_box(1, 18, [1, 1, 4, 4])])
    if format == "voc":
        annotations = {"a": voc_annotation([voc_object("dog", (2, 2, 5, 5))])}
        write_voc(root, annotations | {"b": voc_annotation([])}, ["a", "b"], [])
        return root
    lines = ["a.png,train,dog,1,1,5,5", "b.png,train,,,,,"]
    (root / "x").mkdir(parents=True)
    (root / "categories.txt").write_text("dog\ncow\n")
    return write_folder(root, lines, ["a.png", "b.png"])


def with_mask(root: Path, folder: str, values: np.ndarray, name: str = "b") -> None:
    save(root / folder / f"{name}.png", Image.fromarray(values))


def tags(out: Path) -> list[tuple[str, int]]:
    return [(row["image_id"], row["category"]) for row in read_rows(out / "tags.parquet", TAGS)]


@pytest.mark.parametrize("format", ["coco", "voc", "folder"])
def test_every_format_takes_the_labels_beside_it(tmp_path: Path, format: Format) -> None:
    root = write(tmp_path, format)
    file = "b" if format != "folder" else "b.png"
    lines = [f"{file},dog,3.5,2", f"{file},background,0,39"]
    (root / "points.csv").write_text("\n".join(["file,category,x,y", *lines]))
    (root / "counts.csv").write_text(f"file,count\n{file},3\n")
    with_mask(root, "scribbles", STROKES)
    mask = np.where(STROKES == 255, 0, STROKES).astype(np.uint8)
    with_mask(root, "masks", mask, "a")
    with_mask(root, "regions", np.where(STROKES == 1, 7, 0).astype(np.uint8))
    out = read(root, format, hold_out=0)
    dog = {"coco": 2, "voc": 12, "folder": 1}[format]
    assert read_rows(out / "points.parquet", POINTS) == [
        {"image_id": "b", "category": dog, "x": 3.5, "y": 2},
        {"image_id": "b", "category": 0, "x": 0, "y": 39},
    ]
    assert read_rows(out / "counts.parquet", COUNTS) == [{"image_id": "b", "count": 3}]
    np.testing.assert_array_equal(read_label_map(out / "scribbles/b.png"), STROKES)
    np.testing.assert_array_equal(read_label_map(out / "masks/a.png"), mask)
    np.testing.assert_array_equal(read_region(out / "regions/b.png"), STROKES == 1)
    assert set(tags(out)) == {("a", dog), ("b", dog), ("a", 1), ("b", 1)}
    assert list((out / "ground_truth/semantic").iterdir()) == []
    found = metrics(out)
    kinds = ("boxes", "tags", "points", "counts", "scribbles", "masks", "regions", "saliency")
    assert [found[f"images_with_{kind}"] for kind in kinds] == [1, 2, 1, 1, 1, 1, 1, 0]
    assert (found["points"], found["labels_of_no_image"]) == (2, 0)


def test_points_outside_of_the_image_and_labels_of_none_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path, "coco")
    lines = ["a,dog,48,3", "a,dog,-0.5,3", "a,dog,47.9,39.9", "c.png,dog,1,1", "c.png,dog,2,1"]
    (root / "points.csv").write_text("\n".join(["file,category,x,y", *lines]))
    with_mask(root, "masks", STROKES, "other")
    out = read(root, "coco")
    assert len(read_rows(out / "points.parquet", POINTS)) == 1
    found = metrics(out)
    assert (found["points_dropped"], found["labels_of_no_image"]) == (2, 2)
    reasons = [row["reason"] for row in rejected(out)]
    assert reasons[0] == "point [48.0, 3.0] lies outside its 48x40 image"
    assert [row["image"] for row in rejected(out)[2:]] == ["c.png", "other.png"]
    assert reasons[2:] == ["names no listed image"] * 2
    assert "2 labels name no image, see" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("table", "line", "reason"),
    [
        ("points", "b,cat,1,1", "line 2: unknown category 'cat'; expected one of 'background'"),
        ("points", "b,dog,x,1", "line 2: x 'x': expected a number of pixels"),
        ("points", "b,dog,nan,1", r"line 2: point [nan, 1.0]: expected finite coordinates"),
        ("tags", "b,background", "line 2: unknown category 'background'; expected one of"),
        ("counts", "b,-1", "line 2: count '-1': expected a whole number, 0 to 1000"),
        ("counts", "b,2.0", "line 2: count '2.0': expected a whole number, 0 to 1000"),
        ("counts", "b,1\nb,2", "line 3: count 2: 1 stands above; expected one number"),
    ],
)
def test_a_bad_row_rejects_its_image(tmp_path: Path, table: str, line: str, reason: str) -> None:
    root = write(tmp_path, "coco")
    columns = {"points": "category,x,y", "tags": "category", "counts": "count"}
    header = f"file,{columns[table]}"
    (root / f"{table}.csv").write_text(f"{header}\n{line}\n")
    out = read(root, "coco", max_rejected=1)
    (row,) = rejected(out)
    assert row["image"] == "images/train/b.png"
    assert reason in row["reason"]


@pytest.mark.parametrize(
    ("folder", "values", "reason"),
    [
        ("scribbles", np.full((HEIGHT, WIDTH), 3), "scribbles/b.png: label 3; expected 0..2"),
        ("masks", np.full((HEIGHT, WIDTH), 200), "masks/b.png: label 200; expected 0..2 or 255"),
        ("regions", np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 3, "values 1, 2: not bin"),
        ("saliency", np.zeros((WIDTH, HEIGHT)), "mask saliency/b.png is 40x48, its image 48x40"),
        ("regions", np.zeros((WIDTH, HEIGHT)), "mask regions/b.png is 40x48, its image 48x40"),
    ],
)
def test_a_bad_map_rejects_its_image(
    tmp_path: Path, folder: str, values: np.ndarray, reason: str
) -> None:
    root = write(tmp_path, "coco")
    with_mask(root, folder, values.astype(np.uint8))
    out = read(root, "coco", max_rejected=1)
    (row,) = rejected(out)
    assert reason in row["reason"]
    assert list((out / folder).iterdir()) == []


def test_a_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path, "voc")
    (root / "points.csv").write_text("image,x,y\n")
    with pytest.raises(InputError, match=r"points\.csv: line 1: header 'image,x,y'; expected"):
        read(root, "voc")


def test_maps_and_points_turn_with_their_image(tmp_path: Path) -> None:
    """Drawn on the stored pixels, of which a rotation exchanges the sides."""
    exif = Image.Exif()
    exif[0x0112] = 6  # upright after a turn to the right
    root = tmp_path / "coco"
    save(root / "images/train/a.png", picture(HEIGHT, WIDTH), exif=exif)
    write_coco(root, [coco_image(1, "a.png") | {"width": HEIGHT, "height": WIDTH}])
    (root / "points.csv").write_text("file,category,x,y\na,dog,3,5\n")
    stored = np.full((WIDTH, HEIGHT), 255, dtype=np.uint8)
    stored[5, 3] = 1
    with_mask(root, "scribbles", stored, "a")
    out = read(root, "coco", hold_out=0)
    (row,) = read_rows(out / "points.parquet", POINTS)
    upright = read_label_map(out / "scribbles/a.png")
    assert upright.shape == (HEIGHT, WIDTH)
    assert upright[int(row["y"]), int(row["x"])] == 1
    assert (upright == 1).sum() == 1


# --- a plain folder without boxes ------------------------------------------------------------


def test_a_folder_of_tags_alone_is_listed_by_them(tmp_path: Path) -> None:
    root = tmp_path / "folder"
    for name in ("x/a.png", "b.png", "c.png"):
        save(root / name, picture())
    (root / "tags.csv").write_text(
        "file,split,category\nx/a.png,train,dog\nx/a.png,train,ant\nb.png,val,dog\nc.png,train,\n"
    )
    out = read(root, "folder")
    images = {row["image_id"]: row["split"] for row in read_rows(out / "images.parquet", IMAGES)}
    assert images == {"x__a": "train", "b": "val", "c": "train"}
    assert tags(out) == [("b", 2), ("x__a", 1), ("x__a", 2)]
    assert read_rows(out / "instances.parquet", INSTANCES) == []


def test_an_image_with_a_map_alone_is_listed(tmp_path: Path) -> None:
    root = tmp_path / "folder"
    for name in ("x/a.png", "b.png", "c.png"):
        save(root / name, picture())
    (root / "categories.txt").write_text("dog\n")
    with_mask(root, "scribbles", STROKES, "x__a")
    with_mask(root, "ground_truth", STROKES, "x__a")
    out = read(root, "folder", hold_out=0)
    assert [row["image_id"] for row in read_rows(out / "images.parquet", IMAGES)] == ["x__a"]
    assert tags(out) == [("x__a", 1)]
    assert (out / "ground_truth/semantic/x__a.png").exists()
    assert metrics(out)["unlisted_images"] == 2


def test_two_tables_may_not_disagree_on_the_split(tmp_path: Path) -> None:
    root = write(tmp_path, "folder")
    (root / "tags.csv").write_text("file,split,category\nb.png,val,dog\n")
    out = read(root, "folder", max_rejected=1)
    assert "line 2: split 'val': b.png was train above" in rejected(out)[0]["reason"]


def test_tags_and_counts_may_be_of_different_images(tmp_path: Path) -> None:
    root = tmp_path / "folder"
    for name in ("a", "b", "c"):
        save(root / f"{name}.png", picture())
    (root / "tags.csv").write_text("file,category\na.png,dog\n")
    (root / "counts.csv").write_text("file,count\nb.png,2\nc.png,0\nc.png,\n")
    out = read(root, "folder", hold_out=0)
    assert tags(out) == [("a", 1)]
    assert read_rows(out / "counts.parquet", COUNTS) == [
        {"image_id": "b", "count": 2},
        {"image_id": "c", "count": 0},
    ]
    assert metrics(out)["train_images"] == 3


def test_nothing_that_lists_an_image_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "folder/a.png", picture())
    with pytest.raises(InputError, match=r"boxes\.csv: no such file; .* or points\.csv, tags\.csv"):
        read(tmp_path / "folder", "folder")


# --- what COCO and VOC have of their own -----------------------------------------------------


def test_annotations_without_a_box_are_points_and_tags(tmp_path: Path) -> None:
    polygon = [[2, 2, 20, 2, 20, 30, 2, 30]]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 18, "keypoints": [5, 6, 2, 0, 0, 0, 9, 9, 1]},
        {"id": 2, "image_id": 1, "category_id": 3, "segmentation": polygon},
        {"id": 3, "image_id": 2, "category_id": 3},
        {"id": 4, "image_id": 3, "category_id": 3, "keypoints": [1, 2]},
    ]
    images = [coco_image(number, f"{number}.png") for number in (1, 2, 3)]
    out = read(write_coco(tmp_path / "coco", images, annotations), "coco", 1, hold_out=0)
    assert read_rows(out / "instances.parquet", INSTANCES) == []
    assert read_rows(out / "points.parquet", POINTS) == [
        {"image_id": "1", "category": 2, "x": 5, "y": 6}
    ]
    assert tags(out) == [("1", 1), ("1", 2), ("2", 1)]
    assert "keypoints [1, 2]: expected x, y, v" in rejected(out)[0]["reason"]
    # the polygon is ground truth, but of an image with an object nobody knows where
    (truth,) = read_rows(out / "ground_truth/instances.parquet", INSTANCES)
    assert truth["category"] == 1
    assert list((out / "ground_truth/semantic").iterdir()) == []


def test_voc_has_tags_and_points_of_its_own(tmp_path: Path) -> None:
    root = write(tmp_path, "voc")
    (root / "Annotations/b.xml").unlink()
    (root / "ImageSets/Main").mkdir()
    (root / "ImageSets/Main/cat_train.txt").write_text("a -1\nb  1\n")
    (root / "ImageSets/Main/cow_train.txt").write_text("b  0\n")
    points = {"a": [{"x": 1.5, "y": 2, "cls": 12, "rank": 1}], "elsewhere": []}
    (root / "points_objects.json").write_text(json.dumps(points))
    (root / "points_background.json").write_text(json.dumps({"a": [{"x": 9, "y": 9, "cls": 0}]}))
    out = read(root, "voc")
    assert tags(out) == [("a", 12), ("b", 8)]
    rows = read_rows(out / "points.parquet", POINTS)
    assert [(row["category"], row["x"], row["y"]) for row in rows] == [(0, 9, 9), (12, 1.5, 2)]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"x": 1, "y": 1, "cls": 21}, "'a': [0]: cls 21: expected 0 to 20"),
        ({"x": "1", "y": 1, "cls": 1}, "'a': [0]: x '1': expected a number"),
        ([1, 1], "[0]: [1, 1]: expected x, y and cls"),
    ],
)
def test_a_bad_voc_point_rejects_its_image(tmp_path: Path, entry: object, reason: str) -> None:
    root = write(tmp_path, "voc")
    (root / "points_objects.json").write_text(json.dumps({"a": [entry]}))
    out = read(root, "voc", max_rejected=1)
    assert reason in rejected(out)[0]["reason"]


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("points_x.json", "[]", r"points_x\.json: expected a list of points by image id"),
        ("points_x.json", "{", r"points_x\.json: not readable as json"),
        ("ImageSets/Main/dog_train.txt", "a yes", r"line 1: 'a yes': expected an image id and 1"),
    ],
)
def test_broken_voc_lists_are_refused(tmp_path: Path, path: str, text: str, message: str) -> None:
    root = write(tmp_path, "voc")
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).write_text(text)
    with pytest.raises(InputError, match=message):
        read(root, "voc")
