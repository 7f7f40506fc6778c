"""The final network on the validation images: class probabilities, and the likeliest classes.

Writes maps/<image_id>.npz, the probabilities of the pixels (stages.io.score_maps), for crf_refine;
and labels/<image_id>.png, the likeliest class of each pixel. Boxes and tags are never looked at.
Without validation images, or (upper bound) without a trained network, both folders stay empty.
"""

import dataclasses
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.deeplab import DeepLab, DeepLabSpec, predict
from stages.engine.command import run
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.io.data_set import Dataset, ImageFile
from stages.io.label_maps import encode_label_map
from stages.io.networks import read_network, read_spec
from stages.io.score_maps import ScoreMap, encode_score_map

#: A class that is nowhere more likely than this is not written: it would take space and, in the
#: CRF, time, and what it holds moves that one's result by less than 0.2 % of the pixels.
LEAST_PROBABILITY = 0.05


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
    flip: bool


@dataclasses.dataclass(frozen=True)
class Item:
    """One image and the network; `beside` is the network's weights.json."""

    image: ImageFile
    weights: Path
    beside: Path
    params: Params


def deeplab_infer(params: Params, data: Dataset, weights: Path, out: Path) -> None:
    """Label the validation images.

    Args:
        params: see `Params`.
        data: the data set.
        weights: weights.pt of deeplab_train, with weights.json beside it.
        out: gets maps/ and labels/.

    Raises:
        InputError: an unreadable table, or weights of another network.
    """
    images = data.images("val")
    if not weights.is_file():
        print(f"deeplab_infer: no network in {weights.parent}; nothing to label")
        images = []
    for folder in ("maps", "labels"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    beside = weights.with_suffix(".json")
    items = {image.image_id: Item(image, weights, beside, params) for image in images}
    map_images(_one_image, items, out, stage="deeplab_infer")


def _one_image(item: Item) -> Outcome:
    network = _network(item.weights, item.beside)
    picture = torch.from_numpy(item.image.read()).permute(2, 0, 1).float() / 255
    probabilities = predict(network, picture, item.params.scales, item.params.flip).numpy()
    likely = probabilities.max(axis=(1, 2)) > LEAST_PROBABILITY
    likely[0] = True  # the background is in every score map
    classes = np.flatnonzero(likely)
    score_map = ScoreMap(probabilities[classes].astype(np.float16), classes, item.image.size, 1)
    labels = probabilities.argmax(0).astype(np.uint8)
    files = {
        f"maps/{item.image.image_id}.npz": encode_score_map(score_map),
        f"labels/{item.image.image_id}.png": encode_label_map(labels),
    }
    return Outcome(files)


@cache
def _network(weights: Path, beside: Path) -> DeepLab:
    return read_network(weights, read_spec(weights, DeepLabSpec))


if __name__ == "__main__":
    run(deeplab_infer)
