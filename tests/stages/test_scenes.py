import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from models.scenes.creatures import NAMES
from models.scenes.scenes import draw_scene
from stages.io.label_maps import read_label_map
from stages.io.salient_maps import read_region, read_saliency
from stages.io.tables import COUNTS, IMAGES, INSTANCES, POINTS, TAGS, read_rows
from stages.scenes import Kind, Params, scenes
from stages.sources.coco import read_coco
from tests.stages.dataset_runs import read

SIZE = (96, 128)


def write(
    out: Path,
    seed: int = 0,
    train_images: int = 4,
    val_images: int = 2,
    mix: dict[Kind, int] | None = None,
) -> Path:
    params = Params(
        seed=seed,
        train_images=train_images,
        val_images=val_images,
        width=128,
        height=96,
        mix=mix or {},
    )
    scenes(params, out)
    return out


def contents(out: Path) -> dict[str, bytes]:
    files = (path for path in out.rglob("*") if path.is_file())
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def annotations(out: Path, split: str) -> list[dict[str, Any]]:
    content = json.loads((out / "annotations" / f"instances_{split}.json").read_text())
    found: list[dict[str, Any]] = content["annotations"]
    return found


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    first = contents(write(tmp_path / "a"))
    assert contents(write(tmp_path / "b")) == first
    other = contents(write(tmp_path / "c", seed=1))
    assert other.keys() == first.keys()
    assert all(other[name] != first[name] for name in first)


def test_more_images_leave_the_first_ones_as_they_were(tmp_path: Path) -> None:
    few, more = contents(write(tmp_path / "a")), contents(write(tmp_path / "b", train_images=6))
    images = [name for name in few if name.endswith(".jpg")]
    assert len(images) == 6
    assert all(few[name] == more[name] for name in images)


def test_pycocotools_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = write(tmp_path)
    ids = set()
    for split, count in (("train", 4), ("val", 2)):
        coco = COCO(out / "annotations" / f"instances_{split}.json")
        assert len(coco.imgs) == count
        for annotation in coco.loadAnns(coco.getAnnIds()):
            mask = coco.annToMask(annotation)
            assert mask.shape == (96, 128)
            assert mask.sum() == annotation["area"] > 0
            rows, columns = np.nonzero(mask)
            x, y, width, height = annotation["bbox"]
            tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert (x, y, x + width, y + height) == tight
            ids.add(annotation["id"])
        for image in coco.imgs.values():
            with Image.open(out / "images" / split / image["file_name"]) as opened:
                assert opened.size == (image["width"], image["height"]) == (128, 96)
    assert len(ids) == len(annotations(out, "train")) + len(annotations(out, "val"))


def test_our_reader_reads_it(tmp_path: Path) -> None:
    source = read_coco(write(tmp_path))
    assert list(source.categories.values()) == list(NAMES)
    assert sorted(image.split for image in source.images) == ["train"] * 4 + ["val"] * 2
    assert all(image.boxes and (tmp_path / image.file).exists() for image in source.images)


def test_boxes_and_images_are_those_of_scenes_without_other_labels(tmp_path: Path) -> None:
    """What further labels draw takes nothing from the random stream of the scene."""
    plain, mixed = write(tmp_path / "a"), write(tmp_path / "b", mix={"tag": 1})
    for name in ("train_0000", "train_0003"):
        image = f"images/train/{name}.jpg"
        assert (plain / image).read_bytes() == (mixed / image).read_bytes()
    without = [{k: v for k, v in e.items() if k != "bbox"} for e in annotations(plain, "train")]
    assert annotations(mixed, "train") == without
    assert annotations(mixed, "val") == annotations(plain, "val")


def test_the_marks_lie_on_what_they_name(tmp_path: Path) -> None:
    out = write(tmp_path / "a", train_images=6)
    truth = read(out, "coco") / "ground_truth/semantic"
    points = read_rows(tmp_path / "a-out/points.parquet", POINTS)
    assert len(points) == len(annotations(out, "train") + annotations(out, "val")) + 8
    for row in points:
        labels = read_label_map(truth / f"{row['image_id']}.png")
        assert labels[int(row["y"]), int(row["x"])] == row["category"]
    for path in sorted((tmp_path / "a-out/scribbles").iterdir()):
        strokes, labels = read_label_map(path), read_label_map(truth / path.name)
        drawn = strokes != 255
        assert (strokes == labels)[drawn].all()
        assert set(np.unique(strokes)) == {*np.unique(labels), 255}
        assert 0.005 < drawn.mean() < 0.15
        region = read_region(tmp_path / "a-out/regions" / path.name)
        assert (labels[region] > 0).all()
        assert region.any()
        saliency = read_saliency(tmp_path / "a-out/saliency" / path.name)
        assert saliency[region].mean() > 2 * saliency[labels == 0].mean()


def test_the_counts_are_those_of_the_objects_that_are_salient(tmp_path: Path) -> None:
    out = write(tmp_path / "a", train_images=6)
    read(out, "coco")
    counts = {
        row["image_id"]: row["count"]
        for row in read_rows(tmp_path / "a-out/counts.parquet", COUNTS)
    }
    assert len(counts) == 8
    for split in ("train", "val"):
        coco = COCO(out / "annotations" / f"instances_{split}.json")
        for image in coco.imgs.values():
            name = Path(image["file_name"]).stem
            region = read_region(tmp_path / "a-out/regions" / f"{name}.png")
            masks = [coco.annToMask(entry) > 0 for entry in coco.imgToAnns[image["id"]]]
            assert counts[name] == sum(region[mask].all() for mask in masks) > 0


def test_in_a_mix_each_image_carries_one_kind(tmp_path: Path) -> None:
    mix: dict[Kind, int] = {"box": 4, "tag": 3, "point": 2, "mask": 1}
    root = write(tmp_path / "mix", train_images=20, mix=mix)
    out = read(root, "coco")
    train = {row["image_id"] for row in read_rows(out / "images.parquet", IMAGES)}
    train = {name for name in train if name.startswith("train")}
    boxed = {row["image_id"] for row in read_rows(out / "instances.parquet", INSTANCES)} & train
    pointed = {row["image_id"] for row in read_rows(out / "points.parquet", POINTS)} & train
    masked = {path.stem for path in (out / "masks").iterdir()}
    assert (len(boxed), len(pointed), len(masked)) == (8, 4, 2)
    assert len(boxed | pointed | masked) == 14
    assert train == {row["image_id"] for row in read_rows(out / "tags.parquet", TAGS)} & train
    assert not {path.stem for path in (out / "scribbles").iterdir()} & train
    for name in masked:
        mask = read_label_map(out / "masks" / f"{name}.png")
        np.testing.assert_array_equal(
            mask, read_label_map(out / "ground_truth/semantic" / f"{name}.png")
        )


def test_objects_are_visible_and_do_not_overlap() -> None:
    for number in range(12):
        scene = draw_scene(np.random.default_rng(number), SIZE)
        assert scene.image.shape == (*SIZE, 3)
        assert scene.image.dtype == np.uint8
        assert 1 <= len(scene.masks) == len(scene.categories) <= 4
        assert all(mask.sum() > 100 for mask in scene.masks)
        assert np.sum(scene.masks, axis=0).max() == 1
        assert set(scene.categories) <= set(range(1, len(NAMES) + 1))


def test_classes_tags_and_occlusion_vary() -> None:
    drawn = [draw_scene(np.random.default_rng([7, number]), SIZE) for number in range(24)]
    present = np.zeros((24, len(NAMES)), dtype=bool)
    for row, scene in zip(present, drawn, strict=True):
        row[np.array(scene.categories) - 1] = True
    share = present.mean(axis=0)
    assert (share > 0.1).all()
    assert (share < 0.7).all()
    assert len({len(scene.masks) for scene in drawn}) >= 3
    assert any(len(set(scene.categories)) < len(scene.categories) for scene in drawn)
    assert len({tuple(row) for row in present}) > 10


def test_boxes_are_much_larger_than_their_objects() -> None:
    shares = []
    for number in range(10):
        for mask in draw_scene(np.random.default_rng([3, number]), SIZE).masks:
            rows, columns = np.nonzero(mask)
            shares.append(mask.sum() / (np.ptp(rows) + 1) / (np.ptp(columns) + 1))
    assert 0.4 < np.mean(shares) < 0.7
