"""Recordings of gaze and votes beside the images, in every form that is read."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from stages.engine.errors import InputError
from stages.io.tables import FIXATIONS, IMAGES, INSTANCES, VOTES, read_rows
from tests.stages.dataset_runs import metrics, read, rejected
from tests.stages.devkits import HEIGHT, WIDTH, coco_box, coco_image, picture, save, write_coco

SQUARES = [[1, 1, 9, 1, 9, 9, 1, 9], [20, 5, 30, 5, 30, 20, 20, 20]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Images a, with two objects of annotation ids 7 and 9, and b with none."""
    boxes = [
        coco_box(1, 18, [1, 1, 8, 8], segmentation=[SQUARES[0]]) | {"id": 7},
        coco_box(1, 3, [20, 5, 10, 15], segmentation=[SQUARES[1]]) | {"id": 9},
    ]
    return write_coco(tmp_path / "set", [coco_image(1, "a.png"), coco_image(2, "b.png")], boxes)


def looks(out: Path) -> list[tuple[str, str, float, float]]:
    rows = read_rows(out / "fixations.parquet", FIXATIONS)
    return [(row["image_id"], row["subject"], row["x"], row["y"]) for row in rows]


def test_a_plain_table_is_read_and_what_has_no_place_is_counted(root: Path) -> None:
    lines = ["a,s1,3.5,2,0", "a,s2,48,2,0", "a,s1,nan,,10", "a,s1,-0.1,3,20", "c.png,s1,1,1,0"]
    (root / "fixations.csv").write_text("\n".join(["file,subject,x,y,t", *lines]))
    out = read(root, "coco")
    assert looks(out) == [("a", "s1", 3.5, 2.0)]
    found = metrics(out)
    names = ("fixations", "fixations_dropped", "subjects_without_fixations", "images_to_rank")
    assert [found[name] for name in names] == [1, 3, 1, 1]
    reasons = [row["reason"] for row in rejected(out)]
    outside = f"3 of 4 fixations lie outside its {WIDTH}x{HEIGHT} image or have no place"
    assert reasons == [outside, "name no listed image"]


@pytest.mark.parametrize("kind", ["salicon", "rows", "subjects", "mat"])
def test_recordings_of_known_sets_are_read(root: Path, kind: str) -> None:
    """One fixation each in the pixels of row 2, column 3 and of row 4, column 5, from 1."""
    if kind == "salicon":
        entries = [
            {"image_id": 1, "worker_id": 4, "id": 1, "fixations": [[2, 3]]},
            {"image_id": 1, "worker_id": 5, "id": 2, "fixations": [[4, 5]]},
            {"image_id": 1, "worker_id": 6, "id": 3, "fixations": []},
        ]
        content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": entries}
        (root / "annotations/fixations_train.json").write_text(json.dumps(content))
    elif kind == "rows":
        (root / "fixations.json").write_text(json.dumps({"a": [[2, 3, 4], [4, 5, 5]]}))
    elif kind == "subjects":
        content = {"a": [[[2.5, 1.5, 100]], [[4.5, 3.5, 100]], []]}
        (root / "fixations.json").write_text(json.dumps(content))
    else:
        gaze = np.empty((3, 1), dtype=[("location", "O"), ("timestamp", "O"), ("fixations", "O")])
        for n, xy in enumerate(([[3, 2]], [[5, 4]], np.empty((0, 2)))):
            gaze[n, 0] = (np.array(xy), np.array([[0]]), np.array(xy, dtype=np.uint16))
        (root / "fixations/train").mkdir(parents=True)
        savemat(root / "fixations/train/a.mat", {"image": "a", "gaze": gaze})
    out = read(root, "coco")
    first, second = {"salicon": "45", "rows": "45"}.get(kind, "12")
    assert looks(out) == [("a", first, 2.5, 1.5), ("a", second, 4.5, 3.5)]
    assert metrics(out)["subjects_without_fixations"] == (kind != "rows")


def test_a_folder_of_images_and_a_recording_are_a_data_set(tmp_path: Path) -> None:
    root = tmp_path / "set"
    save(root / "images/sub/x.png", picture())
    save(root / "images/sub/y.png", picture(seed=1))
    (root / "fixations.json").write_text(json.dumps({"x": [[[1, 2, 30], [3, 4, 50]]]}))
    out = read(root, "folder")
    assert [row["image_id"] for row in read_rows(out / "images.parquet", IMAGES)] == [
        "images__sub__x"
    ]
    rows = read_rows(out / "fixations.parquet", FIXATIONS)
    assert [row["t"] for row in rows] == [0, 30]
    assert metrics(out)["unlisted_images"] == 1


def test_votes_and_true_ranks_name_objects_by_their_annotations_ids(root: Path) -> None:
    lines = ["a,anna,9,", "a,ben,7,", "a,ben,9,", "a,cleo,,missing", "a,dora,,"]
    (root / "votes.csv").write_text("\n".join(["file,subject,object,reason", *lines]))
    (root / "ground_truth").mkdir()
    (root / "ground_truth/ranks.csv").write_text("file,object,rank\na,9,1\na,7,2\n")
    out = read(root, "coco")
    rows = read_rows(out / "votes.parquet", VOTES)
    assert [(row["subject"], row["instance_id"], row["reason"]) for row in rows] == [
        ("anna", 2, None), ("ben", 1, None), ("ben", 2, None), ("cleo", None, "missing"),
        ("dora", None, None),
    ]  # fmt: skip
    truth = read_rows(out / "ground_truth/instances.parquet", INSTANCES)
    outlines = read_rows(out / "outlines.parquet", INSTANCES)
    assert [row["rank"] for row in truth] == [2, 1]
    assert outlines == [row | {"rank": None} for row in truth]
    assert outlines[0]["mask"] is not None


@pytest.mark.parametrize(
    ("table", "line", "reason"),
    [
        ("votes.csv", "a,anna,8,", "a: object 8: expected one of its objects, 7, 9"),
        ("votes.csv", "a,anna,x,", "line 2: object 'x': expected a number"),
        ("votes.csv", "a,,7,", "line 2: subject is empty"),
        ("votes.csv", "a,anna,,ugly", "reason 'ugly': expected one of missing, segmentation,"),
        ("votes.csv", "a,anna,7,missing", "object and reason: expected one of them"),
        ("ground_truth/ranks.csv", "a,7,0", "rank 0: expected 1 (most salient) or more"),
        ("ground_truth/ranks.csv", "a,7,1\na,7,2", "a: object 7 has ranks 1, 2"),
    ],
)
def test_a_bad_row_rejects_its_image(root: Path, table: str, line: str, reason: str) -> None:
    columns = "file,subject,object,reason" if table == "votes.csv" else "file,object,rank"
    (root / table).parent.mkdir(exist_ok=True)
    (root / table).write_text(f"{columns}\n{line}\n")
    out = read(root, "coco", max_rejected=1)
    assert [row["image"] for row in rejected(out)] == ["images/train/a.png"]
    assert reason in rejected(out)[0]["reason"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("fixations.csv", "file,x,y\na,1,1\n", "header 'file,x,y'; expected 'file,subject,x,y,t'"),
        ("fixations.csv", "file,subject,x,y\na,s,one,1\n", "line 2: 'one': expected a number"),
        ("fixations.csv", "file,subject,x,y\na,s,1\n", "line 2: expected 4 fields"),
        ("fixations.json", "[", "not readable as json"),
        ("fixations.json", '{"a": [[1, 2]]}', "expected SALICON's annotations"),
        ("fixations.json", '{"images": [], "annotations": [{"image_id": 1}]}', "KeyError"),
        ("fixations/a.mat", "MATLAB", r"a.mat: expected SALICON's struct gaze"),
    ],
)
def test_an_unreadable_recording_is_one_line(
    root: Path, file: str, content: str, message: str
) -> None:
    (root / file).parent.mkdir(exist_ok=True)
    (root / file).write_text(content)
    with pytest.raises(InputError) as error:
        read(root, "coco")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_of_two_images_is_neithers(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for folder in ("one", "two"):
        save(root / folder / "x.png", Image.new("RGB", (WIDTH, HEIGHT)))
    (root / "tags.csv").write_text("file,category\none/x.png,cat\ntwo/x.png,cat\n")
    (root / "fixations.csv").write_text("file,subject,x,y\nx,s,1,1\none/x.png,s,2,2\n")
    out = read(root, "folder")
    assert looks(out) == [("one__x", "s", 2.0, 2.0)]
    assert metrics(out)["labels_of_no_image"] == 1
