"""Mask R-CNN on the images of a split: instances.parquet, with category 0 where it knows no class.

Boxes, tags and masks of these images are never looked at. Where no network was trained (an upper
bound without ground truth) the table is empty.
"""

import dataclasses
from functools import cache
from pathlib import Path
from typing import Annotated

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.maskrcnn import MaskRCNN, MaskRCNNSpec
from stages.engine.command import run
from stages.engine.files import write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.io.data_set import Dataset, ImageFile, Split
from stages.io.networks import read_network, read_spec
from stages.io.objects import detection_rows, write_detections


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    least_score: Annotated[float, Field(ge=0, le=1)]


@dataclasses.dataclass(frozen=True)
class Item:
    """One image and the network; `beside` is the network's weights.json."""

    image: ImageFile
    weights: Path
    beside: Path
    least_score: float


def maskrcnn_infer(params: Params, data: Dataset, split: Split, weights: Path, out: Path) -> None:
    """Find the objects of the images of a split.

    Args:
        params: see `Params`.
        data: the data set.
        split: train or val.
        weights: weights.pt of maskrcnn_train, with weights.json beside it.
        out: gets instances.parquet and metrics.json.

    Raises:
        InputError: an unreadable table, or weights of another network.
    """
    images = data.images(split)
    if not weights.is_file():
        print(f"maskrcnn_infer: no network in {weights.parent}; nothing to find")
        images = []
    beside = weights.with_suffix(".json")
    items = {image.image_id: Item(image, weights, beside, params.least_score) for image in images}
    stats = map_images(_one_image, items, out, stage="maskrcnn_infer")
    rows = [row for of_image in stats for row in of_image["rows"]]
    write_detections(out / "instances.parquet", rows)
    write_json(out / "metrics.json", {"images": len(images), "instances": len(rows)})


def _one_image(item: Item) -> Outcome:
    torch.set_num_threads(1)  # the images run side by side
    network, any_class = _network(item.weights, item.beside)
    found = network.detect(torch.from_numpy(item.image.read()).permute(2, 0, 1).float() / 255)
    rows = detection_rows(item.image.image_id, found, any_class=any_class)
    return Outcome({}, {"rows": [row for row in rows if row["score"] >= item.least_score]})


@cache
def _network(weights: Path, beside: Path) -> tuple[MaskRCNN, bool]:
    spec = read_spec(weights, MaskRCNNSpec)
    return read_network(weights, spec), spec.any_class


if __name__ == "__main__":
    run(maskrcnn_infer)
