"""Two sources of class probabilities averaged: each errs where the other does not.

A graph network follows what one image looks like, a network over all boxes what objects look like.
Of an image without boxes that one knows nothing: there the other source is a random walk, with a
weight by kind of label. A whole mask stays as it is. Writes maps/<image_id>.npz, probabilities per
pixel, and labels/<image_id>.png, the likeliest class of each, 255 where only a crowd claims it.
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
from stages.io.data_set import Dataset, InUse
from stages.io.label_maps import encode_label_map
from stages.io.score_maps import ScoreMap, encode_score_map, read_score_map
from stages.io.tables import TRUST, read_rows


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    weight: Annotated[float, Field(ge=0, le=1)]
    walk_tag: Annotated[float, Field(ge=0, le=1)]
    walk_point: Annotated[float, Field(ge=0, le=1)]
    walk_scribble: Annotated[float, Field(ge=0, le=1)]
    least_trust: Annotated[float, Field(ge=-1, le=1)]
    inside_boxes: bool
    box_margin: Annotated[float, Field(ge=0, le=1)]


@dataclasses.dataclass(frozen=True)
class Item:
    """One image, its two score maps, and the weight of the first."""

    image_id: str
    size: tuple[int, int]
    known: InUse
    first: Path
    second: Path
    weight: float
    params: Params


def maps_average(
    params: Params, data: Dataset, first: Path, second: Path, walk: Path, trust: Path, out: Path
) -> None:
    """Average the probabilities of the training images.

    The first source learned from class activations: where most of them deserve no trust, the second
    stands alone.

    Args:
        params: see `Params`.
        data: the data set.
        first: folder of <image_id>.npz, probabilities of the background and of classes.
        second: the same of another source; a class that one of them lacks is 0 there.
        walk: the same of the random walk, which is the second where there are no boxes.
        trust: trust.parquet, how far each activation map may speak.
        out: gets maps/, labels/ and metrics.json.

    Raises:
        InputError: a source is missing, unreadable, of another size than its image or without
            background.
    """
    known = data.labels_in_use()
    trusts = [row["trust"] for row in read_rows(trust, TRUST)]
    middle = float(np.median(trusts)) if trusts else params.least_trust
    if middle < params.least_trust:
        params = dataclasses.replace(params, weight=0)
        print(
            f"maps_average: median trust of the activations {middle:.2f}: the second source alone"
        )
    weights = {
        "box": params.weight,
        "tag": 1 - params.walk_tag,
        "point": 1 - params.walk_point,
        "scribble": 1 - params.walk_scribble,
        "mask": 1.0,
    }
    items = {}
    for image in data.images("train"):
        name, kind = image.image_id, known[image.image_id].kind
        other = second if kind == "box" else walk
        items[name] = Item(
            name,
            image.size,
            known[name],
            first / f"{name}.npz",
            other / f"{name}.npz",
            weights[kind],
            params,
        )
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
    mean = item.weight * first + (1 - item.weight) * second
    corners = [widened(box.corners, params.box_margin) for box in item.known.boxes]
    categories = [box.category for box in item.known.boxes]
    allowed = np.ones(mean.shape, dtype=bool)
    if params.inside_boxes and item.known.kind == "box":
        allowed = inside_own_boxes(corners, categories, classes, size)
    labels = np.array(classes, dtype=np.uint8)[np.where(allowed, mean, -1).argmax(axis=0)]
    labels = unknown_in_region(labels, crowd_region(item.known.crowds, size), corners, categories)
    content = encode_label_map(labels)
    if item.known.mask is not None:
        content = item.known.mask.read_bytes()
    score_map = ScoreMap(mean.astype(np.float16), np.array(classes, dtype=np.int64), size, 1)
    return Outcome(
        files={
            f"maps/{item.image_id}.npz": encode_score_map(score_map),
            f"labels/{item.image_id}.png": content,
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
