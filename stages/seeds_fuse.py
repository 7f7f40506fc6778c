"""Class activation maps and what was cut out of the boxes fused to seeds, and the confident ones.

A2GNN eq. 1, 4, 5 (https://arxiv.org/abs/2106.04054).

Writes for every training image
    cam/<image_id>.png        M_I: the class of the highest activation, complete, in crowds too;
    fused/<image_id>.png      M_F: both sources in agreement, 255 elsewhere (eq. 4);
    confident/<image_id>.png  M_g: what of M_F is confident, 255 elsewhere (eq. 5);
and trust.parquet, how far the activations of each class may speak, in all and in each image
(models/a2gnn/trust.py). Where they may not, they neither make nor confirm a seed, and what the
boxes tell stands alone.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.a2gnn.seeds import (
    agreeing_seeds,
    box_seeds,
    cam_labels,
    confident_cam,
    confident_seeds,
    fused_seeds,
    unseen_boxes,
    with_inner_background,
)
from models.a2gnn.trust import activation_share, map_trust
from models.ops.boxes import inside_own_boxes, outside_boxes
from models.ops.cells import cells_to_pixels
from stages.engine.command import run
from stages.engine.files import write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.engine.progress import counted
from stages.io.data_set import Box, Dataset, ImageFile
from stages.io.label_maps import UNKNOWN, encode_label_map, read_label_map
from stages.io.score_maps import read_score_map
from stages.io.tables import TRUST, write_table


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is.

    For `confident_rule` see models/a2gnn/seeds.py: eq. 5 as printed keeps all of M_F.
    """

    threshold: Annotated[float, Field(ge=0, lt=1)]
    confident_fraction: Annotated[float, Field(gt=0, le=1)]
    confident_rule: Literal["agreement", "printed"]
    inside_background: Annotated[float, Field(ge=0, le=1)]
    trust: Annotated[float, Field(ge=-1, le=1)]


@dataclasses.dataclass(frozen=True)
class Item:
    """One image, its boxes, the two sources of its seeds, and the classes of no trust."""

    image_id: str
    size: tuple[int, int]
    boxes: tuple[Box, ...]
    cams: Path
    cuts: Path
    weak: tuple[int, ...]
    params: Params


def seeds_fuse(params: Params, data: Dataset, cams: Path, cuts: Path, out: Path) -> None:
    """Fuse the seeds of the training images.

    Args:
        params: see `Params`.
        data: the data set.
        cams: folder of <image_id>.npz, activations in [0, 1] of the tagged classes.
        cuts: folder of <image_id>.png, the labels of what was cut out of the boxes, 0 what was
            not, outside of them and inside; what is 255 there (in doubt, crowds) is no seed.
        out: gets cam/, fused/, confident/, trust.parquet and metrics.json.

    Raises:
        InputError: a source is missing, unreadable or of another size than its image.
    """
    boxes, images = data.boxes(), data.images("train")
    trust = _measure_trust(images, boxes, cams)
    weak = trust[trust["trust"] < params.trust].groupby("image_id")["category"].agg(tuple)
    items = {
        image.image_id: Item(
            image.image_id,
            image.size,
            boxes.get(image.image_id, ()),
            cams / f"{image.image_id}.npz",
            cuts / f"{image.image_id}.png",
            weak.get(image.image_id, ()),
            params,
        )
        for image in images
    }
    stats = map_images(_one_image, items, out, stage="seeds_fuse")
    total = {name: int(sum(each[name] for each in stats)) for name in stats[0]}
    objects = max(total["box_pixels"], 1)
    write_table(out / "trust.parquet", trust, TRUST)
    classes = trust.drop_duplicates("category")
    weak_classes = int((classes["class_trust"] < params.trust).sum())
    write_json(
        out / "metrics.json",
        {
            "images": len(items),
            "boxes": total["boxes"],
            "boxes_without_their_class_in_cam": total["boxes_unseen"],
            "fused_share_of_box_pixels": round(total["fused_pixels"] / objects, 4),
            "confident_share_of_box_pixels": round(total["confident_pixels"] / objects, 4),
            "classes": len(classes),
            "classes_too_weak": weak_classes,
            "maps": len(trust),
            "maps_too_weak": sum(len(item.weak) for item in items.values()),
        },
    )
    print(
        f"seeds_fuse: activations of {weak_classes} of {len(classes)} classes are too weak to use"
        if weak_classes
        else f"seeds_fuse: activations of all {len(classes)} classes are used"
    )


def _measure_trust(
    images: Sequence[ImageFile], boxes: Mapping[str, tuple[Box, ...]], cams: Path
) -> pd.DataFrame:
    """The table `TRUST` of all maps: each by what of it is in its own boxes."""
    rows: list[tuple[str, int]] = []
    shares: list[tuple[float, float]] = []
    for image in counted(images, "seeds_fuse", "images weighed"):
        name, size = image.image_id, image.size
        found = read_score_map(cams / f"{name}.npz", size)
        scores = cells_to_pixels(found.scores, size, found.stride)
        classes = [int(label) for label in found.classes]
        corners = [box.corners for box in boxes.get(name, ())]
        categories = [box.category for box in boxes.get(name, ())]
        inside = inside_own_boxes(corners, categories, classes, size)
        for label, activations, own in zip(classes, scores, inside, strict=True):
            rows.append((name, label))
            shares.append(activation_share(activations, own))
    table = pd.DataFrame(rows, columns=["image_id", "category"])
    of_class, of_map = map_trust(
        [label for _, label in rows], [share for share, _ in shares], [area for _, area in shares]
    )
    return table.assign(class_trust=[of_class[label] for _, label in rows], trust=of_map)


def _one_image(item: Item) -> Outcome:
    cams = read_score_map(item.cams, item.size)
    cut = read_label_map(item.cuts, item.size)
    boxes = [box.corners for box in item.boxes]
    categories = [box.category for box in item.boxes]
    classes = [int(label) for label in cams.classes]
    scores = cells_to_pixels(cams.scores, cams.size, cams.stride)
    shown = cam_labels(scores, classes, item.params.threshold)
    strong = [row for row, label in enumerate(classes) if label not in item.weak]
    scores, classes = scores[strong], [classes[row] for row in strong]
    cam = cam_labels(scores, classes, item.params.threshold)
    grabcut = box_seeds(cut, boxes)
    fused = fused_seeds(cam, grabcut, boxes, categories)
    if item.params.inside_background > 0:
        calm = scores.max(axis=0, initial=0.0) < item.params.inside_background
        fused = with_inner_background(fused, cut, calm)
    top = confident_cam(scores, classes, item.params.confident_fraction)
    if item.params.confident_rule == "printed":
        confident = confident_seeds(fused, grabcut, top)
    else:
        confident = agreeing_seeds(cam, fused, top, boxes, categories)
    label_maps = {
        f"cam/{item.image_id}.png": shown,
        f"fused/{item.image_id}.png": fused,
        f"confident/{item.image_id}.png": confident,
    }
    stats = {
        "boxes": len(boxes),
        "boxes_unseen": len(unseen_boxes(shown, boxes, categories)),
        "box_pixels": int((~outside_boxes(boxes, item.size)).sum()),
        "fused_pixels": int(((fused != UNKNOWN) & (fused != 0)).sum()),
        "confident_pixels": int(((confident != UNKNOWN) & (confident != 0)).sum()),
    }
    return Outcome({name: encode_label_map(labels) for name, labels in label_maps.items()}, stats)


if __name__ == "__main__":
    run(seeds_fuse)
