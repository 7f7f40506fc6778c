"""Final labels and boxes to one mask per box (A2GNN section 5, BSIS).

Writes instances.parquet: the boxes of the training images, each with a mask, its area, and as score
the mean probability of the class over the mask. A box in which the labels never show its class gets
the whole box as its mask; metrics.json counts these.

Labels that a person has corrected stay as they are: there a box without its class holds no object
and gets no row, and masks score 1. A class painted outside all of its boxes gets no instance: that
takes a box. metrics.json counts both. So does every class of an image that is known by no boxes.

A2GNN: https://arxiv.org/abs/2106.04054.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from models.a2gnn.instances import Instance, split_instances
from models.ops.cells import cells_to_pixels
from stages.engine.command import run
from stages.engine.files import write_json
from stages.engine.progress import counted
from stages.io.box_masks import instance_rows, mask_columns
from stages.io.corrections import read_human
from stages.io.data_set import Box, Dataset, ImageFile
from stages.io.label_maps import UNKNOWN, read_label_map
from stages.io.score_maps import read_score_map
from stages.io.tables import INSTANCES, write_table

COUNTED = (
    "boxes_filled_without_their_class",
    "boxes_emptied_by_hand",
    "classes_by_hand_without_a_box",
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """The section instances_split of params.yaml: no numbers yet."""


def instances_split(
    params: Params,
    data: Dataset,
    labels: Path,
    origins: Path,
    probabilities: Path,
    out: Path,
) -> None:
    """Give every box of the training images its mask.

    Args:
        params: none.
        data: the data set.
        labels: folder of <image_id>.png; 255 = unknown, which only a person and
            crowds leave.
        origins: origins.csv, which says what a person has corrected.
        probabilities: folder of <image_id>.npz, class probabilities.
        out: gets instances.parquet and metrics.json.

    Raises:
        InputError: a source is missing, unreadable or of another size than its image.
    """
    kinds, boxes = data.kinds_in_use(), data.numbered_boxes()
    human = read_human(origins)
    images = data.images("train")
    rows: list[dict[str, Any]] = []
    counts = Counter(dict.fromkeys(COUNTED, 0))
    for image in counted(images, "instances_split", "images"):
        name = image.image_id
        rows_of_image, lost = _split_image(
            image,
            boxes.get(name, ()) if kinds[name] in ("box", "mask") else (),
            labels / f"{name}.png",
            None if name in human else probabilities / f"{name}.npz",
        )
        rows += rows_of_image
        counts.update(lost)
    table = pd.DataFrame(rows, columns=INSTANCES.names)
    write_table(out / "instances.parquet", table, INSTANCES)
    metrics = {
        "images": len(images),
        "instances": len(rows),
        **counts,
        "mean_score": round(float(table["score"].mean()), 4) if rows else None,
    }
    write_json(out / "metrics.json", metrics)


def _split_image(
    image: ImageFile,
    numbered: Sequence[tuple[int, Box]],
    labels_file: Path,
    probabilities_file: Path | None,
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The rows of one image, and what of `COUNTED` it has; None stands for a person's labels."""
    labels = read_label_map(labels_file, image.size)
    boxes = [box for _, box in numbered]
    split = split_instances(labels, [box.corners for box in boxes], [box.category for box in boxes])
    instances = list(zip(numbered, split, strict=True))
    lost = sum(not instance.is_seen for instance in split)
    if probabilities_file is None:
        instances = [(box, instance) for box, instance in instances if instance.is_seen]
        scores = [1.0] * len(instances)
        painted = {int(label) for label in np.unique(labels)} - {0, UNKNOWN}
        alone = len(painted - {box.category for (_, box), _ in instances})
        counted = {"boxes_emptied_by_hand": lost, "classes_by_hand_without_a_box": alone}
    else:
        pairs = [(box, instance) for (_, box), instance in instances]
        scores = _scores(image, pairs, probabilities_file)
        counted = {"boxes_filled_without_their_class": lost}
    masks = [
        mask_columns(instance.mask, score)
        for (_, instance), score in zip(instances, scores, strict=True)
    ]
    rows = instance_rows(image.image_id, [box for box, _ in instances], masks)
    return rows, counted


def _scores(
    image: ImageFile, pairs: Sequence[tuple[Box, Instance]], probabilities_file: Path
) -> list[float]:
    """The mean probability of its class over the mask of each box."""
    score_map = read_score_map(probabilities_file, image.size)
    classes = {int(label): row for row, label in enumerate(score_map.classes)}
    pixels = cells_to_pixels(score_map.scores, score_map.size, score_map.stride)
    return [
        float(np.clip(pixels[classes[box.category]][instance.mask].mean(), 0, 1))
        if box.category in classes
        else 0.0
        for box, instance in pairs
    ]


if __name__ == "__main__":
    run(instances_split)
