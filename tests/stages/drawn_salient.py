"""Salient instances with features and score maps, drawn so that it is known what they show."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.engine.files import write_bytes
from stages.io.data_set import Dataset
from stages.io.features import Features, write_features
from stages.io.label_maps import encode_rle
from stages.io.score_maps import ScoreMap, encode_score_map
from stages.io.tables import CATEGORIES, IMAGES, INSTANCES, KINDS, TAGS, write_table

SIZE = (12, 20)
#: Left and right half of an image: what lies there; 0 is noise, which has no tag.
IMAGES_OF = {
    "cat0": (1,), "cat1": (1,), "dog0": (2,), "dog1": (2,), "both0": (1, 2), "both1": (2, 1),
    "noise0": (1, 0), "noise1": (2, 0), "none": (),
}  # fmt: skip
#: Where the activations are mistaken.
MISTAKEN = "both0"
TRUTH = tuple(what for each in IMAGES_OF.values() for what in each)


@dataclass(frozen=True)
class Salient:
    """The paths that tag_assign reads."""

    data: Dataset
    instances: Path
    features: Path
    maps: Path


def half(side: int) -> npt.NDArray[np.bool_]:
    """The mask of the left (0) or right (1) instance."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[2:10, 1 + 10 * side : 9 + 10 * side] = True
    return mask


def write_salient(folder: Path) -> Salient:
    """Write all that tag_assign reads; the features of each class lie around one direction."""
    generator = np.random.default_rng(0)
    rows, features = [], []
    directions = np.eye(4)[[3, 1, 2]]
    for image_id, shown in IMAGES_OF.items():
        for side, what in enumerate(shown):
            x0 = 1.0 + 10 * side
            rows.append(
                {"image_id": image_id, "instance_id": len(rows) + 1, "category": 0, "x0": x0,
                 "y0": 2.0, "x1": x0 + 8, "y1": 10.0, "area": 64.0, "is_crowd": False,
                 "mask": encode_rle(half(side)), "score": 0.9}
            )  # fmt: skip
            spread = 0.05 if what else 0.6  # noise is like nothing else
            features.append(directions[what] + spread * generator.random(4))
        tags = sorted({what for what in shown if what})
        scores = np.zeros((len(tags), *SIZE), dtype=np.float16)
        for row, tag in enumerate(tags):
            for side, what in enumerate(shown):
                seen = (tag == what) != (image_id == MISTAKEN)
                scores[row][half(side)] = (0.55 if seen else 0.45) if what else 0.1
        score_map = ScoreMap(scores, np.array(tags, np.int64), SIZE, 1)
        write_bytes(folder / "maps" / f"{image_id}.npz", encode_score_map(score_map))
    names = list(IMAGES_OF)
    images = [
        {"image_id": name, "split": "train", "file": f"{name}.png", "width": SIZE[1],
         "height": SIZE[0], "md5": ""} for name in names
    ]  # fmt: skip
    tags_of = [
        {"image_id": name, "category": tag}
        for name, shown in IMAGES_OF.items()
        for tag in sorted({what for what in shown if what})
    ]
    kinds = [{"image_id": name, "kind": "tag"} for name in names]
    classes = pd.DataFrame({"category": [1, 2], "name": ["cat", "dog"]})
    write_table(folder / "images.parquet", pd.DataFrame(images), IMAGES)
    write_table(folder / "tags.parquet", pd.DataFrame(tags_of), TAGS)
    write_table(folder / "kinds.parquet", pd.DataFrame(kinds), KINDS)
    write_table(folder / "categories.parquet", classes, CATEGORIES)
    nothing = pd.DataFrame([], columns=INSTANCES.names)
    write_table(folder / "instances.parquet", nothing, INSTANCES)
    write_table(folder / "salient.parquet", pd.DataFrame(rows), INSTANCES)
    ids = np.arange(1, len(rows) + 1)
    write_features(folder / "features.npz", Features(ids, np.array(features, dtype=np.float32)))
    return Salient(
        Dataset(folder, kinds=("mask", "tag")),
        folder / "salient.parquet",
        folder / "features.npz",
        folder / "maps",
    )
