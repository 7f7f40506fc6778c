"""Instance masks of a set of images against the true ones, by every count that papers use.

COCO's average precision is pycocotools' own; the others are in models/average_precision.py. Shares
in [0, 1], NaN where there is nothing to find.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from models.average_precision import (
    found_share,
    image_average_precision,
    voc_instance_precision,
)

Floats = npt.NDArray[np.float64]
#: IoU at which a mask counts, of COCO and of the counts image by image.
THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


@dataclass(frozen=True)
class Objects:
    """The objects of one image, true or detected.

    Attributes:
        masks: COCO compressed run lengths: {"size": [H, W], "counts": ...}.
        categories: one label value each.
        scores: one each; those of true objects do not count.
        crowd: one each; true regions of many objects, which need not be found.
    """

    masks: Sequence[Mapping[str, Any]]
    categories: Sequence[int]
    scores: Sequence[float]
    crowd: Sequence[bool]

    @classmethod
    def of_arrays(
        cls,
        masks: npt.ArrayLike,
        categories: Sequence[int] | None = None,
        scores: Sequence[float] | None = None,
    ) -> "Objects":
        """Of bool masks [N, H, W]; by default all of one category, and all score 1."""
        arrays = np.asarray(masks, dtype=np.uint8)
        rles = [coco_mask.encode(np.asfortranarray(array)) for array in arrays]
        ones = [1] * len(rles)
        return cls(rles, categories or ones, scores or [1.0] * len(rles), [False] * len(rles))

    def whatever_class(self) -> "Objects":
        """The same, all of one category."""
        return Objects(self.masks, [1] * len(self.masks), self.scores, self.crowd)

    def of_category(self, category: int) -> "Objects":
        """Those of one category."""
        rows = [row for row, own in enumerate(self.categories) if own == category]
        return Objects(
            [self.masks[row] for row in rows],
            [category] * len(rows),
            [self.scores[row] for row in rows],
            [self.crowd[row] for row in rows],
        )


def overlaps(found: Objects, truth: Objects) -> Floats:
    """IoU of the detected masks with the true ones, [D, T]."""
    if not found.masks or not truth.masks:
        return np.zeros((len(found.masks), len(truth.masks)))
    return np.asarray(coco_mask.iou(found.masks, truth.masks, [0] * len(truth.masks)))


def coco_precision(truth: Sequence[Objects], found: Sequence[Objects]) -> dict[int, Floats]:
    """COCO's average precision, all sizes, 100 detections an image.

    Args:
        truth: image by image.
        found: of the same images.

    Returns:
        By category of the truth (crowds apart): [10] at `THRESHOLDS`.
    """
    labels = sorted({label for image in (*truth, *found) for label in image.categories})
    present = {
        label
        for image in truth
        for label, crowd in zip(image.categories, image.crowd, strict=True)
        if not crowd
    }
    if not present:
        return {}
    with redirect_stdout(io.StringIO()):  # pycocotools narrates
        evaluation = COCOeval(_as_coco(truth, labels), _as_coco(found, labels), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
    # [IoU threshold, recall, class, area range, detections]: all areas, 100 detections an image
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return {
        label: precision[:, :, index].mean(axis=1)
        for index, label in enumerate(labels)
        if label in present
    }


def voc_precision(truth: Sequence[Objects], found: Sequence[Objects], threshold: float) -> float:
    """VOC's average precision, the mean over the true categories; crowds are "difficult"."""
    values = []
    for category in sorted({label for image in truth for label in image.categories}):
        images = []
        for true, detected in zip(truth, found, strict=True):
            own, other = detected.of_category(category), true.of_category(category)
            ignored = np.array(other.crowd, dtype=bool)
            images.append((overlaps(own, other), np.array(own.scores, dtype=float), ignored))
        values.append(voc_instance_precision(images, threshold))
    return mean_known(values)


def image_precision(truth: Sequence[Objects], found: Sequence[Objects]) -> Floats:
    """The mean over images of their average precision, whatever the class: [10]."""
    return _over_images(truth, found, image_average_precision)


def share_found(truth: Sequence[Objects], found: Sequence[Objects]) -> Floats:
    """The mean over images of the share of objects found, whatever the class: [10]."""
    return _over_images(truth, found, lambda ious, _, threshold: found_share(ious, threshold))


def names_right(truth: Sequence[Objects], found: Sequence[Objects]) -> dict[str, float]:
    """How right the classes of masks are, whatever their outlines and scores; 0 is no class.

    A mask shows the class that most of its pixels are of in truth, crowds too, and noise where that
    is none.

    Returns:
        named: of all masks the share that is right, noise being so without a class; named_several:
        of those that show a class, in images that hold several; noise_found: of the masks that show
        noise, those without a class.
    """
    right, shows, several = [], [], []
    for true, detected in zip(truth, found, strict=True):
        shown = _shown_classes(true, detected)
        right += [own == real for own, real in zip(detected.categories, shown, strict=True)]
        shows += [real != 0 for real in shown]
        several += [len(set(true.categories)) > 1] * len(shown)
    rights, objects, many = (np.array(each, dtype=bool) for each in (right, shows, several))
    return {
        "named": mean_known(rights),
        "named_several": mean_known(rights[objects & many]),
        "noise_found": mean_known(rights[~objects]),
    }


def _shown_classes(truth: Objects, found: Objects) -> list[int]:
    """The class that each mask shows."""
    classes = sorted(set(truth.categories))
    if not found.masks or not classes:
        return [0] * len(found.masks)
    # beside a crowd pycocotools divides by the area of the detected mask
    shares = np.asarray(coco_mask.iou(found.masks, truth.masks, [1] * len(truth.masks)))
    of_class = np.array(truth.categories)[:, None] == classes
    sums = shares @ of_class
    background = 1 - sums.sum(axis=1, keepdims=True)
    winners = np.concatenate([background, sums], axis=1).argmax(axis=1)
    return [0 if winner == 0 else classes[winner - 1] for winner in winners.tolist()]


def mean_known(values: npt.ArrayLike) -> float:
    """The mean of the values that are not NaN; NaN if there are none."""
    array = np.asarray(values, dtype=float)
    known = array[~np.isnan(array)]
    return float(known.mean()) if known.size else float("nan")


def _over_images(
    truth: Sequence[Objects],
    found: Sequence[Objects],
    measure: Callable[[Floats, Floats, float], float],
) -> Floats:
    images = [
        (overlaps(detected, _counted(true)), np.array(detected.scores, dtype=float))
        for true, detected in zip(truth, found, strict=True)
    ]
    return np.array(
        [mean_known([measure(*image, threshold) for image in images]) for threshold in THRESHOLDS]
    )


def _counted(truth: Objects) -> Objects:
    """Without the crowds."""
    rows = [row for row, crowd in enumerate(truth.crowd) if not crowd]
    return Objects(
        [truth.masks[row] for row in rows],
        [truth.categories[row] for row in rows],
        [truth.scores[row] for row in rows],
        [False] * len(rows),
    )


def _as_coco(images: Sequence[Objects], labels: Sequence[int]) -> COCO:
    annotations = [
        {
            "image_id": number,
            "category_id": label,
            "segmentation": dict(rle),
            "area": float(coco_mask.area(rle)),
            "iscrowd": int(crowd),
            "score": score,
        }
        for number, image in enumerate(images, start=1)
        for rle, label, score, crowd in zip(
            image.masks, image.categories, image.scores, image.crowd, strict=True
        )
    ]
    coco = COCO()
    coco.dataset = {
        # pycocotools asks for the sides of every image, which run lengths hold themselves
        "images": [{"id": n, "height": 0, "width": 0} for n in range(1, len(images) + 1)],
        "categories": [{"id": label} for label in labels],
        # an id of 0 would count as "not matched"
        "annotations": [{"id": index} | entry for index, entry in enumerate(annotations, start=1)],
    }
    coco.createIndex()
    return coco
