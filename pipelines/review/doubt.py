"""How far the labels of an image are to be doubted, told without ground truth."""

import math
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from pipelines.look.layers import Catalogue, Kind, Layer
from stages.engine.errors import InputError
from stages.engine.parallel import default_workers
from stages.io.data_set import Box
from stages.io.label_maps import UNKNOWN, LabelMap, read_label_map
from stages.io.score_maps import ScoreMap, read_score_map

Measure = Literal["disagreement", "entropy", "unfilled"]


@dataclass(frozen=True)
class Doubt:
    """Reasons to doubt the labels of one image, each in percent; None where it cannot be told.

    Attributes:
        image_id: of the image.
        disagreement: see `disagreement`, between the opinions of the line.
        entropy: see `entropy`, of the score maps among them.
        unfilled: see `unfilled`, of the final labels: that of the worst box.
        boxes: the same of each box, in the order of the catalogue.
    """

    image_id: str
    disagreement: float | None
    entropy: float | None
    unfilled: float | None
    boxes: tuple[float | None, ...] = ()


def final_layer(catalogue: Catalogue) -> Layer:
    """The labels that dvc.yaml calls final; of the first line that has some.

    Raises:
        InputError: the revision has none.
    """
    layers = catalogue.labelled("final", Kind.LABELS)
    if not layers:
        raise InputError(f"{catalogue.revision.name}: has no final labels")
    return layers[0]


def opinions(catalogue: Catalogue, kind: Kind) -> list[Layer]:
    """The layers of the line of the final labels that dvc.yaml declares to be opinions."""
    final = catalogue.labelled("final", Kind.LABELS)
    line = final[0].output.line if final else ""
    layers = catalogue.labelled("opinion", kind)
    return [layer for layer in layers if layer.output.line in (line, "") or not line]


def doubt(catalogue: Catalogue, image_id: str) -> Doubt:
    """The doubt about one image; what the revision has no labels or scores for is None.

    Raises:
        MissingObject: a file is in no cache.
        InputError: a file cannot be read, or two differ in size.
    """
    return doubt_of_files(*_evidence(catalogue, [image_id])[0])


def doubt_of_files(
    image_id: str,
    sources: Sequence[Path],
    scores: Path | None,
    final: Path | None,
    boxes: Sequence[Box],
) -> Doubt:
    """`doubt` from the files themselves; a plain function, to be called anywhere.

    Args:
        image_id: of the image.
        sources: label maps to hold against one another, as many as there are.
        scores: a score map.
        final: the final label map.
        boxes: of the image.

    Raises:
        InputError: a file cannot be read, or two differ in size.
    """
    maps = [read_label_map(path) for path in sources]
    if len({labels.shape for labels in maps}) > 1:
        names = ", ".join(
            f"{path} {labels.shape}" for path, labels in zip(sources, maps, strict=True)
        )
        raise InputError(f"image {image_id!r}: label maps of different sizes: {names}")
    shares: tuple[float | None, ...] = ()
    if final is not None:
        labels = read_label_map(final)
        shares = tuple(unfilled(labels, box) for box in boxes)
    return Doubt(
        image_id,
        disagreement(maps),
        None if scores is None else entropy(read_score_map(scores)),
        max((share for share in shares if share is not None), default=None),
        shares,
    )


def worst_first(catalogue: Catalogue, by: Measure) -> list[Doubt]:
    """The doubt about every image that has final labels, the largest `by` first, None last.

    Images with the same value come in alphabetical order.

    Raises:
        MissingObject: a file is in no cache.
        InputError: no final labels; a file cannot be read, or two differ in size.
    """
    work = _evidence(catalogue, final_layer(catalogue).files)
    # threads: reading a PNG takes most of the time and lets the others run
    with ThreadPoolExecutor(default_workers()) as pool:
        doubts = list(_bar(pool.map(lambda item: doubt_of_files(*item), work), len(work)))

    def order(one: Doubt) -> tuple[float, str]:
        value: float | None = getattr(one, by)
        return (math.inf if value is None else -value), one.image_id

    return sorted(doubts, key=order)


def disagreement(maps: Sequence[LabelMap]) -> float | None:
    """Percent of the pixels on which not all label maps say the same.

    Only the pixels that are known in every one of the maps count, so that a source that leaves
    most of an image unknown is held against the others where it dares to speak.

    Args:
        maps: uint8 [H, W], of one size; 255 is unknown.

    Returns:
        None with fewer than two maps, or without a pixel that is known in all.
    """
    if len(maps) < 2:
        return None
    known = np.ones(maps[0].shape, dtype=bool)
    differs = np.zeros(maps[0].shape, dtype=bool)
    for labels in maps:
        known &= labels != UNKNOWN
        differs |= labels != maps[0]
    count = np.count_nonzero(known)
    return 100 * np.count_nonzero(differs & known) / count if count else None


def entropy(scores: ScoreMap) -> float | None:
    """Mean entropy of the cells' class distributions, in percent of its largest possible value.

    The scores of a cell are divided by their sum; a cell without any score is left out.

    Returns:
        None with fewer than two classes, or when no cell has a score.
    """
    classes = len(scores.classes)
    if classes < 2:
        return None
    values = scores.scores.reshape(classes, -1).astype(np.float32).clip(0)
    total = values.sum(axis=0)
    held = total > 0
    if not held.any():
        return None
    share = values[:, held] / total[held]
    # 0 log 0 = 0
    spread = -(share * np.log(share, where=share > 0, out=np.zeros_like(share))).sum(axis=0)
    return float(100 * spread.mean(dtype=np.float64) / math.log(classes))


def unfilled(labels: LabelMap, box: Box) -> float | None:
    """How far the labels of a box fall short of its sides, in percent.

    A good mask touches all four sides of its box. The part of the box's area that is outside the
    smallest rectangle around the pixels of its class inside it; 100 when there are none. A pixel
    is inside when its centre is.

    Returns:
        None when the box holds no pixel's centre inside the image.
    """
    x0, y0, x1, y1 = (max(math.ceil(side - 0.5), 0) for side in box.corners)
    mask = labels[y0:y1, x0:x1] == box.category
    if mask.size == 0:
        return None
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    covered = 0
    if rows.size:
        covered = int((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1))
    return 100 * (1 - covered / int(mask.size))


_Evidence = tuple[str, list[Path], Path | None, Path | None, tuple[Box, ...]]


def _evidence(catalogue: Catalogue, image_ids: Iterable[str]) -> list[_Evidence]:
    """The arguments of `doubt_of_files` for each image."""
    sources = opinions(catalogue, Kind.LABELS)
    scores = next(iter(opinions(catalogue, Kind.SCORES)), None)
    final = next(iter(catalogue.labelled("final", Kind.LABELS)), None)

    def path_of(layer: Layer | None, image_id: str) -> Path | None:
        return None if layer is None else catalogue.path_of(layer, image_id)

    evidence: list[_Evidence] = []
    for image_id in image_ids:
        paths = [path_of(layer, image_id) for layer in sources]
        maps = [path for path in paths if path is not None]
        boxes = catalogue.boxes.get(image_id, ())
        evidence.append(
            (image_id, maps, path_of(scores, image_id), path_of(final, image_id), boxes)
        )
    return evidence


def _bar(doubts: Iterable[Doubt], total: int) -> Iterable[Doubt]:
    silent = not sys.stderr.isatty()
    return tqdm(doubts, total=total, desc="doubt", unit="image", disable=silent)
