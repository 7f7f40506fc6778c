"""Ranked salient instances against ranks that are taken for true, one ruler for all rankers.

`RANKING_MEASURES` of stages/io/measures.py says what each number measures, and models/irsr/
ranking_scores.py how it is counted; all in percent. A measure leaves images out where it is not
defined: how many it used stands beside it. An image in which nothing was found counts as such.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pycocotools import mask as coco_mask
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.instance_scores import Objects, overlaps
from models.irsr.ranking_scores import (
    VERSIONS,
    agreeing_pairs,
    ascending_ranks,
    grey_level,
    mae_of_ranks,
    match_confident,
    mean_used,
    rank_errors,
    sa_sor,
    sor,
    ssor_of_levels,
)
from stages.engine.command import run
from stages.engine.files import write_json
from stages.engine.progress import counted
from stages.io.data_set import Dataset, ImageFile, Split
from stages.io.label_maps import decode_rle
from stages.io.measures import RANK_SCORES, percent
from stages.io.objects import Row, objects_by_image
from stages.io.tables import write_table
from stages.sources.ranked_predictions import Ranked, read_ranked

#: Where a mask lies, and it.
Cut = tuple[tuple[slice, slice], npt.NDArray[np.bool_]]
MEANS = (*(f"sa_sor_{version}" for version in VERSIONS), "sor", "ssor", "mae")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    seed: Annotated[int, Field(ge=0)]
    resamples: Annotated[int, Field(ge=0)]


def ranking_eval(
    params: Params,
    data: Dataset,
    split: Split,
    reference: Path,
    ranked: Path,
    out: Path,
    name: str,
) -> None:
    """Measure the ranks of the images of a split.

    Writes out/<name>.json, and out/<name>.parquet of the images one by one (`RANK_SCORES`).

    Args:
        params: see `Params`.
        data: the images to measure.
        split: train or val.
        reference: instances with true ranks (`INSTANCES`); those without are left out.
        ranked: what is measured (stages/sources/ranked_predictions.py).
        out: folder.
        name: of the source.

    Raises:
        InputError: an unreadable file.
    """
    images = {image.image_id: image for image in data.images(split)}
    truth = {
        image_id: [row for row in rows if row["rank"] is not None and row["mask"] is not None]
        for image_id, rows in objects_by_image(reference).items()
        if image_id in images
    }
    truth = {image_id: rows for image_id, rows in truth.items() if rows}
    found = read_ranked(ranked, [images[image_id] for image_id in sorted(truth)])
    scores, errors = [], defaultdict(list)
    for image_id in counted(sorted(truth), "ranking_eval", "images"):
        row, by_rank = image_scores(images[image_id], truth[image_id], found.get(image_id, []))
        scores.append(row)
        for rank, error in by_rank:
            errors[rank].append(error)
    metrics: dict[str, Any] = {
        "images": len(truth),
        "instances": sum(map(len, truth.values())),
        "predicted": sum(len(found.get(image_id, [])) for image_id in truth),
        "images_without_prediction": sum(image_id not in found for image_id in truth),
    }
    for key in MEANS:
        mean, used = mean_used([row[key] for row in scores])
        metrics[key], metrics[f"{key}_images"] = percent(mean), used
    pairs = np.array([(row["pairs_right"], row["pairs"]) for row in scores]).reshape(-1, 2)
    metrics |= {"pairs": int(pairs[:, 1].sum()), "pair_accuracy": _share(pairs)}
    metrics["rank_error"] = {str(r): _rounded(mean_used(errors[r])[0]) for r in sorted(errors)}
    metrics["missed"] = {str(r): int(np.isnan(errors[r]).sum()) for r in sorted(errors)}
    metrics |= _intervals(params, [row["sa_sor_paper"] for row in scores], pairs)
    rows = [
        {key: None if value != value else value for key, value in row.items()} for row in scores
    ]
    write_table(out / f"{name}.parquet", pd.DataFrame(rows, columns=RANK_SCORES.names), RANK_SCORES)
    write_json(out / f"{name}.json", metrics)


def image_scores(
    image: ImageFile, truth: Sequence[Row], found: Sequence[Ranked]
) -> tuple[dict[str, Any], list[tuple[int, float]]]:
    """Its row, and (true rank, error or NaN) of each true instance."""
    iou = overlaps(
        _objects([each.mask for each in found], image), _objects([r["mask"] for r in truth], image)
    )
    salient = [each.saliency for each in found]
    sure = [each.confidence for each in found]
    true = [-float(row["rank"]) for row in truth]
    matched = match_confident(iou, sure)
    right, pairs = agreeing_pairs(matched, salient, true)
    masks = [_cut(row["mask"], image) for row in truth]
    # the surest is painted first, as in the public code; of the true ones the least salient
    order = np.argsort([-one for one in sure], kind="stable")
    cuts = [_cut(found[index].mask, image) for index in order]
    painted = _painted(cuts, ascending_ranks(salient)[order], image)
    up = np.argsort(true, kind="stable")
    level = _painted([masks[index] for index in up], ascending_ranks(true)[up], image)
    inside = [painted[window][mask] for window, mask in masks]
    row = {
        "image_id": image.image_id,
        "instances": len(truth),
        "found": len(found),
        **{f"sa_sor_{v}": sa_sor(iou, salient, sure, true, v) for v in VERSIONS},
        "sor": sor([float(own.mean()) for own in inside], true),
        "ssor": ssor_of_levels([grey_level(own) for own in inside], ascending_ranks(true)),
        "mae": mae_of_ranks(painted, level),
        "pairs_right": right,
        "pairs": pairs,
    }
    errors = rank_errors(matched, salient, true).tolist()
    return row, [(int(entry["rank"]), error) for entry, error in zip(truth, errors, strict=True)]


def _cut(runs: str, image: ImageFile) -> Cut:
    """A mask, cut to the box that holds it: far less to look at than its image."""
    x, y, width, height = coco_mask.toBbox({"size": list(image.size), "counts": runs.encode()})
    window = slice(int(y), int(y + height)), slice(int(x), int(x + width))
    return window, decode_rle(runs, *image.size)[window]


def _painted(
    cuts: Sequence[Cut], ranks: Sequence[int] | npt.NDArray[np.int64], image: ImageFile
) -> npt.NDArray[np.uint8]:
    """Ranks painted one over the other: uint8 [H, W], ground 0."""
    levels = np.zeros(image.size, dtype=np.uint8)
    for (window, mask), rank in zip(cuts, ranks, strict=True):
        levels[window][mask] = min(int(rank), 255)
    return levels


def _objects(masks: Sequence[str], image: ImageFile) -> Objects:
    runs = [{"size": list(image.size), "counts": mask} for mask in masks]
    ones = [1] * len(runs)
    return Objects(runs, ones, ones, [False] * len(runs))


def _share(pairs: npt.NDArray[np.float64]) -> float | None:
    total = pairs[:, 1].sum()
    return percent(float(pairs[:, 0].sum() / total)) if total else None


def _intervals(
    params: Params, values: Sequence[float], pairs: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """Of SA-SOR and of the pairs: 2.5 and 97.5 % of the means of resampled images."""
    if not params.resamples or not len(pairs):
        return {}
    rng = np.random.default_rng(params.seed)
    chosen = rng.integers(0, len(pairs), (params.resamples, len(pairs)))
    drawn = np.array(values)[chosen]
    used = ~np.isnan(drawn)
    means = np.where(used, drawn, 0).sum(axis=1) / np.maximum(used.sum(axis=1), 1)
    shares = pairs[chosen, 0].sum(axis=1) / np.maximum(pairs[chosen, 1].sum(axis=1), 1)
    return {
        f"{key}_interval": [percent(float(end)) for end in np.quantile(each, [0.025, 0.975])]
        for key, each in (("sa_sor_paper", means), ("pair_accuracy", shares))
    }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


if __name__ == "__main__":
    run(ranking_eval)
