"""Class activation maps of each training image's tagged classes: several scales, and mirrored.

Writes maps/<image_id>.npz (stages.io.score_maps), values in [0, 1) divided by each class's maximum.
An image without tags gets a map without classes. Classes that are not tagged are never looked at.

CAM: https://arxiv.org/abs/1512.04150.
"""

from collections.abc import Callable
from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from models.cam import CamClassifier, ClassifierSpec
from models.ops.grid import grid_size
from models.ops.multiscale import multiscale_cams
from models.seam import SeamClassifier
from stages.engine.command import run
from stages.engine.errors import InputError
from stages.engine.files import write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.io.data_set import Dataset, ImageFile
from stages.io.networks import read_network, read_spec
from stages.io.score_maps import ScoreMap, encode_score_map

Classifier = CamClassifier | SeamClassifier


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
    flip: bool
    output_stride: Literal[8, 16]
    stride: Annotated[int, Field(gt=0)]


@plain_dataclass(frozen=True)
class Item:
    """One image and all that its maps depend on."""

    image: ImageFile
    tags: tuple[int, ...]
    weights: Path
    described: Path
    params: Params


def classifier_infer(params: Params, data: Dataset, weights: Path, out: Path) -> None:
    """Write the maps of every image of split train and count them in metrics.json.

    Raises:
        InputError: bad tables or weights, or a tag that the classifier does not know.
    """
    _, spec = _read_once(weights, params.output_stride)
    tags = data.tags()
    items = {}
    for image in data.images("train"):
        present = tags.get(image.image_id, ())
        unknown = sorted(set(present) - set(spec.categories))
        if unknown:
            known = ", ".join(map(str, spec.categories))
            where = f"{data.table('tags')}: image {image.image_id}"
            raise InputError(
                f"{where}: category {unknown[0]} is none of the classifier's ({known})"
            )
        items[image.image_id] = Item(image, present, weights, weights.with_suffix(".json"), params)
    stats = map_images(_one_image, items, out, stage="classifier_infer")
    metrics = {
        "images": len(items),
        "images_without_tags": sum(not item.tags for item in items.values()),
        "maps": int(sum(entry["maps"] for entry in stats)),
        "empty_maps": int(sum(entry["empty"] for entry in stats)),
    }
    write_json(out / "metrics.json", metrics)


def _one_image(item: Item) -> Outcome:
    """The maps of one image; a map is empty when no cell has evidence for its class."""
    size = item.image.size
    rows, columns = grid_size(size, item.params.stride)
    cams = torch.zeros(0, rows, columns)
    if item.tags:
        network, spec = _read_once(item.weights, item.params.output_stride)
        picture = torch.from_numpy(item.image.read()).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            cams = multiscale_cams(
                _class_maps_of(network, [spec.categories.index(tag) for tag in item.tags]),
                picture,
                scales=item.params.scales,
                flip=item.params.flip,
                source_stride=network.backbone.output_stride,
                stride=item.params.stride,
                from_least=spec.method == "seam",
            )
    score_map = ScoreMap(
        cams.numpy().astype(np.float16), np.array(item.tags, np.int64), size, item.params.stride
    )
    empty = int((cams.amax((1, 2)) == 0).sum()) if len(cams) else 0
    files = {f"maps/{item.image.image_id}.npz": encode_score_map(score_map)}
    return Outcome(files, {"maps": len(item.tags), "empty": empty})


def _class_maps_of(network: Classifier, rows: list[int]) -> Callable[[Tensor], Tensor]:
    return lambda images: network.class_maps(images)[:, rows]


@cache
def _read_once(weights: Path, output_stride: int) -> tuple[Classifier, ClassifierSpec]:
    """The classifier, read once per process."""
    spec = replace(read_spec(weights, ClassifierSpec), output_stride=output_stride)
    return read_network(weights, spec), spec


if __name__ == "__main__":
    run(classifier_infer)
