"""What bounded work saves and costs in labels: GrabCut's view, A2GNN's surroundings, epochs.

python -m benchmarks.savings CLONE [--images N] [--stages grabcut_seeds a2gnn_label crf_refine]

CLONE is a folder in which the line has run up to `a2gnn_label`. Every stage runs anew with the
numbers of the present params.yaml and with those below, in this process and on one thread. Only
images of the tuning part are taken, those whose hashed name is a multiple of three. Printed are CPU
seconds per photograph and the mIoU of the labels, against all classes there.
"""

import argparse
import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.line import Line
from stages.a2gnn_label import a2gnn_label
from stages.crf_refine import crf_refine
from stages.engine.command import read_params_file
from stages.grabcut_seeds import grabcut_seeds
from stages.io.data_set import Dataset
from stages.io.tables import IMAGES, read_table, write_table

#: stage -> name -> numbers other than those of params.yaml.
TRIES: dict[str, dict[str, dict[str, Any]]] = {
    "grabcut_seeds": {
        "whole image": {"margin": 1000.0, "least_side": 0, "most_side": 0},
        "as in params.yaml": {},
    },
    "a2gnn_label": {
        "all cells": {"surroundings": 0, "first_epochs": 25, "second_epochs": 25},
        "6 cells around": {"surroundings": 6, "first_epochs": 25, "second_epochs": 25},
        "6 cells around, 15 + 15 epochs": {
            "surroundings": 6,
            "first_epochs": 15,
            "second_epochs": 15,
        },
    },
    "crf_refine": {
        "free, one CRF over the image": {"inside_boxes": False},
        "as in params.yaml": {},
    },
}


def in_tuning_part(image_id: str) -> bool:
    """A third of the images, the same ones for everyone."""
    return int(hashlib.sha256(image_id.encode()).hexdigest(), 16) % 3 == 0


def tuning_part(data: Dataset, images: int, folder: Path) -> Dataset:
    """The data set with its first training images of the tuning part alone."""
    shutil.copytree(data.folder, folder)
    table = read_table(data.table("images"), IMAGES)
    chosen = table[table["image_id"].map(in_tuning_part) & (table["split"] == "train")]
    write_table(folder / "images.parquet", chosen.head(images), IMAGES)
    return Dataset(folder, data.root)


def measured(line: Line, data: Dataset, stage: str, changes: dict[str, Any], out: Path) -> None:
    """Run one stage and print what it took and what its labels are worth."""
    made, start = line.made, time.process_time()
    if stage == "grabcut_seeds":
        grabcut_seeds(line.params(grabcut_seeds, **changes), data, out)
    elif stage == "a2gnn_label":
        graphs, seeds = made / "graph_build/graphs", made / "seeds_fuse/confident"
        a2gnn_label(line.params(a2gnn_label, **changes), data, graphs, seeds, out)
    else:
        source = made / "a2gnn_label/maps"
        crf_refine(line.params(crf_refine, **changes), data, "train", source, out / "labels")
    seconds = time.process_time() - start
    labels, refined = (
        line.measure(data, out / "labels", out / name, iterations=iterations)
        for name, iterations in (("raw", 0), ("refined", line.sections["crf_refine"]["iterations"]))
    )
    per_image = seconds / len(data.images("train"))
    print(f"  {changes or 'params.yaml'}: {per_image:.2f} s, {labels:.1f}, + CRF {refined:.1f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clone", type=Path)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--stages", nargs="+", choices=list(TRIES), default=list(TRIES))
    arguments = parser.parse_args()
    os.environ["SEEDMASK_WORKERS"] = "1"
    torch.set_num_threads(1)
    line = Line(arguments.clone.resolve())
    line.sections = read_params_file(Path("params.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        data = tuning_part(line.data, arguments.images, Path(folder) / "dataset")
        os.chdir(folder)  # nothing kept of other runs is found here
        for stage in arguments.stages:
            print(stage)
            for name, changes in TRIES[stage].items():
                measured(line, data, stage, changes, Path(folder) / stage / name)


if __name__ == "__main__":
    main()
