"""A mask for every box: the network that has not seen the image, GrabCut started from it, GrabCut.

Writes for every training image
    maps/<image_id>.npz    scores of the classes that have a box;
    labels/<image_id>.png  the likeliest class of each pixel, and something of every box;
    seeds/<image_id>.png   the label where network and GrabCut agree, 0 where they agree that no box
                           has the pixel, 255 elsewhere;
and instances.parquet, a mask per box with the agreement of network and GrabCut as its score, which
tells good masks from bad ones without any truth. In crowd regions what would be 0 is 255.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.boxmask.compose import (
    Opinion,
    agreed_seeds,
    class_scores,
    form_opinion,
    label_boxes,
)
from models.boxmask.network import BoxMaskNet, BoxMaskSpec, predict_masks
from models.boxmask.teacher import folds_of
from models.ops.boxes import unknown_in_region
from models.ops.crops import cut_out, window_of
from stages.engine.command import run
from stages.engine.errors import InputError
from stages.engine.files import write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.io.box_masks import (
    BoxMask,
    fills_its_box,
    instance_rows,
    mask_columns,
    read_box_masks,
)
from stages.io.crowds import crowd_region
from stages.io.data_set import Crowd, Dataset, ImageFile
from stages.io.label_maps import UNKNOWN, encode_label_map
from stages.io.networks import read_network, read_spec
from stages.io.photographs import RGB
from stages.io.score_maps import ScoreMap, encode_score_map
from stages.io.tables import INSTANCES, write_table

#: Boxes of an image that the network sees at once.
AT_ONCE = 32


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of the stage; params.yaml says what each is."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    sure: Annotated[float, Field(gt=0.5, le=1)]


@dataclasses.dataclass(frozen=True)
class Item:
    """One image, its boxes and its network; `beside` is the network's json."""

    image: ImageFile
    boxes: tuple[BoxMask, ...]
    crowds: tuple[Crowd, ...]
    weights: Path | None
    beside: Path | None
    params: Params


def boxmask_infer(params: Params, data: Dataset, cuts: Path, networks: Path, out: Path) -> None:
    """Label the training images.

    Args:
        params: see `Params`.
        data: the data set.
        cuts: instances.parquet of grabcut_seeds.
        networks: folder of boxmask_train, <fold>.pt and <fold>.json.
        out: gets maps/, labels/, seeds/, instances.parquet and metrics.json.

    Raises:
        InputError: an unreadable input, or images with boxes and no network.
    """
    boxes, crowds = read_box_masks(cuts), data.crowds()
    images = data.images("train")
    weights = sorted(networks.glob("*.pt"), key=lambda path: int(path.stem))
    with_boxes = [image.image_id for image in images if image.image_id in boxes]
    if with_boxes and not weights:
        raise InputError(f"{networks}: no network; expected one per fold of boxmask_train")
    folds = folds_of(with_boxes, max(len(weights), 1))
    items = {}
    for image in images:
        name = image.image_id
        network = weights[folds[name]] if name in folds else None
        items[name] = Item(
            image,
            tuple(mask for _, mask in boxes.get(name, ())),
            crowds.get(name, ()),
            network,
            network and network.with_suffix(".json"),
            params,
        )
    stats = map_images(_one_image, items, out, stage="boxmask_infer")
    rows = [
        row
        for name, each in zip(items, stats, strict=True)
        for row in instance_rows(name, boxes.get(name, ()), each["masks"])
    ]
    table = pd.DataFrame(rows, columns=INSTANCES.names)
    write_table(out / "instances.parquet", table, INSTANCES)
    write_json(out / "metrics.json", _metrics(stats, table))


def _metrics(stats: Sequence[Mapping[str, Any]], table: pd.DataFrame) -> dict[str, Any]:
    return {
        "images": len(stats),
        "boxes": len(table),
        "boxes_without_a_cut": int(sum(each["without_a_cut"] for each in stats)),
        "seeded_share": round(float(np.mean([each["seeded_share"] for each in stats])), 4),
        "mean_agreement": round(float(table["score"].mean()), 4) if len(table) else None,
    }


def _one_image(item: Item) -> Outcome:
    torch.set_num_threads(1)  # the images run side by side
    image, size = item.image.read(), item.image.size
    opinions = list(_opinions(item, image))
    corners = [box.corners for box in item.boxes]
    categories = [box.category for box in item.boxes]
    crowd = crowd_region(item.crowds, size)
    scores, classes = class_scores(opinions, size)
    labels = label_boxes(opinions, scores, classes)
    seeds = agreed_seeds(opinions, labels, item.params.sure)
    name = item.image.image_id
    files = {
        f"maps/{name}.npz": encode_score_map(
            ScoreMap(scores.round(3).astype(np.float16), classes, size, 1)
        )
    }
    for folder, found in (("labels", labels), ("seeds", seeds)):
        known = unknown_in_region(found, crowd, corners, categories)
        files[f"{folder}/{name}.png"] = encode_label_map(known)
    stats = {
        "masks": [_mask(opinion, size) for opinion in opinions],
        "without_a_cut": sum(opinion.cut is None for opinion in opinions),
        "seeded_share": float((seeds != UNKNOWN).mean()),
    }
    return Outcome(files, stats)


def _opinions(item: Item, image: RGB) -> Iterator[Opinion]:
    """What network and GrabCut think of each box."""
    if item.weights is None:
        return
    network, spec = _network(item.weights, item.beside)
    size = item.image.size
    windows = [window_of(box.corners, size, spec.margin) for box in item.boxes]
    for start in range(0, len(windows), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        crops = np.stack([cut_out(image, window, spec.crop) for window in windows[rows]])
        predicted = predict_masks(
            network,
            torch.from_numpy(crops).permute(0, 3, 1, 2) / 255,
            torch.tensor([window.shares for window in windows[rows]]),
        ).numpy()
        for box, window, cells in zip(item.boxes[rows], windows[rows], predicted, strict=True):
            mask = box.decode(size)
            cut = None if fills_its_box(mask, box.corners) else mask
            yield form_opinion(image, window, box.category, cells, cut, item.params.seed)


def _mask(opinion: Opinion, size: tuple[int, int]) -> dict[str, Any]:
    """What the table says of a box."""
    mask = np.zeros(size, dtype=bool)
    mask[opinion.window.box_in_image()] = opinion.mask
    return mask_columns(mask, round(opinion.agreement, 4))


@cache
def _network(weights: Path, beside: Path) -> tuple[BoxMaskNet, BoxMaskSpec]:
    spec = read_spec(weights, BoxMaskSpec)
    return read_network(weights, spec), spec


if __name__ == "__main__":
    run(boxmask_infer)
