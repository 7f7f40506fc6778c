"""Class activation maps and what is known of an image fused to seeds, and the confident ones.

A2GNN eq. 1, 4, 5 and section 7.1 (https://arxiv.org/abs/2106.04054).

Writes for every training image
    cam/<image_id>.png        M_I: the class of the highest activation, complete, in crowds too;
    fused/<image_id>.png      M_F: both sources in agreement, 255 elsewhere (eq. 4);
    confident/<image_id>.png  M_g: what of M_F is confident, 255 elsewhere (eq. 5);
    pairs/<image_id>.png      what pairs of pixels are learned from.
Each image is treated by the strongest kind of labels that it carries (`labels`). What stands above
is of boxes. Elsewhere, with M'_I what is activated for certain (`activated_rule`: the most
activated pixels of each class, or what two CRFs leave no doubt of, models/ops/crf_seeds.py):
                fused                   confident               pairs
    mask        the mask                the mask                the mask
    scribble    strokes over M'_I       the strokes alone       as fused
    point       points over M'_I        as fused                M'_I
    tag         M'_I                    as fused                as fused
Strokes and points take the superpixels that they lie in. Points name no background in the paper,
so what they leave unknown is M'_I, that of strokes stays unknown.
Besides, trust.parquet, how far the activations of each class may speak, in all and in each image
(models/a2gnn/trust.py). Where they may not, they neither make nor confirm a seed, and what the
boxes tell stands alone.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.a2gnn.marks import (
    expanded_marks,
    merged_seeds,
    point_marks,
    salient_seeds,
    superpixels,
)
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
from models.ops.crf_seeds import crf_seeds
from stages.engine.command import run
from stages.engine.files import write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.engine.progress import counted
from stages.io.data_set import Dataset, ImageFile, InUse, Kind, Point
from stages.io.label_maps import UNKNOWN, LabelMap, encode_label_map, read_label_map
from stages.io.photographs import RGB
from stages.io.salient_maps import read_saliency
from stages.io.score_maps import read_score_map
from stages.io.tables import TRUST, write_table


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is.

    For `confident_rule` see models/a2gnn/seeds.py: eq. 5 as printed keeps all of M_F.
    """

    labels: Annotated[tuple[Kind, ...], Field(min_length=1)]
    threshold: Annotated[float, Field(ge=0, lt=1)]
    confident_fraction: Annotated[float, Field(gt=0, le=1)]
    confident_rule: Literal["agreement", "printed"]
    inside_background: Annotated[float, Field(ge=0, le=1)]
    trust: Annotated[float, Field(ge=-1, le=1)]
    activated_rule: Literal["top", "crf"]
    low_alpha: Annotated[float, Field(gt=0)]
    high_alpha: Annotated[float, Field(gt=0)]
    superpixel: Annotated[int, Field(gt=0)]
    compactness: Annotated[float, Field(gt=0)]
    saliency: Annotated[float, Field(ge=0, le=1)]


@dataclasses.dataclass(frozen=True)
class Item:
    """One image, what is known of it, the sources of its seeds, and the classes of no trust.

    `marks` is the file of its strokes, `saliency` that of its saliency; None where it has none.
    """

    image: ImageFile
    known: InUse
    cams: Path
    cuts: Path
    points: tuple[Point, ...]
    marks: Path | None
    saliency: Path | None
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
        out: gets cam/, fused/, confident/, pairs/, trust.parquet and metrics.json.

    Raises:
        InputError: an image carries none of the kinds of `labels`, but others; or a source is
            missing, unreadable or of another size than its image.
    """
    data = dataclasses.replace(data, kinds=params.labels)
    known, images, points = data.labels_in_use(), data.images("train"), data.points()
    boxed = [image for image in images if known[image.image_id].kind == "box"]
    trust = _measure_trust(boxed, known, cams)
    weak = trust[trust["trust"] < params.trust].groupby("image_id")["category"].agg(tuple)
    items = {}
    for image in images:
        name, kind = image.image_id, known[image.image_id].kind
        items[name] = Item(
            image,
            known[name],
            cams / f"{name}.npz",
            cuts / f"{name}.png",
            points.get(name, ()) if kind == "point" else (),
            data.map_file("scribbles", name) if kind == "scribble" else None,
            data.map_file("saliency", name) if kind == "tag" and params.saliency else None,
            weak.get(name, ()),
            params,
        )
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
            "images_by_kind": dict(Counter(item.known.kind for item in items.values())),
        },
    )
    if not len(classes):
        return  # without boxes nothing tells how far activations may speak
    print(
        f"seeds_fuse: activations of {weak_classes} of {len(classes)} classes are too weak to use"
        if weak_classes
        else f"seeds_fuse: activations of all {len(classes)} classes are used"
    )


def _measure_trust(
    images: Sequence[ImageFile], known: Mapping[str, InUse], cams: Path
) -> pd.DataFrame:
    """The table `TRUST` of all maps: each by what of it is in its own boxes."""
    rows: list[tuple[str, int]] = []
    shares: list[tuple[float, float]] = []
    for image in counted(images, "seeds_fuse", "images weighed"):
        name, size = image.image_id, image.size
        found = read_score_map(cams / f"{name}.npz", size)
        scores = cells_to_pixels(found.scores, size, found.stride)
        classes = [int(label) for label in found.classes]
        corners = [box.corners for box in known[name].boxes]
        categories = [box.category for box in known[name].boxes]
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
    name, size = item.image.image_id, item.image.size
    cams = read_score_map(item.cams, size)
    classes = [int(label) for label in cams.classes]
    scores = cells_to_pixels(cams.scores, cams.size, cams.stride)
    shown = cam_labels(scores, classes, item.params.threshold)
    seeds = _box_seeds if item.known.kind == "box" else _other_seeds
    label_maps = {"cam": shown, **seeds(item, scores, classes)}
    boxes = [box.corners for box in item.known.boxes]
    categories = [box.category for box in item.known.boxes]
    inside = ~outside_boxes(boxes, size)
    fused, confident = label_maps["fused"], label_maps["confident"]
    stats = {
        "boxes": len(boxes),
        "boxes_unseen": len(unseen_boxes(shown, boxes, categories)),
        "box_pixels": int(inside.sum()),
        "fused_pixels": int((inside & (fused != UNKNOWN) & (fused != 0)).sum()),
        "confident_pixels": int((inside & (confident != UNKNOWN) & (confident != 0)).sum()),
    }
    files = {
        f"{folder}/{name}.png": encode_label_map(labels) for folder, labels in label_maps.items()
    }
    return Outcome(files, stats)


def _box_seeds(
    item: Item, scores: npt.NDArray[np.float32], classes: Sequence[int]
) -> dict[str, LabelMap]:
    """Eq. 4 and 5: activations [C, H, W] of the classes, and what was cut out of the boxes."""
    cut = read_label_map(item.cuts, item.image.size)
    boxes = [box.corners for box in item.known.boxes]
    categories = [box.category for box in item.known.boxes]
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
    return {"fused": fused, "confident": confident, "pairs": confident}


def _other_seeds(
    item: Item, scores: npt.NDArray[np.float32], classes: Sequence[int]
) -> dict[str, LabelMap]:
    """Section 7.1: of masks, strokes, points and tags."""
    size, params = item.image.size, item.params
    if item.known.mask is not None:
        mask = read_label_map(item.known.mask, size)
        return {"fused": mask, "confident": mask, "pairs": mask}
    image = item.image.read()
    activated = _activated(params, scores, classes, image)
    if item.known.kind == "tag":
        if item.saliency is not None:
            saliency = read_saliency(item.saliency, size)
            activated = salient_seeds(activated, saliency, params.saliency)
        return {"fused": activated, "confident": activated, "pairs": activated}
    if item.known.kind == "scribble" and item.marks is not None:
        marks = read_label_map(item.marks, size)
    else:
        marks = point_marks([(p.category, p.x, p.y) for p in item.points], size)
    segments = superpixels(image, params.superpixel, params.compactness)
    marked = expanded_marks(marks, segments)
    merged = merged_seeds(marked, activated)
    if item.known.kind == "scribble":
        return {"fused": merged, "confident": marked, "pairs": merged}
    return {"fused": merged, "confident": merged, "pairs": activated}


def _activated(
    params: Params, scores: npt.NDArray[np.float32], classes: Sequence[int], image: RGB
) -> LabelMap:
    """M'_I; every tagged class has something of it, however little a CRF leaves."""
    top = confident_cam(scores, classes, params.confident_fraction)
    if params.activated_rule == "top":
        return top
    found = crf_seeds(
        scores, classes, image, low_alpha=params.low_alpha, high_alpha=params.high_alpha
    )
    lost = np.setdiff1d(classes, found)
    return np.where(np.isin(top, lost), top, found)


if __name__ == "__main__":
    run(seeds_fuse)
