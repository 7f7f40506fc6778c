"""Given instances ranked without a network: the rows that a ranker has to beat.

Writes instances.parquet: the instances of the images of a split with their masks and scores as they
are, `rank` 1 = most salient. Of equally salient ones the earlier comes first. What they were ranked
by before does not count.
"""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from models.irsr.simple_rankers import by_area, by_centrality, by_mean, spectral_residual
from stages.engine.command import run
from stages.engine.errors import InputError
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.io.data_set import Dataset, ImageFile, Split
from stages.io.label_maps import decode_rle
from stages.io.objects import objects_by_image
from stages.io.salient_maps import read_saliency
from stages.io.tables import INSTANCES, write_table

#: area, centrality; score: of the detector; spectral: mean of a bottom-up map; maps: of given ones.
Ranker = Literal["area", "centrality", "score", "spectral", "maps"]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """The stage has no numbers."""


@dataclasses.dataclass(frozen=True)
class Item:
    """What the ranks of an image depend on; `image` and `grey` only where they are looked at."""

    image_id: str
    size: tuple[int, int]
    masks: tuple[str, ...]
    scores: tuple[float, ...]
    by: Ranker
    image: ImageFile | None
    grey: Path | None


def instances_rank(
    params: Params,
    data: Dataset,
    split: Split,
    instances: Path,
    by: Ranker,
    maps: Path,
    out: Path,
) -> None:
    """Rank the instances of every image by itself.

    Args:
        params: none.
        data: the data set.
        split: train or val.
        instances: those to rank (`INSTANCES`); rows without a mask are left out.
        by: see `Ranker`.
        maps: <image_id>.png, grey, for `maps`.
        out: gets instances.parquet.

    Raises:
        InputError: an unreadable table, image or map; `maps` without a map of an image.
    """
    objects = objects_by_image(instances)
    kept, items = {}, {}
    for image in data.images(split):
        rows = [row for row in objects.get(image.image_id, []) if row["mask"] is not None]
        if not rows:
            continue
        grey = maps / f"{image.image_id}.png" if by == "maps" else None
        if grey is not None and not grey.is_file():
            raise InputError(f"{grey}: no such map; expected one of every image with instances")
        kept[image.image_id] = rows
        items[image.image_id] = Item(
            image.image_id,
            image.size,
            tuple(row["mask"] for row in rows),
            tuple(float(row["score"] or 0) for row in rows) if by == "score" else (),
            by,
            image if by == "spectral" else None,
            grey,
        )
    found = map_images(_one_image, items, out, stage="instances_rank")
    ranked = [
        {**row, "rank": rank}
        for rows, each in zip(kept.values(), found, strict=True)
        for row, rank in zip(rows, each["ranks"], strict=True)
    ]
    table = pd.DataFrame(ranked, columns=INSTANCES.names)
    write_table(out / "instances.parquet", table, INSTANCES)


def _one_image(item: Item) -> Outcome:
    masks = [decode_rle(mask, *item.size) for mask in item.masks]
    if item.by == "area":
        saliency = by_area(masks)
    elif item.by == "centrality":
        saliency = by_centrality(masks)
    elif item.image is not None:
        saliency = by_mean(masks, spectral_residual(item.image.read()))
    elif item.grey is not None:
        saliency = by_mean(masks, read_saliency(item.grey, item.size))
    else:
        saliency = list(item.scores)
    ranks = np.empty(len(masks), dtype=int)
    ranks[np.argsort(-np.array(saliency), kind="stable")] = np.arange(1, len(masks) + 1)
    return Outcome({}, {"ranks": ranks.tolist()})


if __name__ == "__main__":
    run(instances_rank)
