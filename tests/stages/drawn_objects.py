"""Small images with bright rectangles on them, as tables of instances and as a data set."""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.engine.memo import Memo
from stages.engine.training import Checkpoint
from stages.io.data_set import Dataset
from stages.io.label_maps import encode_rle
from stages.io.tables import CATEGORIES, IMAGES, INSTANCES, write_table

SIZE = (40, 48)
#: (image, category, box) of each object: x0, y0, x1, y1. Image "b" has none.
OBJECTS = (
    ("a", 1, (4, 4, 20, 22)),
    ("a", 2, (22, 10, 44, 36)),
    ("c", 1, (10, 6, 34, 30)),
    ("d", 2, (2, 2, 30, 24)),
    ("v", 1, (6, 6, 28, 28)),
)


def mask_of(box: tuple[int, int, int, int]) -> "np.ndarray[tuple[int, int], np.dtype[np.bool_]]":
    """The rectangle as bool [H, W]."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def write_objects(folder: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> Dataset:
    """Write tables, pictures and objects.parquet; checkpoints and memo stay in `folder`, too."""
    monkeypatch.setenv("SEEDMASK_WORKERS", "1")
    own = partial(Checkpoint, folder=folder / "checkpoints")
    monkeypatch.setattr(f"stages.{stage}.Checkpoint", own, raising=False)
    monkeypatch.setattr("stages.engine.parallel.Memo", partial(Memo, folder=folder / "memo"))
    monkeypatch.setattr("stages.engine.training.TRAINING_THREADS", 1)
    generator = np.random.default_rng(0)
    images = []
    for name in ("a", "b", "c", "d", "v"):
        picture = generator.integers(0, 90, (*SIZE, 3), dtype=np.uint8)
        for image_id, category, box in OBJECTS:
            if image_id == name:
                picture[mask_of(box)] += np.array([120, 40 * category, 60], dtype=np.uint8)
        file = folder / "root" / f"{name}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(file)
        md5 = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        split = "val" if name == "v" else "train"
        images.append({"image_id": name, "split": split, "file": file.name, "width": SIZE[1],
                       "height": SIZE[0], "md5": md5})  # fmt: skip
    rows = [
        {"image_id": image_id, "instance_id": number, "category": category, "x0": box[0],
         "y0": box[1], "x1": box[2], "y1": box[3], "area": float(mask_of(box).sum()),
         "is_crowd": False, "mask": encode_rle(mask_of(box)), "score": None}
        for number, (image_id, category, box) in enumerate(OBJECTS, start=1)
    ]  # fmt: skip
    write_table(folder / "images.parquet", pd.DataFrame(images), IMAGES)
    names = pd.DataFrame({"category": [1, 2], "name": ["cat", "dog"]})
    write_table(folder / "categories.parquet", names, CATEGORIES)
    write_table(folder / "objects.parquet", pd.DataFrame(rows), INSTANCES)
    boxes = pd.DataFrame([row | {"mask": None} for row in rows])
    write_table(folder / "instances.parquet", boxes, INSTANCES)
    return Dataset(folder, folder / "root")
