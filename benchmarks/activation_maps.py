"""How good the activation maps of a classifier are: the label maps of the best threshold.

    ./python -m benchmarks.activation_maps FOLDER OUT [--every N] [--classes NAME ...]
        [classifier_train.method=seam ...]

FOLDER is a clone with its data/dataset. A classifier is trained with its parameters and those
given, the maps of every N-th training image are inferred below OUT, and what is there already is
not made again. At each threshold a pixel is of the class of the highest activation above it, else
background. The threshold is chosen by mIoU on the images whose id's SHA-256 is divisible by three;
the figure that counts is that of the others.
"""

import argparse
import shutil
import time
from pathlib import Path

import numpy as np

from benchmarks.line import Line
from benchmarks.parts import is_tuning, miou
from models.a2gnn.seeds import cam_labels
from models.metrics import ConfusionMatrix
from models.ops.cells import cells_to_pixels
from stages.classifier_infer import classifier_infer
from stages.classifier_train import classifier_train
from stages.engine.plain_yaml import parse_plain
from stages.io.data_set import Dataset
from stages.io.measures import labels_of, read_truth
from stages.io.score_maps import read_score_map
from stages.io.tables import IMAGES, read_table, write_table

THRESHOLDS = np.round(np.arange(0.02, 0.8, 0.02), 2)


def every_nth(data: Dataset, step: int, out: Path) -> Dataset:
    """The tables of `data` in `out`, with every `step`-th of its training images."""
    out.mkdir(parents=True, exist_ok=True)
    for file in data.files:
        shutil.copy(file, out)
    part = Dataset(out, data.root)
    table = read_table(data.table("images"), IMAGES)
    write_table(part.table("images"), table[table["split"] == "train"].iloc[::step], IMAGES)
    return part


def main() -> None:
    """Train, infer, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="a clone with its data/dataset")
    parser.add_argument("out", type=Path)
    parser.add_argument("--every", type=int, default=1, help="measure every so many-th image")
    parser.add_argument("--classes", nargs="*", default=[], help="names of classes, besides all")
    parser.add_argument("overrides", nargs="*", help="section.key=value")
    arguments = parser.parse_intermixed_args()
    line, out = Line(arguments.folder), arguments.out
    for override in arguments.overrides:
        key, value = override.split("=", 1)
        section, name = key.split(".")
        line.sections[section][name] = parse_plain(value, override)
    start = time.process_time()
    weights = out / "train/weights.pt"
    if not weights.exists():
        classifier_train(line.params(classifier_train), line.data, weights.parent)
    print(f"training: {time.process_time() - start:.0f} CPU-s")
    part = every_nth(line.data, arguments.every, out / "dataset")
    classifier_infer(line.params(classifier_infer), part, weights, out / "infer")

    names = line.data.class_names()
    groups = {"all classes": list(names)}
    if arguments.classes:
        groups[f"{len(arguments.classes)} classes"] = labels_of(
            arguments.classes, names, "--classes"
        )
    parts: dict[bool, list[list[ConfusionMatrix]]] = {True: [], False: []}
    for image in part.images("train"):
        truth = read_truth(line.data.folder / "ground_truth/semantic", image.image_id)
        if truth is None:
            continue
        found = read_score_map(out / f"infer/maps/{image.image_id}.npz", image.size)
        scores = cells_to_pixels(found.scores, image.size, found.stride)
        rows = []
        for threshold in THRESHOLDS:
            matrix = ConfusionMatrix(max(names) + 1)
            matrix.update(truth, cam_labels(scores, found.classes.tolist(), threshold))
            rows.append(matrix)
        parts[is_tuning(image.image_id)].append(rows)
    for group, chosen in groups.items():
        tuned, rest = (
            [
                miou(np.sum([rows[k].counts for rows in parts[tuning]], axis=0), chosen)
                for k in range(len(THRESHOLDS))
            ]
            for tuning in (True, False)
        )
        best = int(np.argmax(tuned))
        print(
            f"{group}: threshold {THRESHOLDS[best]:.2f}, {len(parts[True])} tuning images "
            f"{tuned[best]:.1f}, {len(parts[False])} others {rest[best]:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
