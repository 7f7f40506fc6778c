"""Two sources of class probabilities averaged, the first as far as it is trusted.

The first source is a network that was shown the activations of an image, the second one that knows
boxes alone. Where activations deserve no trust (trust.parquet of seeds_fuse), the first weighs
less. Writes maps/<image_id>.npz, probabilities per pixel, and labels/<image_id>.png, the likeliest
class of each, 255 where only a crowd claims it.
"""

import dataclasses
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.ops.boxes import inside_own_boxes, unknown_in_region, widened
from models.ops.cells import cells_to_pixels
from models.ops.score_mean import weighted_mean
from stages.engine.command import run
from stages.engine.errors import InputError
from stages.engine.files import write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.io.crowds import crowd_region
from stages.io.data_set import Box, Crowd, Dataset
from stages.io.label_maps import encode_label_map
from stages.io.score_maps import ScoreMap, encode_score_map, read_score_map
from stages.io.tables import TRUST, read_rows


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    trust: Annotated[float, Field(ge=-1, le=1)]
    weight: Annotated[float, Field(ge=0, le=1)]
    weak_weight: Annotated[float, Field(ge=0, le=1)]
    inside_boxes: bool
    box_margin: Annotated[float, Field(ge=0, le=1)]


@dataclasses.dataclass(frozen=True)
class Item:
    """One image, its boxes and crowds, the two maps, and the classes whose activations count."""

    image_id: str
    size: tuple[int, int]
    boxes: tuple[Box, ...]
    crowds: tuple[Crowd, ...]
    first: Path
    second: Path
    trusted: tuple[int, ...]
    params: Params


def maps_average(
    params: Params, data: Dataset, first: Path, second: Path, trust: Path, out: Path
) -> None:
    """Average the probabilities of the training images.

    Args:
        params: see `Params`.
        data: the data set.
        first: folder of <image_id>.npz, probabilities of the background and of classes.
        second: the same of another source; a class that one of them lacks is 0 there.
        trust: trust.parquet; a class of an image that is not in it is not trusted.
        out: gets maps/, labels/ and metrics.json.

    Raises:
        InputError: a source is missing, unreadable, of another size than its image or without
            background.
    """
    boxes, crowds = data.boxes(), data.crowds()
    trusted: dict[str, list[int]] = defaultdict(list)
    for row in read_rows(trust, TRUST):
        if row["trust"] >= params.trust:
            trusted[row["image_id"]].append(row["category"])
    items = {
        image.image_id: Item(
            image.image_id,
            image.size,
            boxes.get(image.image_id, ()),
            crowds.get(image.image_id, ()),
            first / f"{image.image_id}.npz",
            second / f"{image.image_id}.npz",
            tuple(trusted[image.image_id]),
            params,
        )
        for image in data.images("train")
    }
    stats = map_images(_one_image, items, out, stage="maps_average")
    metrics = {
        "images": len(items),
        "mean_weight": round(float(np.mean([each["weight"] for each in stats])), 4),
        "pixels_in_dispute": round(float(np.mean([each["dispute"] for each in stats])), 4),
    }
    write_json(out / "metrics.json", metrics)


def _one_image(item: Item) -> Outcome:
    params, size = item.params, item.size
    sources = [_probabilities(path, size) for path in (item.first, item.second)]
    classes = sorted({label for found in sources for label in found})
    empty = np.zeros(size, dtype=np.float32)
    first, second = (np.stack([found.get(label, empty) for label in classes]) for found in sources)
    weights = [
        params.weight if label in item.trusted else params.weak_weight for label in classes[1:]
    ]
    mean = weighted_mean(first, second, weights)
    corners = [widened(box.corners, params.box_margin) for box in item.boxes]
    categories = [box.category for box in item.boxes]
    scores = mean.copy()
    if params.inside_boxes:
        scores[~inside_own_boxes(corners, categories, classes, size)] = -1
    labels = np.array(classes, dtype=np.uint8)[scores.argmax(0)]
    labels = unknown_in_region(labels, crowd_region(item.crowds, size), corners, categories)
    score_map = ScoreMap(mean.astype(np.float16), np.array(classes, dtype=np.int64), size, 1)
    return Outcome(
        files={
            f"maps/{item.image_id}.npz": encode_score_map(score_map),
            f"labels/{item.image_id}.png": encode_label_map(labels),
        },
        stats={
            "weight": float(np.mean(weights)) if weights else params.weight,
            "dispute": float((first.argmax(0) != second.argmax(0)).mean()),
        },
    )


def _probabilities(path: Path, size: tuple[int, int]) -> dict[int, npt.NDArray[np.float32]]:
    """The map of each class, float32 [H, W]."""
    found = read_score_map(path, size)
    classes = [int(label) for label in found.classes]
    if 0 not in classes:
        raise InputError(f"{path}: classes {classes}; expected 0, the background, among them")
    return dict(zip(classes, cells_to_pixels(found.scores, size, found.stride), strict=True))


if __name__ == "__main__":
    run(maps_average)
