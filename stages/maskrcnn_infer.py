"""Mask R-CNN on the images of a split: instances.parquet, with category 0 where it knows no class.

Boxes, tags and masks of these images are never looked at. Where no network was trained (an upper
bound without ground truth) the table is empty.
"""

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.maskrcnn import MaskRCNN, MaskRCNNSpec
from stages.engine.command import run
from stages.engine.detections import Item, detect_images
from stages.engine.memo import Outcome
from stages.io.data_set import Dataset, Split
from stages.io.networks import read_network, read_spec


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    least_score: Annotated[float, Field(ge=0, le=1)]


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
    detect_images(_one_image, images, weights, params.least_score, out, stage="maskrcnn_infer")


def _one_image(item: Item) -> Outcome:
    network, any_class = _network(item.weights, item.beside)
    return item.keep(network.detect(item.read()), any_class=any_class)


@cache
def _network(weights: Path, beside: Path) -> tuple[MaskRCNN, bool]:
    spec = read_spec(weights, MaskRCNNSpec)
    return read_network(weights, spec), spec.any_class


if __name__ == "__main__":
    run(maskrcnn_infer)
