"""Dense CRF on score maps or label maps: final labels that follow the edges of the photograph.

Writes <image_id>.png for every image of a split. Only the classes that the source shows take part.
With `inside_boxes` every box has a CRF at its own scale, and no box that has its class in the
source is left without it. Complete but for crowd regions: there a pixel that no box of its class
claims is 255. Where an image is known by no boxes every class may be anywhere, and so it may in
validation images, whose boxes are not looked at. A whole mask stays as it is.
The CRF: https://arxiv.org/abs/1210.5644.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.ops.box_crf import BoxKernels, crf_in_boxes
from models.ops.boxes import (
    inside_own_boxes,
    outside_boxes,
    unknown_in_region,
    widened,
    with_emptied_boxes,
)
from models.ops.cells import cells_to_pixels
from models.ops.crf import allowed_only, dense_crf, label_probabilities
from stages.engine.command import run
from stages.engine.errors import InputError
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.io.crowds import crowd_region
from stages.io.data_set import Dataset, ImageFile, InUse, Split
from stages.io.label_maps import UNKNOWN, encode_label_map, read_label_map
from stages.io.score_maps import read_score_map


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params(BoxKernels):
    """Numbers of this stage; params.yaml says what each is.

    # differs from the paper and from its public code: the kernels are IRN's, for all sources alike.

    With `inside_boxes` a class starts outside its boxes with probability 1e-5 and cannot win; in
    crowd regions without boxes all may be.
    """

    label_confidence: Annotated[float, Field(gt=0, lt=1)]
    inside_boxes: bool
    box_margin: Annotated[float, Field(ge=0, le=1)]


@dataclasses.dataclass(frozen=True)
class Item:
    """One image, what is known of it, and the file to refine: .npz scores or .png labels."""

    image: ImageFile
    known: InUse
    source: Path
    params: Params


def crf_refine(params: Params, data: Dataset, split: Split, source: Path, out: Path) -> None:
    """Refine the labels of the images of a split.

    Args:
        params: see `Params`.
        data: the data set.
        split: train or val.
        source: folder of <image_id>.npz (probabilities) or <image_id>.png (labels, 255 = unknown).
        out: gets <image_id>.png.

    Raises:
        InputError: an image has no file in `source`, or one that is unreadable or of another size.
    """
    known = data.labels_in_use() if split == "train" else {}
    nothing = InUse("tag")
    items = {
        image.image_id: Item(
            image,
            known.get(image.image_id, nothing),
            _source_file(source, image.image_id),
            params,
        )
        for image in data.labelled_images(split, source)
    }
    map_images(_one_image, items, out, stage="crf_refine")


def _source_file(source: Path, image_id: str) -> Path:
    for path in (source / f"{image_id}.npz", source / f"{image_id}.png"):
        if path.is_file():
            return path
    raise InputError(f"{source}: neither {image_id}.npz nor {image_id}.png")


def _one_image(item: Item) -> Outcome:
    params, size = item.params, item.image.size
    name = f"{item.image.image_id}.png"
    if item.known.mask is not None:
        return Outcome({name: item.known.mask.read_bytes()})
    probabilities, classes = _read_source(item)
    corners = [widened(box.corners, params.box_margin) for box in item.known.boxes]
    categories = [box.category for box in item.known.boxes]
    crowd = crowd_region(item.known.crowds, size)
    names = np.asarray(classes, dtype=np.uint8)
    if params.inside_boxes and item.known.kind == "box":
        # differs from the paper, whose CRF knows no boxes: a box holds all of its object, so a
        # class outside its own boxes is wrong for certain (as far as the boxes are right)
        allowed = inside_own_boxes(corners, categories, classes, size)
        allowed[:, crowd & outside_boxes(corners, size)] = True
        probabilities = allowed_only(probabilities, allowed, classes.index(0))
        own = [classes.index(label) if label in classes else -1 for label in categories]
        winner = crf_in_boxes(probabilities, allowed, item.image.read(), corners, own, params)
        labels = np.where(outside_boxes(corners, size), np.uint8(0), names[winner])
        source = names[np.where(allowed, probabilities, -1).argmax(axis=0)]
        labels = with_emptied_boxes(labels, source, corners, categories)
    else:
        labels = names[dense_crf(probabilities, item.image.read(), params).argmax(axis=0)]
    labels = unknown_in_region(labels, crowd, corners, categories)
    return Outcome({name: encode_label_map(labels)})


def _read_source(item: Item) -> tuple[npt.NDArray[np.float32], list[int]]:
    """Probabilities [C, H, W] of the classes present, and these classes; 0 is always among them."""
    if item.source.suffix == ".npz":
        score_map = read_score_map(item.source, item.image.size)
        classes = [int(label) for label in score_map.classes]
        scores = cells_to_pixels(score_map.scores, score_map.size, score_map.stride)
    else:
        labels = read_label_map(item.source, item.image.size)
        classes = sorted({0, *(int(label) for label in np.unique(labels))} - {UNKNOWN})
        scores = label_probabilities(labels, classes, item.params.label_confidence)
    if 0 not in classes:
        expected = "expected 0, the background, among them"
        raise InputError(f"{item.source}: classes {classes}; {expected}")
    return scores, classes


if __name__ == "__main__":
    run(crf_refine)
