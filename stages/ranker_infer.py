"""Salient instances of the images of a split, in the order of their saliency.

instances.parquet holds what the network finds: `score` is how sure it is of an instance, `rank` its
place in the image, 1 = most salient. given.parquet, where a table is given, holds the instances of
that table, ranked by the network: so its order is seen apart from its masks. Of the table only
boxes and masks are used; ranks and scores that it has are never looked at.
"""

import dataclasses
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from models.detection import Detection
from models.irsr.network import RankingNetwork, RankingSpec
from stages.engine.command import run
from stages.engine.files import write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.io.data_set import Dataset, ImageFile, Split
from stages.io.networks import read_network, read_spec
from stages.io.objects import Row, detection_rows, objects_by_image, write_detections
from stages.io.tables import INSTANCES, write_table

Corners = tuple[float, float, float, float]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    least_score: Annotated[float, Field(ge=0, le=1)]


@dataclasses.dataclass(frozen=True)
class Item:
    """One image, the boxes to rank in it, and the network; `beside` is its weights.json."""

    image: ImageFile
    boxes: tuple[Corners, ...]
    weights: Path
    beside: Path
    least_score: float


def ranker_infer(
    params: Params,
    data: Dataset,
    split: Split,
    weights: Path,
    out: Path,
    instances: Path | None = None,
) -> None:
    """Find and rank the salient instances of the images of a split.

    Args:
        params: see `Params`.
        data: the images; of its tables only theirs is read.
        split: train or val.
        weights: weights.pt of ranker_train, with weights.json beside it.
        out: gets instances.parquet, metrics.json and, of `instances`, given.parquet.
        instances: table of instances to rank besides; its images of other splits are left out.

    Raises:
        InputError: an unreadable table, or weights of another network.
    """
    images = data.images(split)
    given = {} if instances is None else objects_by_image(instances)
    beside = weights.with_suffix(".json")
    items = {
        image.image_id: Item(
            image, _boxes(given.get(image.image_id, ())), weights, beside, params.least_score
        )
        for image in images
    }
    stats = dict(zip(items, map_images(_one_image, items, out, stage="ranker_infer"), strict=True))
    rows = [row for of_image in stats.values() for row in of_image["rows"]]
    counts = {"images": len(images), "instances": len(rows)}
    if instances is not None:
        ranked = [
            {**row, "score": 1.0, "rank": rank}
            for image_id, of_image in stats.items()
            for row, rank in zip(given.get(image_id, ()), of_image["ranks"], strict=True)
        ]
        table = pd.DataFrame(ranked, columns=INSTANCES.names)
        write_table(out / "given.parquet", table, INSTANCES)
        counts["given"] = len(ranked)
    write_detections(out / "instances.parquet", rows)
    write_json(out / "metrics.json", counts)


def _boxes(rows: Sequence[Row]) -> tuple[Corners, ...]:
    return tuple((row["x0"], row["y0"], row["x1"], row["y1"]) for row in rows)


def _one_image(item: Item) -> Outcome:
    torch.set_num_threads(1)  # the images run side by side
    network = _network(item.weights, item.beside)
    image = torch.from_numpy(item.image.read()).permute(2, 0, 1).float() / 255
    rows = ranked_rows(item.image.image_id, *network.detect(image, item.least_score))
    saliency = network.saliency(image, torch.tensor(item.boxes).reshape(-1, 4))
    return Outcome({}, {"rows": rows, "ranks": ranks_of(saliency)})


def ranked_rows(image_id: str, found: Detection, saliency: Tensor) -> list[dict[str, Any]]:
    """What was found as rows with ranks; without a pixel it is nothing and takes no rank."""
    keep = (found.masks > 0.5).flatten(1).any(dim=1)
    drawn = Detection(*(part[keep] for part in found))
    rows = detection_rows(image_id, drawn, any_class=True)
    return [{**row, "rank": rank} for row, rank in zip(rows, ranks_of(saliency[keep]), strict=True)]


def ranks_of(saliency: Tensor) -> list[int]:
    """1 for the largest, and so on; of equal ones the first is before."""
    ranks = torch.empty(len(saliency), dtype=torch.int64)
    ranks[saliency.argsort(descending=True, stable=True)] = torch.arange(1, len(saliency) + 1)
    return [int(rank) for rank in ranks]


@cache
def _network(weights: Path, beside: Path) -> RankingNetwork:
    return read_network(weights, read_spec(weights, RankingSpec))


if __name__ == "__main__":
    run(ranker_infer)
