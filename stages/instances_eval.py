"""Instance masks of the training images against ground truth: average precision and box IoU.

Average precision is COCO's (pycocotools does the counting) and VOC's. Box IoU is for masks of given
boxes: each true mask is compared with the mask of its own box, so that neither scores nor missed
objects play a part, and it can be held beside networks that take a true box as their prompt. All
values in percent. A data set without instance masks (a VOC folder that has no SegmentationObject)
gets null values and a note instead of an error.
"""

import io
import math
from collections import defaultdict
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

from models.average_precision import voc_average_precision, voc_hits
from stages.engine.command import run
from stages.engine.files import write_json
from stages.io.data_set import Box, Dataset, ImageFile
from stages.io.measures import percent
from stages.io.tables import INSTANCES, read_rows

Row = Mapping[str, Any]
#: By name in metrics.json: COCO's at one IoU as the index in its 0.50:0.05:0.95; VOC's as the IoU.
COCO_AT = {"ap50": 0, "ap70": 4, "ap75": 5}
VOC_AT = {"voc_ap50": 0.5, "voc_ap70": 0.7, "voc_ap75": 0.75}
#: COCO's sizes, pixels of the true mask; and the objects whose box is a small share of its image.
SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, math.inf)}
TINY = 0.02


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """The stage has no numbers."""


def instances_eval(
    params: Params,
    data: Dataset,
    ground_truth: Path,
    instances: Path,
    out: Path,
) -> None:
    """Measure instance masks; writes out/metrics.json.

    Only images that have instances with masks in the ground truth are measured. `map` is the mean
    over IoU 0.50:0.05:0.95 and over classes, `ap50`, `ap70` and `ap75` those at one IoU, `ap` per
    class, all as COCO counts; `voc_ap50` and so on as VOC does (models/average_precision.py).
    `box_iou` is the mean IoU of the true masks with those of their boxes, by COCO's sizes too and
    for boxes below 2 % of their image (`tiny`), a box without a mask counting 0; null where the
    instances are not those of the data set's boxes.

    Args:
        params: none.
        data: the data set.
        ground_truth: true instances (`INSTANCES`); rows without a mask are left out.
        instances: the instances to measure (`INSTANCES`, all with a mask).
        out: folder.

    Raises:
        InputError: an unreadable table.
    """
    names = data.class_names()
    images = {image.image_id: image for image in data.images("train")}
    truth = [
        row
        for row in read_rows(ground_truth, INSTANCES)
        if row["mask"] is not None and row["image_id"] in images
    ]
    measured = {row["image_id"] for row in truth}
    predicted = [
        row
        for row in read_rows(instances, INSTANCES)
        if row["mask"] is not None and row["image_id"] in measured
    ]
    metrics: dict[str, Any] = {"map": None, **dict.fromkeys([*COCO_AT, *VOC_AT]), "ap": {}}
    metrics |= dict.fromkeys(["box_iou", *(f"box_iou_{name}" for name in (*SIZES, "tiny"))])
    if truth:
        measured_images = [images[image_id] for image_id in sorted(measured)]
        metrics |= _average_precision(truth, predicted, measured_images, names)
        metrics |= _voc_average_precision(truth, predicted, images)
        metrics |= _box_iou(truth, predicted, data.numbered_boxes(), images)
    else:
        print("instances_eval: no instance masks in the ground truth; nothing to measure")
    metrics |= {"images": len(measured), "instances": len(truth), "predicted": len(predicted)}
    write_json(out / "metrics.json", metrics)


def _average_precision(
    truth: Sequence[Row],
    predicted: Sequence[Row],
    images: Sequence[ImageFile],
    names: Mapping[int, str],
) -> dict[str, Any]:
    labels = sorted({row["category"] for row in truth} | {row["category"] for row in predicted})
    number = {image.image_id: index for index, image in enumerate(images, start=1)}
    by_id = {image.image_id: image for image in images}
    with redirect_stdout(io.StringIO()):  # pycocotools narrates
        evaluation = COCOeval(
            _as_coco(truth, by_id, number, labels),
            _as_coco(predicted, by_id, number, labels),
            "segm",
        )
        evaluation.evaluate()
        evaluation.accumulate()
    # [IoU threshold, recall, class, area range, detections]: all areas, 100 detections an image
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    precision = np.where(precision < 0, np.nan, precision)  # -1: the class is not in the truth
    present = {row["category"] for row in truth if not row["is_crowd"]}
    return {
        "map": _mean(precision),
        **{name: _mean(precision[index]) for name, index in COCO_AT.items()},
        "ap": {
            names[label]: _mean(precision[:, :, index])
            for index, label in enumerate(labels)
            if label in present
        },
    }


def _voc_average_precision(
    truth: Sequence[Row], predicted: Sequence[Row], images: Mapping[str, ImageFile]
) -> dict[str, float | None]:
    """The means over the classes of the truth; its crowds are what VOC calls difficult."""
    groups: dict[tuple[int, str], tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for side, rows in enumerate((truth, predicted)):
        for row in rows:
            groups[row["category"], row["image_id"]][side].append(row)
    overlaps = {key: _overlaps(*rows, images[key[1]]) for key, rows in groups.items()}
    result = {}
    for name, threshold in VOC_AT.items():
        values = []
        for label in {row["category"] for row in truth}:
            scores, hits, objects = [np.zeros(0)], [np.zeros(0, np.int8)], 0
            for key, (true, detected) in groups.items():
                if key[0] == label:
                    crowd = np.array([row["is_crowd"] for row in true], dtype=bool)
                    scores.append(np.array([_score(row) for row in detected]))
                    hits.append(voc_hits(overlaps[key], scores[-1], crowd, threshold))
                    objects += int((~crowd).sum())
            joined = np.concatenate(scores), np.concatenate(hits)
            values.append(voc_average_precision(*joined, objects))
        result[name] = _mean(np.array(values))
    return result


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
        overlap = float(_overlaps([row], [mask], image)[0, 0]) if mask else 0.0
        x0, y0, x1, y1 = corners[row["instance_id"]]
        area = coco_mask.area({"size": list(image.size), "counts": row["mask"]})
        names = [f"_{name}" for name, (least, most) in SIZES.items() if least <= area < most]
        if (x1 - x0) * (y1 - y0) < TINY * image.size[0] * image.size[1]:
            names.append("_tiny")
        for name in ("", *names):
            values[f"box_iou{name}"].append(overlap)
    return {name: _mean(np.array(overlaps)) for name, overlaps in values.items()}


def _overlaps(
    true: Sequence[Row], detected: Sequence[Row], image: ImageFile
) -> np.ndarray[Any, Any]:
    """IoU of the detected masks with the true ones, [detected, true]."""
    if not true or not detected:
        return np.zeros((len(detected), len(true)))
    masks = [
        [{"size": list(image.size), "counts": row["mask"]} for row in rows]
        for rows in (detected, true)
    ]
    return np.asarray(coco_mask.iou(*masks, [0] * len(true)))


def _score(row: Row) -> float:
    return 1.0 if row["score"] is None else float(row["score"])


def _as_coco(
    rows: Sequence[Row],
    images: Mapping[str, ImageFile],
    number: Mapping[str, int],
    labels: Sequence[int],
) -> COCO:
    annotations = []
    for index, row in enumerate(rows, start=1):  # an id of 0 would count as "not matched"
        image = images[row["image_id"]]
        rle = {"size": list(image.size), "counts": row["mask"]}
        annotations.append(
            {
                "id": index,
                "image_id": number[row["image_id"]],
                "category_id": row["category"],
                "segmentation": rle,
                "area": float(coco_mask.area(rle)),
                "iscrowd": int(row["is_crowd"]),
                "score": _score(row),
            }
        )
    coco = COCO()
    coco.dataset = {
        "images": [
            {"id": number[s.image_id], "height": s.height, "width": s.width}
            for s in images.values()
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
