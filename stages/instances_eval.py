"""Instance masks against ground truth, one ruler for all sources of instances.

`MEASURES` of stages/io/measures.py says what each number measures. Percentages; null where there is
nothing to measure: a source that knows no classes (category 0) has no values by class, one that did
not start from the boxes of the data set has no box IoU, and a data set without instance masks (a
VOC folder that has no SegmentationObject) has a note instead of an error. Of a source that names
some of its masks the others are what it takes for noise, not instances that it found.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pycocotools import mask as coco_mask
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from models.instance_scores import (
    THRESHOLDS,
    Objects,
    coco_precision,
    image_precision,
    mean_known,
    names_right,
    overlaps,
    share_found,
    voc_precision,
)
from stages.engine.command import run
from stages.engine.files import write_json
from stages.io.data_set import Box, Dataset, ImageFile, Split
from stages.io.label_maps import decode_rle
from stages.io.measures import INSTANCE_MEASURES, INSTANCE_SCORES, percent
from stages.io.salient_maps import read_region
from stages.io.tables import INSTANCES, read_rows, write_table

Row = Mapping[str, Any]
#: IoUs that have numbers of their own, as names and metrics.json call them.
AT = {"50": 0.5, "70": 0.7, "75": 0.75}
#: COCO's sizes, pixels of the true mask; and the objects whose box is a small share of its image.
SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, math.inf)}
TINY = 0.02


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """The stage has no numbers."""


def instances_eval(
    params: Params,
    data: Dataset,
    split: Split,
    ground_truth: Path,
    instances: Path,
    out: Path,
    name: str,
    objects: Literal["all", "salient"] = "all",
) -> None:
    """Measure the instance masks of the images of a split.

    Writes out/<name>.json, and out/<name>.parquet of the images one by one (`INSTANCE_SCORES`).
    Only images that have instances with masks in the ground truth are measured. `ap` is COCO's
    average precision class by class.

    Args:
        params: none.
        data: the data set.
        split: train or val.
        ground_truth: true instances (`INSTANCES`); rows without a mask are left out.
        instances: the instances to measure (`INSTANCES`), those with a mask.
        out: folder.
        name: of the source.
        objects: which of the true ones are to be found: all, or those of which half or more lies in
            the salient region of their image; an image without a region map has none.

    Raises:
        InputError: an unreadable table or region map.
    """
    images = {image.image_id: image for image in data.images(split)}
    truth: list[Row] = [
        row
        for row in read_rows(ground_truth, INSTANCES)
        if row["mask"] is not None and row["image_id"] in images
    ]
    if objects == "salient":
        truth = _salient(truth, data, images)
    measured = {row["image_id"] for row in truth}
    predicted = [
        row
        for row in read_rows(instances, INSTANCES)
        if row["mask"] is not None and row["image_id"] in measured
    ]
    rows: list[dict[str, Any]] = []
    metrics: dict[str, Any] = {**dict.fromkeys(INSTANCE_MEASURES), "ap": {}}
    if truth:
        chosen = [images[image_id] for image_id in sorted(measured)]
        true, found = _by_image(truth, chosen), _by_image(predicted, chosen)
        if not predicted or any(row["category"] for row in predicted):
            named = [row for row in predicted if row["category"]]
            metrics |= {name: percent(share) for name, share in names_right(true, found).items()}
            found = _by_image(named, chosen)
            metrics |= _by_class(true, found, data.class_names())
        metrics |= _whatever_class(true, found)
        rows = _image_rows(chosen, true, found)
        metrics |= _box_iou(truth, predicted, data.numbered_boxes(), images)
    else:
        print("instances_eval: no instance masks in the ground truth; nothing to measure")
    metrics |= {"images": len(measured), "instances": len(truth), "predicted": len(predicted)}
    table = pd.DataFrame(rows, columns=INSTANCE_SCORES.names)
    write_table(out / f"{name}.parquet", table, INSTANCE_SCORES)
    write_json(out / f"{name}.json", metrics)


def _image_rows(
    images: Sequence[ImageFile], truth: Sequence[Objects], found: Sequence[Objects]
) -> list[dict[str, Any]]:
    rows = []
    for image, true, detected in zip(images, truth, found, strict=True):
        best = overlaps(detected, true).max(axis=0, initial=0.0)[~np.array(true.crowd, dtype=bool)]
        if len(best):
            iou = percent(float(best.mean()))
            rows.append({"image_id": image.image_id, "objects": len(best), "iou": iou})
    return rows


def _salient(truth: Sequence[Row], data: Dataset, images: Mapping[str, ImageFile]) -> list[Row]:
    """Those of which half or more is salient."""
    found = []
    regions: dict[str, Any] = {}
    for row in truth:
        name, size = row["image_id"], images[row["image_id"]].size
        if name not in regions:
            path = data.map_file("regions", name)
            regions[name] = np.zeros(size, dtype=bool) if path is None else read_region(path, size)
        mask = decode_rle(row["mask"], *size)
        if 2 * (mask & regions[name]).sum() >= mask.sum() > 0:
            found.append(row)
    return found


def _by_image(rows: Sequence[Row], images: Sequence[ImageFile]) -> list[Objects]:
    of_image: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        of_image[row["image_id"]].append(row)
    return [_objects(of_image[image.image_id], image) for image in images]


def _objects(rows: Sequence[Row], image: ImageFile) -> Objects:
    return Objects(
        [{"size": list(image.size), "counts": row["mask"]} for row in rows],
        [row["category"] for row in rows],
        [1.0 if row["score"] is None else float(row["score"]) for row in rows],
        [row["is_crowd"] for row in rows],
    )


def _by_class(
    truth: Sequence[Objects], found: Sequence[Objects], names: Mapping[int, str]
) -> dict[str, Any]:
    """The counts that want the right class."""
    precision = coco_precision(truth, found)
    return {
        **_coco_numbers("", list(precision.values())),
        **{f"voc_ap{at}": percent(voc_precision(truth, found, iou)) for at, iou in AT.items()},
        "ap": {names[label]: percent(values.mean()) for label, values in precision.items()},
    }


def _whatever_class(truth: Sequence[Objects], found: Sequence[Objects]) -> dict[str, Any]:
    """The counts that ask for no class."""
    true, detected = ([image.whatever_class() for image in side] for side in (truth, found))
    numbers = _coco_numbers("any_", list(coco_precision(true, detected).values()))
    for at, iou in AT.items():
        numbers[f"any_voc_ap{at}"] = percent(voc_precision(true, detected, iou))
    for name, values in (
        ("image_ap", image_precision(truth, found)),
        ("found", share_found(truth, found)),
    ):
        numbers[name] = percent(values.mean())
        numbers |= {f"{name}{at}": percent(values[THRESHOLDS.index(iou)]) for at, iou in AT.items()}
    return numbers


def _coco_numbers(prefix: str, classes: Sequence[np.ndarray[Any, Any]]) -> dict[str, Any]:
    """The means over classes of precisions at `THRESHOLDS`."""
    if not classes:
        return {}
    mean = np.mean(classes, axis=0)
    at = {f"{prefix}ap{at}": percent(mean[THRESHOLDS.index(iou)]) for at, iou in AT.items()}
    return {f"{prefix}map": percent(mean.mean()), **at}


def _box_iou(
    truth: Sequence[Row],
    predicted: Sequence[Row],
    boxes: Mapping[str, Sequence[tuple[int, Box]]],
    images: Mapping[str, ImageFile],
) -> dict[str, float | None]:
    """The mean IoU of each true mask with the mask of its box; a crowd has no box of its own."""
    corners = {number: box.corners for rows in boxes.values() for number, box in rows}
    own = {
        row["instance_id"]: row
        for row in predicted
        if corners.get(row["instance_id"]) == (row["x0"], row["y0"], row["x1"], row["y1"])
    }
    if not own:
        return {}
    values: dict[str, list[float]] = defaultdict(list)
    for row in truth:
        if row["is_crowd"] or row["instance_id"] not in corners:
            continue
        image, mask = images[row["image_id"]], own.get(row["instance_id"])
        overlap = _overlap(row, mask, image) if mask else 0.0
        x0, y0, x1, y1 = corners[row["instance_id"]]
        area = coco_mask.area({"size": list(image.size), "counts": row["mask"]})
        names = [f"_{name}" for name, (least, most) in SIZES.items() if least <= area < most]
        if (x1 - x0) * (y1 - y0) < TINY * image.size[0] * image.size[1]:
            names.append("_tiny")
        for name in ("", *names):
            values[f"box_iou{name}"].append(overlap)
    return {name: percent(mean_known(ious)) for name, ious in values.items()}


def _overlap(true: Row, detected: Row, image: ImageFile) -> float:
    return float(overlaps(_objects([detected], image), _objects([true], image))[0, 0])


if __name__ == "__main__":
    run(instances_eval)
