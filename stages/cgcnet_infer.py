"""CGCNet on the images of a split: instances.parquet, of no class (category 0).

Boxes, regions and masks of these images are never looked at, and no label is updated.

CGCNet: https://arxiv.org/abs/2008.09246.
"""

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.cgcnet.network import CGCNet, CGCNetSpec
from stages.engine.command import run
from stages.engine.detections import Item, detect_images
from stages.engine.memo import Outcome
from stages.io.data_set import Dataset, Split
from stages.io.networks import read_network, read_spec


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    least_score: Annotated[float, Field(ge=0, le=1)]


def cgcnet_infer(params: Params, data: Dataset, split: Split, weights: Path, out: Path) -> None:
    """Find the salient instances of the images of a split.

    Args:
        params: see `Params`.
        data: the data set.
        split: train or val.
        weights: weights.pt of cgcnet_train, with weights.json beside it.
        out: gets instances.parquet and metrics.json.

    Raises:
        InputError: an unreadable table, or weights of another network.
    """
    images = data.images(split)
    detect_images(_one_image, images, weights, params.least_score, out, stage="cgcnet_infer")


def _one_image(item: Item) -> Outcome:
    network = _network(item.weights, item.beside)
    return item.keep(network.detect(item.read()), any_class=True)


@cache
def _network(weights: Path, beside: Path) -> CGCNet:
    return read_network(weights, read_spec(weights, CGCNetSpec))


if __name__ == "__main__":
    run(cgcnet_infer)
