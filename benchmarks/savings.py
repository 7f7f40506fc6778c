"""What bounded work saves, and what it costs in labels.

python -m benchmarks.savings CLONE [--images N] [--stages STAGE ...]

CLONE is a folder in which the line has run up to `a2gnn_label`. Each stage runs anew with the
present params.yaml and the changes below, one after the other in this process, on one thread, on
images of the tuning part alone (benchmarks.parts). Printed are CPU seconds per photograph and the
mIoU over all classes of the labels, raw and after the CRF.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.line import Line
from benchmarks.parts import is_tuning
from stages.a2gnn_label import a2gnn_label
from stages.engine.command import read_params_file
from stages.grabcut_seeds import grabcut_seeds
from stages.io.data_set import Dataset
from stages.io.tables import IMAGES, read_table, write_table

#: stage -> changes, what was before first.
CHANGES: dict[str, tuple[dict[str, Any], ...]] = {
    "grabcut_seeds": (
        {"margin": 1000.0, "least_side": 0, "most_side": 0},
        {"margin": 1.0, "least_side": 192, "most_side": 384},
    ),
    "a2gnn_label": (
        {"surroundings": 0, "first_epochs": 25, "second_epochs": 25},
        {"surroundings": 6, "first_epochs": 25, "second_epochs": 25},
        {"surroundings": 6, "first_epochs": 15, "second_epochs": 15},
    ),
}


def tuning_part(data: Dataset, images: int, folder: Path) -> Dataset:
    """The data set with the first training images of the tuning part alone."""
    shutil.copytree(data.folder, folder)
    table = read_table(data.table("images"), IMAGES)
    chosen = table[table["image_id"].map(is_tuning) & (table["split"] == "train")]
    write_table(folder / "images.parquet", chosen.head(images), IMAGES)
    return Dataset(folder, data.root)


def measure(line: Line, stage: str, changes: dict[str, Any], out: Path) -> str:
    """Run one stage; what it took and what its labels are worth."""
    data, start = line.data, time.process_time()
    if stage == "grabcut_seeds":
        grabcut_seeds(line.params(grabcut_seeds, **changes), data, out)
        source = out / "labels"
    else:
        graphs, seeds = line.made / "graph_build/graphs", line.made / "seeds_fuse/confident"
        a2gnn_label(line.params(a2gnn_label, **changes), data, graphs, seeds, out)
        source = out / "maps"
    seconds = (time.process_time() - start) / len(data.images("train"))
    raw = line.measure(data, source, out / "raw", iterations=0)
    refined = line.measure(data, source, out / "refined")
    return f"{seconds:.2f} s, mIoU {raw:.1f}, + CRF {refined:.1f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clone", type=Path)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--stages", nargs="+", choices=list(CHANGES), default=list(CHANGES))
    arguments = parser.parse_args()
    os.environ["SEEDMASK_WORKERS"] = "1"
    torch.set_num_threads(1)
    line = Line(arguments.clone.resolve())
    line.sections = read_params_file(Path("params.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        line.data = tuning_part(line.data, arguments.images, Path(folder) / "dataset")
        os.chdir(folder)  # so that nothing kept of other runs is used
        for stage in arguments.stages:
            for number, changes in enumerate(CHANGES[stage]):
                values = ", ".join(f"{name} {value}" for name, value in changes.items())
                result = measure(line, stage, changes, Path(folder) / f"{stage}_{number}")
                print(f"{stage}: {values}: {result}", flush=True)


if __name__ == "__main__":
    main()
