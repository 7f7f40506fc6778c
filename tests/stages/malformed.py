"""Malformed data sets, drawn: a valid small one in some format, with one to three things wrong."""

import random
from pathlib import Path

import numpy as np
from PIL import Image

from stages.io.label_maps import encode_rle
from tests.stages.devkits import (
    HEIGHT,
    WIDTH,
    coco_box,
    coco_image,
    save,
    voc_annotation,
    voc_object,
    write_coco,
    write_folder,
    write_voc,
)
from tests.stages.malformed_coco import COCO
from tests.stages.malformed_files import ANY_FILE, IMAGE, MASK
from tests.stages.malformed_texts import FOLDER, VOC

FORMATS = ("coco", "voc", "folder")
COMPRESSED = encode_rle(np.eye(HEIGHT, WIDTH, dtype=bool))


def write_malformed(root: Path, draw: random.Random) -> tuple[str, list[str]]:
    """Write a data set below `root`; returns its format and the names of what is wrong with it."""
    format = draw.choice(FORMATS)
    {"coco": _write_coco, "voc": _write_voc, "folder": _write_folder}[format](root, draw)
    known = {
        "coco": {**ANY_FILE, **IMAGE, **COCO},
        "voc": {**ANY_FILE, **IMAGE, **MASK, **VOC},
        "folder": {**ANY_FILE, **IMAGE, **MASK, **FOLDER},
    }[format]
    if draw.random() < 0.5:
        _write_beside(root, format)
    names = [draw.choice(sorted(known)) for _ in range(draw.randint(1, 3))]
    for name in names:
        known[name](root, draw)
    return format, names


def _write_coco(root: Path, draw: random.Random) -> None:
    for name in draw.choice([("train",), ("train2017", "val2017")]):
        images = [coco_image(number, f"{name}_{number}.png") for number in range(3)]
        boxes = []
        for number in range(draw.randint(1, 6)):
            segmentation = draw.choice(
                [
                    [[2, 2, 20, 2, 20, 30, 2, 30]],
                    {"size": [HEIGHT, WIDTH], "counts": [5, 20, WIDTH * HEIGHT - 25]},
                    {"size": [HEIGHT, WIDTH], "counts": COMPRESSED},
                    [],
                ]
            )
            box = coco_box(number % 3, draw.choice([3, 18]), [2, 2, 18, 28])
            boxes.append(box | {"segmentation": segmentation, "iscrowd": draw.choice([0, 1])})
        write_coco(root, images, boxes, name)


def _write_voc(root: Path, draw: random.Random) -> None:
    ids = [f"2007_{number:06}" for number in range(4)]
    objects = [voc_object("dog", (2, 2, 20, 30)), voc_object("cat", (5, 5, 40, 38))]
    write_voc(root, {name: voc_annotation(objects) for name in ids}, ids[:3], ids[3:])
    for folder, values in (("SegmentationClass", (12, 8)), ("SegmentationObject", (1, 2))):
        for name in ids:
            _save_mask(root / folder / f"{name}.png", values)


def _write_folder(root: Path, draw: random.Random) -> None:
    files = ["a.png", "b.jpg", "sub/c.png", "d.bmp", "e.webp", "f.tif"]
    draw.shuffle(files)
    lines = [f"{file},{draw.choice(['train', 'val'])},dog,2,2,20,30" for file in files[:4]]
    write_folder(root, lines, files)
    (root / "categories.txt").write_text("cat\ndog\n")
    for file in files[:4]:
        name = file.replace("/", "__").split(".")[0]
        _save_mask(root / "ground_truth" / f"{name}.png", (1, 2))


def _write_beside(root: Path, format: str) -> None:
    """Labels of every other kind, of one image."""
    name = {"coco": "train_0", "voc": "2007_000000", "folder": "a"}[format]
    file = "a.png" if format == "folder" else name
    (root / "points.csv").write_text(f"file,category,x,y\n{file},dog,5,5\n{file},background,0,9\n")
    (root / "tags.csv").write_text(f"file,category\n{file},dog\n")
    (root / "counts.csv").write_text(f"file,count\n{file},2\n")
    for folder, values in (("scribbles", (1, 0)), ("masks", (1, 2)), ("regions", (9, 9))):
        _save_mask(root / folder / f"{name}.png", values)


def _save_mask(path: Path, values: tuple[int, int]) -> None:
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    labels[2:20, 2:20], labels[25:35, 10:40] = values
    save(path, Image.fromarray(labels))
