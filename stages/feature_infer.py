"""One feature per salient instance: features.npz (stages/io/features.py)."""

import base64
import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from models.tag_assignment.features import FeatureNetwork, FeatureSpec
from stages.engine.command import run
from stages.engine.files import write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.io.box_masks import BoxMask, read_box_masks
from stages.io.data_set import Dataset, ImageFile
from stages.io.features import Features, write_features
from stages.io.networks import read_network, read_spec


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """The stage has no numbers."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One image, its instances and the network; `beside` is the network's weights.json."""

    image: ImageFile
    instances: tuple[BoxMask, ...]
    weights: Path
    beside: Path


def feature_infer(params: Params, data: Dataset, instances: Path, weights: Path, out: Path) -> None:
    """Write the feature of each instance of the training images.

    Args:
        params: none.
        data: the data set.
        instances: of instances_select.
        weights: weights.pt of feature_train, with weights.json beside it.
        out: gets features.npz and metrics.json.

    Raises:
        InputError: an unreadable table, or weights of another network.
    """
    network, _ = _read_once(weights)
    numbered = read_box_masks(instances)
    images = [image for image in data.images("train") if image.image_id in numbered]
    items = {
        image.image_id: Item(
            image,
            tuple(mask for _, mask in numbered[image.image_id]),
            weights,
            weights.with_suffix(".json"),
        )
        for image in images
    }
    stats = map_images(_one_image, items, out, stage="feature_infer")
    content = b"".join(base64.b64decode(each["features"]) for each in stats)
    values = np.frombuffer(content, dtype="<f4").reshape(-1, network.channels)
    ids = [number for image in images for number, _ in numbered[image.image_id]]
    write_features(out / "features.npz", Features(np.array(ids, dtype=np.int64), values))
    write_json(out / "metrics.json", {"instances": len(ids), "channels": network.channels})


def _one_image(item: Item) -> Outcome:
    torch.set_num_threads(1)  # the images run side by side
    network, spec = _read_once(item.weights)
    picture, size = item.image.read(), item.image.size
    crops = np.stack([spec.crop(picture, one.decode(size), one.corners) for one in item.instances])
    with torch.inference_mode():
        features = network(torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255)
    content = features.numpy().astype("<f4").tobytes()
    return Outcome({}, {"features": base64.b64encode(content).decode()})


@cache
def _read_once(weights: Path) -> tuple[FeatureNetwork, FeatureSpec]:
    """The network, read once per process."""
    spec = read_spec(weights, FeatureSpec)
    return read_network(weights, spec), spec


if __name__ == "__main__":
    run(feature_infer)
