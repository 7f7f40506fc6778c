"""One label source against ground truth: the same ruler for every rung of the ladder.

mIoU comes from one confusion matrix over the images of a split (models/metrics.py); precision is
that of the labelled pixels, coverage says how many there are. All in percent. Where the training
images are known by several kinds of labels, miou_<kind> is that of the images of each. Images
without ground truth are counted and left out, so data sets that have none still run to the end.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from models.metrics import ConfusionMatrix
from stages.engine.command import run
from stages.engine.files import write_json
from stages.engine.progress import counted
from stages.io.data_set import Dataset, Split
from stages.io.label_maps import read_label_map
from stages.io.measures import (
    IMAGE_SCORES,
    count_pixels,
    image_scores,
    labels_of,
    percent,
    read_truth,
    set_scores,
)
from stages.io.tables import write_table


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    classes: list[str]


def labels_eval(
    params: Params,
    data: Dataset,
    split: Split,
    ground_truth: Path,
    labels: Path,
    out: Path,
    name: str,
) -> None:
    """Measure the label maps of the images of a split.

    Args:
        params: see `Params`.
        data: the data set.
        split: train or val.
        ground_truth: folder of <image_id>.png; images that have none are not measured.
        labels: folder of <image_id>.png, 255 = unknown.
        out: gets <name>.json (the set) and <name>.parquet (its images, `IMAGE_SCORES`).
        name: of the label source.

    Raises:
        InputError: a label map is missing, unreadable, of another size than its ground truth, or
            holds a value that is no category; or `params.classes` names an unknown class.
    """
    names = data.class_names()
    classes = labels_of(params.classes, names, "labels_eval.classes")
    total = ConfusionMatrix(max(names) + 1)
    kinds = data.kinds_in_use() if split == "train" else {}
    by_kind: dict[str, ConfusionMatrix] = {}
    rows: list[dict[str, Any]] = []
    images = data.labelled_images(split, labels)
    for image in counted(images, "labels_eval", "images"):
        path = labels / f"{image.image_id}.png"
        prediction = read_label_map(path)
        truth = read_truth(ground_truth, image.image_id)
        if truth is None:
            continue
        alone = ConfusionMatrix(total.classes)
        count_pixels(alone, truth, prediction, path)
        total.add(alone)
        if image.image_id in kinds:
            by_kind.setdefault(kinds[image.image_id], ConfusionMatrix(total.classes)).add(alone)
        rows.append(image_scores(image.image_id, alone))
    scores = set_scores(total, names)
    if params.classes:
        scores = {"miou": scores.pop("miou"), "miou_classes": percent(total.miou(classes))} | scores
    if len(by_kind) > 1:
        chosen = classes or None
        scores |= {f"miou_{kind}": percent(part.miou(chosen)) for kind, part in by_kind.items()}
    scores |= {"images": len(rows), "images_without_truth": len(images) - len(rows)}
    frame = pd.DataFrame(rows, columns=IMAGE_SCORES.names)
    write_table(out / f"{name}.parquet", frame, IMAGE_SCORES)
    write_json(out / f"{name}.json", scores)


if __name__ == "__main__":
    run(labels_eval)
