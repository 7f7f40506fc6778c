"""Two sources of class probabilities averaged: each errs where the other does not.

A graph network follows what one image looks like, a network over all boxes what objects look like.
Writes maps/<image_id>.npz, probabilities per pixel, and labels/<image_id>.png, the likeliest class
of each, 255 where only a crowd claims it.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.ops.boxes import inside_own_boxes, unknown_in_region, widened
from models.ops.cells import cells_to_pixels
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

    weight: Annotated[float, Field(ge=0, le=1)]
    least_trust: Annotated[float, Field(ge=-1, le=1)]
    inside_boxes: bool
    box_margin: Annotated[float, Field(ge=0, le=1)]


@dataclasses.dataclass(frozen=True)
class Item:
    """One image, its boxes and crowds, and its two score maps."""

    image_id: str
    size: tuple[int, int]
    boxes: tuple[Box, ...]
    crowds: tuple[Crowd, ...]
    first: Path
    second: Path
    params: Params


def maps_average(
    params: Params, data: Dataset, first: Path, second: Path, trust: Path, out: Path
) -> None:
    """Average the probabilities of the training images.

    The first source learned from class activations: where most of them deserve no trust, the second
    stands alone.

    Args:
        params: see `Params`.
        data: the data set.
        first: folder of <image_id>.npz, probabilities of the background and of classes.
        second: the same of another source; a class that one of them lacks is 0 there.
        trust: trust.parquet, how far each activation map may speak.
        out: gets maps/, labels/ and metrics.json.

    Raises:
        InputError: a source is missing, unreadable, of another size than its image or without
            background.
    """
    boxes, crowds = data.boxes(), data.crowds()
    trusts = [row["trust"] for row in read_rows(trust, TRUST)]
    middle = float(np.median(trusts)) if trusts else params.least_trust
    if middle < params.least_trust:
        params = dataclasses.replace(params, weight=0)
        print(
            f"maps_average: median trust of the activations {middle:.2f}: the second source alone"
        )
    items = {
        image.image_id: Item(
            image.image_id,
            image.size,
            boxes.get(image.image_id, ()),
            crowds.get(image.image_id, ()),
            first / f"{image.image_id}.npz",
            second / f"{image.image_id}.npz",
            params,
        )
        for image in data.images("train")
    }
    stats = map_images(_one_image, items, out, stage="maps_average")
    dispute = float(np.mean([each["dispute"] for each in stats]))
    metrics: dict[str, float] = {"images": len(items), "mean_dispute": round(dispute, 4)}
    metrics |= {"median_trust": round(middle, 4), "weight": params.weight}
    write_json(out / "metrics.json", metrics)


def _one_image(item: Item) -> Outcome:
    params, size = item.params, item.size
    sources = [_read_source(path, size) for path in (item.first, item.second)]
    classes = sorted({label for scores in sources for label in scores})
    nowhere = np.zeros(size, dtype=np.float32)
    first, second = (
        np.stack([scores.get(label, nowhere) for label in classes]) for scores in sources
    )
    mean = params.weight * first + (1 - params.weight) * second
    corners = [widened(box.corners, params.box_margin) for box in item.boxes]
    categories = [box.category for box in item.boxes]
    allowed = np.ones(mean.shape, dtype=bool)
    if params.inside_boxes:
        allowed = inside_own_boxes(corners, categories, classes, size)
    labels = np.array(classes, dtype=np.uint8)[np.where(allowed, mean, -1).argmax(axis=0)]
    labels = unknown_in_region(labels, crowd_region(item.crowds, size), corners, categories)
    score_map = ScoreMap(mean.astype(np.float16), np.array(classes, dtype=np.int64), size, 1)
    return Outcome(
        files={
            f"maps/{item.image_id}.npz": encode_score_map(score_map),
            f"labels/{item.image_id}.png": encode_label_map(labels),
        },
        stats={"dispute": float((first.argmax(axis=0) != second.argmax(axis=0)).mean())},
    )


def _read_source(path: Path, size: tuple[int, int]) -> dict[int, npt.NDArray[np.float32]]:
    """The scores of each class, float32 [H, W]."""
    score_map = read_score_map(path, size)
    classes = [int(label) for label in score_map.classes]
    if 0 not in classes:
        raise InputError(f"{path}: classes {classes}; expected 0, the background, among them")
    return dict(
        zip(classes, cells_to_pixels(score_map.scores, size, score_map.stride), strict=True)
    )


if __name__ == "__main__":
    run(maps_average)
