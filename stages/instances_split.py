"""Final labels and boxes to one mask per box (A2GNN section 5, BSIS).

Writes instances.parquet: the boxes of the training images, each with a mask, its area, and as score
the mean probability of the class over the mask. A box in which the labels never show its class gets
the whole box as its mask; metrics.json counts these.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from tqdm import tqdm

from models.instances import split_instances
from models.ops.cells import cells_to_pixels
from stages.io.command import run
from stages.io.errors import InputError
from stages.io.files import write_json
from stages.io.maps import read_score_map
from stages.io.masks import encode_rle, read_label_map
from stages.io.samples import Box, ImageFile, images_of_split, numbered_boxes_by_image
from stages.io.tables import INSTANCES, write_table


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """The section instances_split of params.yaml: no numbers yet."""


def instances_split(
    params: Params,
    images: Path,
    instances: Path,
    labels: Path,
    probabilities: Path,
    out: Path,
) -> None:
    """Give every box of the training images its mask.

    Args:
        params: none.
        images: images.parquet.
        instances: instances.parquet; its boxes are read, no masks.
        labels: folder of <image_id>.png, complete label maps.
        probabilities: folder of <image_id>.npz, class probabilities.
        out: gets instances.parquet and metrics.json.

    Raises:
        InputError: a source is missing, unreadable or of another size than its image.
    """
    boxes = numbered_boxes_by_image(instances)
    samples = images_of_split(images, Path(), "train")
    rows: list[dict[str, Any]] = []
    filled = 0
    for sample in tqdm(samples, "instances_split", unit="image", disable=not sys.stderr.isatty()):
        name = sample.image_id
        found, lost = _split_image(
            sample,
            boxes.get(name, ()),
            labels / f"{name}.png",
            probabilities / f"{name}.npz",
        )
        rows += found
        filled += lost
    table = pd.DataFrame(rows, columns=INSTANCES.names)
    write_table(out / "instances.parquet", table, INSTANCES)
    counts = {
        "images": len(samples),
        "instances": len(rows),
        "boxes_filled_without_their_class": filled,
        "mean_score": round(float(table["score"].mean()), 4) if rows else None,
    }
    write_json(out / "metrics.json", counts)


def _split_image(
    sample: ImageFile,
    numbered: Sequence[tuple[int, Box]],
    labels_file: Path,
    probabilities_file: Path,
) -> tuple[list[dict[str, Any]], int]:
    """The rows of one image, and how many boxes were filled."""
    labels, score_map = read_label_map(labels_file), read_score_map(probabilities_file)
    for path, size in ((labels_file, labels.shape), (probabilities_file, score_map.size)):
        if size != sample.size:
            raise InputError(f"{path}: size {size}; expected {sample.size} as in images.parquet")
    classes = {int(label): row for row, label in enumerate(score_map.classes)}
    scores = cells_to_pixels(score_map.scores, score_map.size, score_map.stride)
    boxes = [box for _, box in numbered]
    split = split_instances(labels, [box.corners for box in boxes], [box.category for box in boxes])
    rows = []
    for (number, box), instance in zip(numbered, split, strict=True):
        score = 0.0
        if box.category in classes:
            score = float(np.clip(scores[classes[box.category]][instance.mask].mean(), 0, 1))
        rows.append(
            {
                "image_id": sample.image_id,
                "instance_id": number,
                "category": box.category,
                "x0": box.x0,
                "y0": box.y0,
                "x1": box.x1,
                "y1": box.y1,
                "area": float(instance.mask.sum()),
                "is_crowd": False,
                "mask": encode_rle(instance.mask),
                "score": score,
            }
        )
    return rows, sum(not instance.found for instance in split)


if __name__ == "__main__":
    run(instances_split)
