"""Measured label maps: percentages as JSON for the set, as a table for its images."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from models.metrics import ConfusionMatrix
from stages.engine.errors import InputError
from stages.io.label_maps import UNKNOWN, LabelMap, read_label_map

#: One row per measured image, all in percent: miou over the classes that its truth holds (null when
#: none of its pixels is known), and iou of each of those classes, in the order of `categories`.
IMAGE_SCORES = pa.schema(
    [
        ("image_id", pa.string()),
        ("miou", pa.float64()),
        ("precision", pa.float64()),
        ("coverage", pa.float64()),
        ("categories", pa.list_(pa.int16())),
        ("iou", pa.list_(pa.float64())),
    ]
)
#: One row per image with true objects: the mean over these of the IoU with the mask that overlaps
#: each most, percent.
INSTANCE_SCORES = pa.schema(
    [("image_id", pa.string()), ("objects", pa.int32()), ("iou", pa.float64())]
)
#: One row per image with true ranks: its measures (null where one is not defined), and how many of
#: the pairs of its instances have the right order.
RANK_SCORES = pa.schema(
    [
        ("image_id", pa.string()),
        ("instances", pa.int32()),
        ("found", pa.int32()),
        ("sa_sor_paper", pa.float64()),
        ("sa_sor_released", pa.float64()),
        ("sa_sor_hungarian", pa.float64()),
        ("sor", pa.float64()),
        ("ssor", pa.float64()),
        ("mae", pa.float64()),
        ("pairs_right", pa.float64()),
        ("pairs", pa.int32()),
    ]
)


def _at(prefix: str, title: str, meaning: str) -> dict[str, tuple[str, str]]:
    """A count over IoU 0.50:0.05:0.95, where it has such a mean, and at three IoUs."""
    stem = prefix if prefix == "found" else f"{prefix}ap"
    mean = {"": "map", "any_": "any_map", "image_": "image_ap", "found": "found"}.get(prefix)
    numbers = {mean: (title, f"{meaning}; the mean over IoU 0.50:0.05:0.95")} if mean else {}
    for at in (50, 70, 75):
        numbers[f"{stem}{at}"] = (f"{title} {at}", f"{meaning}; at IoU 0.{at}")
    return numbers


#: What is measured of instances: by the key in JSON, its title and what it measures.
INSTANCE_MEASURES: Mapping[str, tuple[str, str]] = {
    **_at("", "AP", "COCO's average precision: over detections of the right class, best first, the "
          "precision at 101 recalls, averaged over classes"),
    "named": ("named right", "of all masks, whatever their score, the share with the class that "
              "most of their pixels are of, or without one where that is the background"),
    "named_several": ("named, of several", "that of the masks that are mostly of an object, in "
                      "images that show several classes"),
    "noise_found": ("noise found", "of the masks that are mostly background, the share without a "
                    "class"),
    **_at("voc_", "VOC AP", "VOC's AP^r of the right class: the area under precision and recall, a "
          "second mask of an object being wrong"),
    **_at("any_", "AP, any class", "COCO's average precision where no class is asked for"),
    **_at("any_voc_", "VOC AP, any class", "VOC's AP^r where no class is asked for"),
    **_at("image_", "AP by image", "the mean over images of each one's own average precision, as "
          "S4Net's public code counts it: images with few objects weigh as much as full ones"),
    **_at("found", "found", "the mean over images of the share of objects that some mask overlaps "
          "enough: wrong masks cost nothing"),
    "box_iou": ("box IoU", "the mean IoU of true masks with the masks of their own boxes, one that "
                "is missing counting 0; neither scores nor missed objects play a part"),
    **{
        f"box_iou_{size}": (f"box IoU, {size}", f"that of {objects}")
        for size, objects in {
            "small": "objects below 32² pixels",
            "medium": "objects from 32² to 96² pixels",
            "large": "objects from 96² pixels on",
            "tiny": "objects whose box is below 2 % of its image",
        }.items()
    },
}  # fmt: skip
#: What is measured of ranked instances, likewise.
RANKING_MEASURES: Mapping[str, tuple[str, str]] = {
    "sa_sor_paper": ("SA-SOR", "correlation of the true ranks with those of the found instances, 0 "
                     "where one is missed; wrong ones displace the others; -100 to 100"),
    "sa_sor_released": ("SA-SOR, public code", "as the paper's public code counts it: wrong ones "
                        "displace the others only where more are found than there are"),
    "sa_sor_hungarian": ("SA-SOR, assigned", "masks matched by the largest total overlap; images "
                         "without an order count 0"),
    "sor": ("SOR", "Spearman's correlation of what the painted map holds in true masks, brought to "
            "0 to 100"),
    "ssor": ("SSOR", "that of the commonest grey level, without the instances that are painted to "
             "less than half; one that is left alone counts as right"),
    "mae": ("MAE", "mean difference of the painted ranks from the true ones, over all pixels"),
    "pair_accuracy": ("pairs", "percentage of the pairs of true instances that have the right "
                      "order, a missed one being the less salient"),
}  # fmt: skip


def percent(share: float) -> float | None:
    """A share as a percentage with two decimals; None for NaN, which JSON does not know."""
    return None if math.isnan(share) else round(100 * float(share), 2)


def labels_of(classes: Sequence[str], names: Mapping[int, str], where: str) -> list[int]:
    """The label values of class names.

    Raises:
        InputError: `where` holds a name that the data set has not.
    """
    by_name = {name: label for label, name in names.items()}
    for name in classes:
        if name not in by_name:
            known = ", ".join(by_name)
            raise InputError(f"{where}: no class {name!r} in the data set; it has {known}")
    return [by_name[name] for name in classes]


def count_pixels(
    matrix: ConfusionMatrix, truth: LabelMap, prediction: LabelMap, path: Path
) -> None:
    """Count the pixels of one image in `matrix`.

    Raises:
        InputError: the prediction (or the truth) that `path` stands for does not fit.
    """
    try:
        matrix.update(truth, prediction)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def set_scores(matrix: ConfusionMatrix, names: Mapping[int, str]) -> dict[str, Any]:
    """miou, precision, coverage and the per-class values of a whole set, in percent.

    Classes that occur neither in the truth nor in the predictions are left out.
    """
    iou, precision = matrix.iou(), matrix.class_precision()
    present = [label for label in names if matrix.present[label]]
    return {
        "miou": percent(matrix.miou()),
        "precision": percent(matrix.precision()),
        "coverage": percent(matrix.coverage()),
        "iou": {names[label]: percent(iou[label]) for label in present},
        "class_precision": {names[label]: percent(precision[label]) for label in present},
    }


def image_scores(image_id: str, matrix: ConfusionMatrix) -> dict[str, Any]:
    """The row of `IMAGE_SCORES` of an image whose pixels alone are in `matrix`."""
    held = np.flatnonzero(matrix.held)
    return {
        "image_id": image_id,
        "miou": percent(matrix.held_miou()),
        "precision": percent(matrix.precision()),
        "coverage": percent(matrix.coverage()),
        "categories": held.tolist(),
        "iou": [percent(value) for value in matrix.iou()[held]],
    }


def scores_of_image(image_id: str, truth: LabelMap, prediction: LabelMap) -> dict[str, Any]:
    """`image_scores` of two label maps.

    Raises:
        ValueError: the sizes differ.
    """
    matrix = ConfusionMatrix(UNKNOWN)
    matrix.update(truth, prediction)
    return image_scores(image_id, matrix)


def read_truth(folder: Path, image_id: str) -> LabelMap | None:
    """The ground truth of an image; None where the data set has none for it."""
    path = folder / f"{image_id}.png"
    return read_label_map(path) if path.is_file() else None
