"""Label sources of a run on the part of its images that no choice was made on, with intervals.

    ./python -m benchmarks.parts FOLDER --labels GrabCut=data/grabcut_seeds/labels ...
        [--classes background cat ...] [--part tuning|rest|all]
    ./python -m benchmarks.parts FOLDER --instances updated=data/cgcnet_train/labels.parquet ...
        [--objects salient] [--split val] [--part tuning|rest|all]

Numbers were chosen on the images whose id's SHA-256 is divisible by three (`tuning`); the figures
that count are those of the others (`rest`). For each source: mIoU of all classes and of `--classes`
from one confusion matrix; box IoU, that is the mean IoU of every true object with the mask that the
source gives its box (stages/instances_split.py), by COCO's sizes and for boxes below 2 % of their
image, of which it counts those without any pixel. Brackets: 95 % of 2,000 bootstrap samples of
images; the gain over the first source is resampled in pairs. Tables of instances are measured as
`instances_eval` does.
"""

import argparse
import hashlib
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pycocotools import mask as coco_mask

from models.a2gnn.instances import split_instances
from models.metrics import ConfusionMatrix
from stages.engine.command import read_params_file
from stages.instances_eval import SIZES, TINY, instances_eval
from stages.instances_eval import Params as EvalParams
from stages.io.data_set import Dataset, Split
from stages.io.label_maps import read_label_map
from stages.io.measures import labels_of, read_truth
from stages.io.tables import INSTANCES, read_rows, write_table

Counts = npt.NDArray[np.int64]
SAMPLES = 2000
SHOWN = (
    "map", "any_map", "any_ap50", "any_ap70", "image_ap", "found", "box_iou", "box_iou_small",
    "box_iou_medium", "box_iou_large", "box_iou_tiny", "instances", "named", "named_several",
    "noise_found",
)  # fmt: skip


def is_tuning(image_id: str) -> bool:
    """Whether numbers may be chosen on this image."""
    return int(hashlib.sha256(image_id.encode()).hexdigest(), 16) % 3 == 0


def confusions(data: Dataset, ids: list[str], labels: Path, classes: int) -> Counts:
    """[images, true classes, classes] pixels of every image that has ground truth."""
    matrices = []
    for image_id in ids:
        truth = read_truth(data.folder / "ground_truth/semantic", image_id)
        matrix = ConfusionMatrix(classes)
        if truth is not None:
            matrix.update(truth, read_label_map(labels / f"{image_id}.png"))
        matrices.append(matrix.counts)
    return np.stack(matrices)


def miou(counts: Counts, labels: list[int]) -> float:
    """The mean IoU in percent of those of `labels` that occur."""
    matrix = ConfusionMatrix(counts.shape[0])
    matrix.counts = counts
    return 100 * matrix.miou(labels)


def box_overlaps(data: Dataset, ids: set[str], labels: Path) -> dict[str, list[tuple[str, float]]]:
    """By group of sizes: image and IoU of every true object with the mask of its box."""
    truths: dict[str, dict[int, str]] = defaultdict(dict)
    for row in read_rows(data.folder / "ground_truth/instances.parquet", INSTANCES):
        if row["mask"] is not None and not row["is_crowd"]:
            truths[row["image_id"]][row["instance_id"]] = row["mask"]
    groups: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for image_id, numbered in data.numbered_boxes().items():
        if image_id not in ids or image_id not in truths:
            continue
        label_map = read_label_map(labels / f"{image_id}.png")
        boxes = [box for _, box in numbered]
        corners, categories = [box.corners for box in boxes], [box.category for box in boxes]
        for (number, box), instance in zip(
            numbered, split_instances(label_map, corners, categories), strict=True
        ):
            true = {"size": list(label_map.shape), "counts": truths[image_id].get(number)}
            if true["counts"] is None:
                continue
            mask = coco_mask.encode(np.asfortranarray(instance.mask, dtype=np.uint8))
            overlap = float(coco_mask.iou([mask], [true], [0])[0, 0])
            names = [
                name
                for name, (least, most) in SIZES.items()
                if least <= coco_mask.area(true) < most
            ]
            if (box.x1 - box.x0) * (box.y1 - box.y0) < TINY * label_map.size:
                names.append("tiny")
                groups["emptied"] += [(image_id, 0.0)] * (not instance.is_seen)
            for name in ("all", *names):
                groups[name].append((image_id, overlap))
    return groups


def instance_numbers(
    data: Dataset, ids: list[str], split: Split, instances: Path, objects: Literal["all", "salient"]
) -> dict[str, float]:
    """The numbers of `instances_eval` on these images alone."""
    truth = data.folder / "ground_truth/instances.parquet"
    rows = [row for row in read_rows(truth, INSTANCES) if row["image_id"] in set(ids)]
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "truth.parquet"
        write_table(own, pd.DataFrame(rows, columns=INSTANCES.names), INSTANCES)
        instances_eval(EvalParams(), data, split, own, instances, Path(folder), "part", objects)
        found: dict[str, float] = json.loads((Path(folder) / "part.json").read_bytes())
    return found


def _interval(values: list[float]) -> str:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return f"[{low:.1f}, {high:.1f}]"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="a clone in which the line has run")
    parser.add_argument("--labels", nargs="+", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--instances", nargs="+", default=[], metavar="NAME=TABLE")
    parser.add_argument("--objects", choices=["all", "salient"], default="all")
    parser.add_argument("--split", choices=["train", "val"], default="train")
    parser.add_argument("--classes", nargs="*", default=[], help="names of classes, besides all")
    parser.add_argument("--part", choices=["tuning", "rest", "all"], default="rest")
    arguments = parser.parse_args()
    root = read_params_file(arguments.folder / "params.yaml")["dataset"]["root"]
    data = Dataset(arguments.folder / "data/dataset", arguments.folder / root)
    names = data.class_names()
    ids = [
        image.image_id
        for image in data.images(arguments.split)
        if arguments.part == "all" or is_tuning(image.image_id) == (arguments.part == "tuning")
    ]
    groups = {"all classes": list(names)}
    if arguments.classes:
        chosen = labels_of(arguments.classes, names, "--classes")
        groups[f"{len(chosen)} classes"] = chosen
    drawn = np.random.default_rng(0).integers(len(ids), size=(SAMPLES, len(ids)))
    print(f"{len(ids)} images ({arguments.part}), {len(names)} classes")
    first: dict[str, list[float]] = {}
    for source in arguments.labels:
        name, folder = source.split("=", 1)
        labels = arguments.folder / folder
        counts = confusions(data, ids, labels, max(names) + 1)
        for group, chosen in groups.items():
            values = [miou(counts[rows].sum(axis=0), chosen) for rows in drawn]
            base = first.setdefault(group, values)
            gain = _interval([value - other for value, other in zip(values, base, strict=True)])
            value = miou(counts.sum(axis=0), chosen)
            print(f"{name}: {group} {value:.1f} {_interval(values)}, gain {gain}", flush=True)
        overlaps = box_overlaps(data, set(ids), labels)
        if overlaps["all"]:
            means = [
                f"{group} {100 * np.mean([value for _, value in overlaps[group]]):.1f}"
                for group in ("all", *SIZES, "tiny")
                if overlaps[group]
            ]
            by_image: dict[str, list[float]] = defaultdict(list)
            for image_id, value in overlaps["all"]:
                by_image[image_id].append(value)
            sums = np.array([sum(by_image[image_id]) for image_id in ids])
            sizes = np.array([len(by_image[image_id]) for image_id in ids])
            values = list(100 * sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
            base = first.setdefault("boxes", values)
            gain = _interval([value - other for value, other in zip(values, base, strict=True)])
            empty = f"{len(overlaps['emptied'])} of {len(overlaps['tiny'])} tiny boxes empty"
            print(f"{name}: box IoU {', '.join(means)} {_interval(values)}, gain {gain}; {empty}")
    for source in arguments.instances:
        name, table = source.split("=", 1)
        numbers = instance_numbers(
            data, ids, arguments.split, arguments.folder / table, arguments.objects
        )
        told = [f"{key} {numbers[key]}" for key in SHOWN if numbers[key] is not None]
        print(f"{name}: {', '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
