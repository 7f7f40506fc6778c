"""The default graph with several seeds, each in a clone of its own; the mean ladder.

python -m benchmarks.ladder_seeds --seeds 0 1 2 [--folder FOLDER] [section.key=value ...]

Every section that has a seed gets the same one, so data, networks and labels are all drawn anew.
Clones are kept in FOLDER, and a second call only measures what is there. The rows "..., free" are
those of labels whose classes are not kept inside their own boxes, made of the same probabilities.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.line import Line
from stages.engine.command import read_params_file

#: What the labels are made of where classes are kept inside their boxes; the CRF does so for all.
SOURCES = {
    "grabcut": "grabcut_seeds/labels",
    "fused": "seeds_fuse/fused",
    "confident": "seeds_fuse/confident",
    "walk": "walk_label/maps",
    "a2gnn": "a2gnn_label/maps",
    "average": "maps_average/maps",
}


def run_seed(clone: Path, seed: int, overrides: Sequence[str]) -> float:
    """Clone HEAD, set every seed, run the graph; returns the run's wall time in seconds."""
    if not clone.exists():
        subprocess.run(["git", "clone", "--quiet", str(Path.cwd()), str(clone)], check=True)
    sections = read_params_file(clone / "params.yaml")
    seeded = [f"{name}.seed={seed}" for name, section in sections.items() if "seed" in section]
    python = [sys.executable, "-m", "pipelines"]
    environment = os.environ | {"PYTHONPATH": ""}
    use = [*python, "use", "default", *seeded, *overrides]
    subprocess.run(use, cwd=clone, env=environment, check=True, stdout=subprocess.DEVNULL)
    start = time.monotonic()
    log = clone.with_suffix(".log")
    with log.open("w") as stream:
        code = subprocess.run(
            [*python, "run", "--local"], cwd=clone, env=environment, stdout=stream, check=False
        ).returncode
    if code:
        raise SystemExit(f"seed {seed} failed: see {log}")
    return time.monotonic() - start


def read_ladder(clone: Path) -> dict[str, dict[str, float]]:
    """The numbers of every label source and network of one clone."""
    rows = {}
    for path in sorted((clone / "data/labels_eval").rglob("*.json")):
        numbers = json.loads(path.read_text())
        rows[path.stem] = {k: v for k, v in numbers.items() if isinstance(v, int | float)}
    return rows


def read_free_ladder(clone: Path, out: Path) -> dict[str, dict[str, float]]:
    """The mIoU of every label source with its classes wherever they are likeliest.

    Args:
        clone: of a finished run.
        out: folder for the labels.
    """
    line = Line(clone)
    rows = {}
    for name, source in SOURCES.items():
        ways: dict[str, dict[str, object]] = {f"{name}_crf": {"inside_boxes": False}}
        if source.endswith("/maps"):  # the labels of the others are not kept inside boxes
            ways[name] = {"inside_boxes": False, "iterations": 0}
        for row, changes in ways.items():
            miou = line.measure(line.data, line.made / source, out / row, **changes)
            rows[f"{row}, free"] = {"miou": miou}
    return rows


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, help="where the clones go; default: a temporary one")
    parser.add_argument("overrides", nargs="*", help="section.key=value")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="ladder-"))
    ladders = []
    for seed in arguments.seeds:
        clone = folder / f"seed{seed}"
        seconds = run_seed(clone, seed, arguments.overrides)
        free = read_free_ladder(clone, folder / f"free{seed}")
        ladders.append(read_ladder(clone) | free)
        print(f"seed {seed}: {seconds:.0f} s", flush=True)
    header = "".join(f"{f'seed {seed}':>9}" for seed in arguments.seeds)
    for field in ("miou", "miou_crf", "precision", "coverage"):
        print(f"\n{field:24}{'mean':>8}{header}")
        for name in ladders[0]:
            values = [ladder.get(name, {}).get(field) for ladder in ladders]
            if all(value is not None for value in values):
                numbers = "".join(f"{value:9.1f}" for value in values)
                print(f"{name:24}{np.mean(np.array(values)):8.1f}{numbers}")


if __name__ == "__main__":
    main()
