"""WSID-Net on the images of a split: instances.parquet, of no class (category 0).

Tags and counts of these images are never looked at.

WSID-Net: https://arxiv.org/abs/2111.10137.
"""

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.wsid.fusion import as_detection
from models.wsid.network import WSIDNet, WSIDSpec
from stages.engine.command import run
from stages.engine.detections import Item, detect_images
from stages.engine.memo import Outcome
from stages.io.data_set import Dataset, Split
from stages.io.networks import read_network, read_spec


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    least_score: Annotated[float, Field(ge=0, le=1)]


def wsid_infer(params: Params, data: Dataset, split: Split, weights: Path, out: Path) -> None:
    """Find the salient instances of the images of a split.

    Args:
        params: see `Params`.
        data: the data set.
        split: train or val.
        weights: weights.pt of wsid_train, with weights.json beside it.
        out: gets instances.parquet and metrics.json.

    Raises:
        InputError: an unreadable table, or weights of another network.
    """
    images = data.images(split)
    detect_images(_one_image, images, weights, params.least_score, out, stage="wsid_infer")


def _one_image(item: Item) -> Outcome:
    network, spec = _network(item.weights, item.beside)
    return item.keep(
        as_detection(spec.detect(network, item.read()), item.image.size), any_class=True
    )


@cache
def _network(weights: Path, beside: Path) -> tuple[WSIDNet, WSIDSpec]:
    spec = read_spec(weights, WSIDSpec)
    return read_network(weights, spec), spec


if __name__ == "__main__":
    run(wsid_infer)
