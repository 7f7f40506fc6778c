"""Names of salient instances by every method and number: tables 1a and 2 of Fan et al. (2018).

    ./python -m benchmarks.tag_tables FOLDER [--part tuning|rest|all] [--batch 400] [--curves CSV]

In a clone in which the line has run up to `feature_infer`: how many masks are named right
(`INSTANCE_MEASURES` of stages/io/measures.py) and the mIoU of the label maps, for tags at random,
by attention alone, from the graph without and with filtering, in batches, and over beta and r.
Numbers may be chosen on the tuning part alone (benchmarks/parts.py). `--curves` writes beta and r
as CSV: number, value, named, miou.
"""

import argparse
import csv
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.parts import confusions, instance_numbers, is_tuning, miou
from stages.engine.command import parse_section, read_params_file
from stages.io.data_set import Dataset
from stages.tag_assign import Method, Params, tag_assign

BETAS = (0.0, 3.0, 10.0, 30.0, 90.0, 300.0)
RETENTIONS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)
SEEDS = 5  # of the random tags
NAMED = ("named", "named_several", "noise_found")


def rows(params: Params, batch: int) -> Iterator[tuple[str, Method, Params]]:
    """Name, method and numbers of each row."""
    for seed in range(SEEDS):
        yield f"random {seed}", "random", replace(params, seed=seed)
    yield "attention", "attention", params
    yield "graph", "unfiltered", params
    yield "graph, filtered", "graph", params
    yield f"batches of {batch}", "graph", replace(params, batch=batch)
    for beta in BETAS:
        yield f"beta {beta:g}", "graph", replace(params, beta=beta)
    for retention in RETENTIONS:
        yield f"r {retention:g}", "graph", replace(params, retention=retention)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="a clone in which the line has run")
    parser.add_argument("--part", choices=["tuning", "rest", "all"], default="rest")
    parser.add_argument("--batch", type=int, default=400, help="instances per problem")
    parser.add_argument("--curves", type=Path, help="where beta and r go as CSV")
    arguments = parser.parse_args()
    place: Path = arguments.folder / "data"
    sections = read_params_file(arguments.folder / "params.yaml")
    params: Params = parse_section(Params, sections["tag_assign"], "params.yaml: tag_assign")
    data = Dataset(place / "dataset", kinds=tuple(sections["seeds_fuse"]["labels"]))
    classes = max(data.class_names()) + 1
    ids = [
        image.image_id
        for image in data.images("train")
        if arguments.part == "all" or is_tuning(image.image_id) == (arguments.part == "tuning")
    ]
    print(f"{len(ids)} images ({arguments.part})")
    curves = [("number", "value", "named", "miou")]
    for name, method, numbers in rows(params, arguments.batch):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            tag_assign(
                numbers,
                data,
                place / "instances_select/instances.parquet",
                place / "feature_infer/features.npz",
                place / "classifier_infer/maps",
                method,
                out,
            )
            counts = confusions(data, ids, out / "labels", classes).sum(axis=0)
            found = instance_numbers(data, ids, "train", out / "salient.parquet", "all")
            gap = json.loads((out / "metrics.json").read_bytes())["gap"]
        value = miou(counts, list(range(classes)))
        told = ", ".join(f"{key} {found[key]}" for key in NAMED)
        print(f"{name:18} mIoU {value:.1f}, {told}, AP50 {found['ap50']}, gap {gap}", flush=True)
        number, _, setting = name.partition(" ")
        if number in ("beta", "r"):
            curves.append((number, setting, f"{found['named']}", f"{value:.2f}"))
    if arguments.curves:
        with arguments.curves.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(curves)


if __name__ == "__main__":
    main()
