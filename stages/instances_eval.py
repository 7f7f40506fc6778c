"""Instance masks of the training images against ground truth: COCO's average precision.

pycocotools does the counting; all values in percent. A data set without instance masks (a VOC
folder that has no SegmentationObject) gets null values and a note instead of an error.
"""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from stages.io.command import run
from stages.io.files import write_json
from stages.io.samples import ImageFile, images_of_split
from stages.io.scores import percent, read_class_names
from stages.io.tables import INSTANCES, read_rows


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """The stage has no numbers."""


def instances_eval(
    params: Params,
    images: Path,
    categories: Path,
    ground_truth: Path,
    instances: Path,
    out: Path,
) -> None:
    """Measure instance masks; writes out/metrics.json.

    Only images that have instances with masks in the ground truth are measured. `map` is the mean
    over IoU 0.50:0.05:0.95 and over classes, `ap50` and `ap75` those at one IoU, `ap` per class.

    Args:
        params: none.
        images: images.parquet.
        categories: categories.parquet.
        ground_truth: true instances (`INSTANCES`); rows without a mask are left out.
        instances: the instances to measure (`INSTANCES`, all with a mask).
        out: folder.

    Raises:
        InputError: an unreadable table.
    """
    names = read_class_names(categories)
    samples = {sample.image_id: sample for sample in images_of_split(images, Path(), "train")}
    truth = [
        row
        for row in read_rows(ground_truth, INSTANCES)
        if row["mask"] is not None and row["image_id"] in samples
    ]
    measured = {row["image_id"] for row in truth}
    found = [
        row
        for row in read_rows(instances, INSTANCES)
        if row["mask"] is not None and row["image_id"] in measured
    ]
    metrics: dict[str, Any] = {"map": None, "ap50": None, "ap75": None, "ap": {}}
    if truth:
        chosen = [samples[image_id] for image_id in sorted(measured)]
        metrics |= _average_precision(truth, found, chosen, names)
    else:
        print("instances_eval: no instance masks in the ground truth; nothing to measure")
    metrics |= {"images": len(measured), "instances": len(truth), "predicted": len(found)}
    write_json(out / "metrics.json", metrics)


def _average_precision(
    truth: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
    samples: Sequence[ImageFile],
    names: Mapping[int, str],
) -> dict[str, Any]:
    labels = sorted({row["category"] for row in truth} | {row["category"] for row in found})
    number = {sample.image_id: index for index, sample in enumerate(samples, start=1)}
    by_id = {sample.image_id: sample for sample in samples}
    with redirect_stdout(io.StringIO()):  # pycocotools narrates
        evaluation = COCOeval(
            _as_coco(truth, by_id, number, labels), _as_coco(found, by_id, number, labels), "segm"
        )
        evaluation.evaluate()
        evaluation.accumulate()
    # [IoU threshold, recall, class, area range, detections]: all areas, 100 detections an image
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    precision = np.where(precision < 0, np.nan, precision)  # -1: the class is not in the truth
    present = {row["category"] for row in truth if not row["is_crowd"]}
    return {
        "map": _mean(precision),
        "ap50": _mean(precision[0]),
        "ap75": _mean(precision[5]),
        "ap": {
            names[label]: _mean(precision[:, :, index])
            for index, label in enumerate(labels)
            if label in present
        },
    }


def _as_coco(
    rows: Sequence[Mapping[str, Any]],
    samples: Mapping[str, ImageFile],
    number: Mapping[str, int],
    labels: Sequence[int],
) -> COCO:
    annotations = []
    for index, row in enumerate(rows, start=1):  # an id of 0 would count as "not matched"
        sample = samples[row["image_id"]]
        rle = {"size": list(sample.size), "counts": row["mask"]}
        annotations.append(
            {
                "id": index,
                "image_id": number[row["image_id"]],
                "category_id": row["category"],
                "segmentation": rle,
                "area": float(coco_mask.area(rle)),
                "iscrowd": int(row["is_crowd"]),
                "score": 1.0 if row["score"] is None else row["score"],
            }
        )
    coco = COCO()
    coco.dataset = {
        "images": [
            {"id": number[s.image_id], "height": s.height, "width": s.width}
            for s in samples.values()
        ],
        "categories": [{"id": label} for label in labels],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _mean(values: np.ndarray[Any, Any]) -> float | None:
    known = values[~np.isnan(values)]
    return percent(float(known.mean())) if known.size else None


if __name__ == "__main__":
    run(instances_eval)
