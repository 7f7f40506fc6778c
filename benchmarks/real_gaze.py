"""How far ranks from gaze agree with what observers said, on recorded gaze.

    ./python -m benchmarks.real_gaze prepare PACK ROOT    # PASCAL-S as a data set in COCO's format
    ./python -m benchmarks.real_gaze measure DATASET ROOT [--part tuning|rest|all] [--sigma 0.03]

`prepare` takes images/, fixations.json and instances.json, whose annotations say in `observers` how
many picked the object, and writes these as ground_truth/ranks.csv. `measure` takes the folder that
the stage dataset made of it (DATASET) and its images: for every image with two objects of different
true rank, which share of these pairs is ordered right by the gaze inside the masks, by rankers that
see no gaze, and how often two halves of the subjects agree, the ceiling. Brackets: 95 % of 2,000
bootstrap samples of images. Numbers were chosen on `tuning`; `rest` counts (benchmarks/parts.py).
"""

import argparse
import csv
import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.parts import is_tuning
from models.irsr.curation import Looks, fixation_map, halves_agree
from models.irsr.ranking_scores import agreeing_pairs
from models.irsr.simple_rankers import by_area, by_centrality, by_mean, spectral_residual
from stages.io.data_set import Dataset
from stages.io.label_maps import decode_rle
from stages.io.objects import objects_by_image
from stages.io.ranked import fixations_by_image

SAMPLES = 2000
Pairs = dict[str, list[tuple[float, int]]]


def prepare(pack: Path, root: Path) -> None:
    """PACK as a data set below `root`."""
    shutil.copytree(pack / "images", root / "images", dirs_exist_ok=True)
    shutil.copy(pack / "fixations.json", root / "fixations.json")
    (root / "annotations").mkdir(exist_ok=True)
    shutil.copy(pack / "instances.json", root / "annotations/instances.json")
    content = json.loads((pack / "instances.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    picked: dict[int, dict[int, int]] = defaultdict(dict)
    for entry in content["annotations"]:
        picked[entry["image_id"]][entry["id"]] = entry["observers"]
    (root / "ground_truth").mkdir(exist_ok=True)
    with (root / "ground_truth/ranks.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "object", "rank"))
        for image, own in picked.items():
            for key, count in own.items():
                better = sum(other > count for other in own.values())
                writer.writerow((names[image], key, 1 + better))


def measure(data: Dataset, part: str, sigma: float) -> Pairs:
    """(pairs ordered right, pairs) of every image, by ranker."""
    gaze = fixations_by_image(data)
    true = objects_by_image(data.folder / "ground_truth/instances.parquet")
    found: Pairs = defaultdict(list)
    for image in [*data.images("train"), *data.images("val")]:
        if part != "all" and is_tuning(image.image_id) != (part == "tuning"):
            continue
        rows = [row for row in true.get(image.image_id, []) if row["rank"] is not None]
        if len({row["rank"] for row in rows}) < 2 or image.image_id not in gaze:
            continue
        masks = [decode_rle(row["mask"], *image.size) for row in rows]
        wanted = [-row["rank"] for row in rows]
        _, samples = gaze[image.image_id]
        looks = Looks(samples[:, 0].astype(np.int64), samples[:, 1:].astype(np.int64))
        for name, values in rankings(image, masks, looks, sigma).items():
            found[name].append(agreeing_pairs(np.arange(len(masks)), values, wanted))
        pixels = sigma * max(image.size)
        for kind in ("max", "fixations"):
            name = f"halves, {kind}"
            found[name].append(halves_agree(masks, looks, measure=kind, sigma=pixels))  # type: ignore[arg-type]
    return found


def rankings(image: Any, masks: list[Any], looks: Looks, sigma: float) -> dict[str, list[float]]:
    """How salient each mask is, by ranker."""
    density = fixation_map(looks, image.size, sigma * max(image.size))
    x, y = looks.pixels.T
    inside = [mask[y, x] for mask in masks]
    largest = [float(density[mask].max()) for mask in masks]
    counts = [float(np.count_nonzero(own)) for own in inside]
    return {
        "gaze, max": largest,
        "gaze, mean": by_mean(masks, density),
        "gaze, fixations": counts,
        "the same, then max": [n + 0.5 * most for n, most in zip(counts, largest, strict=True)],
        "gaze, subjects": [float(len(np.unique(looks.whose[own]))) for own in inside],
        "area": by_area(masks),
        "centrality": by_centrality(masks),
        "spectral residual": by_mean(masks, spectral_residual(image.read())),
    }


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("command", choices=("prepare", "measure"))
    parser.add_argument("first", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("--part", choices=("tuning", "rest", "all"), default="rest")
    parser.add_argument("--sigma", type=float, default=0.03)
    asked = parser.parse_args()
    if asked.command == "prepare":
        prepare(asked.first, asked.root)
        return
    found = measure(Dataset(asked.first, asked.root), asked.part, asked.sigma)
    rng = np.random.default_rng(0)
    for name, pairs in found.items():
        table = np.array(pairs)
        drawn = table[rng.integers(0, len(table), (SAMPLES, len(table)))].sum(axis=1)
        low, high = np.quantile(100 * drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
        right, total = table.sum(axis=0)
        print(
            f"{name:20} {100 * right / total:5.1f} ({low:.1f} to {high:.1f})"
            f"  {int(total)} pairs of {len(table)} images"
        )


if __name__ == "__main__":
    main()
