"""WSID-Net on the images of a split: instances.parquet, of no class (category 0).

Tags and counts of these images are never looked at.

WSID-Net: https://arxiv.org/abs/2111.10137.
"""

import dataclasses
from functools import cache
from pathlib import Path
from typing import Annotated

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.wsid.fusion import as_detection
from models.wsid.network import WSIDNet, WSIDSpec
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
    beside = weights.with_suffix(".json")
    items = {image.image_id: Item(image, weights, beside, params.least_score) for image in images}
    stats = map_images(_one_image, items, out, stage="wsid_infer")
    rows = [row for of_image in stats for row in of_image["rows"]]
    write_detections(out / "instances.parquet", rows)
    write_json(out / "metrics.json", {"images": len(images), "instances": len(rows)})


def _one_image(item: Item) -> Outcome:
    torch.set_num_threads(1)  # the images run side by side
    network, spec = _network(item.weights, item.beside)
    found = spec.detect(network, torch.from_numpy(item.image.read()).permute(2, 0, 1).float() / 255)
    rows = detection_rows(item.image.image_id, as_detection(found, item.image.size), any_class=True)
    return Outcome({}, {"rows": [row for row in rows if row["score"] >= item.least_score]})


@cache
def _network(weights: Path, beside: Path) -> tuple[WSIDNet, WSIDSpec]:
    spec = read_spec(weights, WSIDSpec)
    return read_network(weights, spec), spec


if __name__ == "__main__":
    run(wsid_infer)
