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
