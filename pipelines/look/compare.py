"""Two revisions of a layer: which images differ, by how much, and what was changed to get there."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from pipelines.graph.objects import MissingObject
from pipelines.graph.revisions import Record, upstream
from pipelines.look.layers import Catalogue, Kind, Layer
from stages.engine.errors import InputError
from stages.engine.parallel import default_workers
from stages.io.label_maps import LabelMap, read_label_map
from stages.io.measures import scores_of_image

MANY = 200  # changed images that are worth the start of other processes


@dataclass(frozen=True)
class Changes:
    """The images of a layer in two revisions, by what became of them.

    Attributes:
        changed: in both, with other bytes.
        added: only in the second.
        removed: only in the first.
        same: how many have the same bytes.
    """

    changed: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    same: int


@dataclass(frozen=True)
class Difference:
    """How far two label maps of one image are apart; shares in percent.

    Attributes:
        image_id: of the image.
        pixels: that have another label.
        share: of all pixels.
        iou: mean over the classes in either, of one map against the other.
        first: mIoU of the first against ground truth, over the classes that it holds; None without
            ground truth.
        second: of the second.
    """

    image_id: str
    pixels: int
    share: float
    iou: float
    first: float | None
    second: float | None

    @property
    def gain(self) -> float | None:
        """How much better the second is against ground truth, in points."""
        return None if self.first is None or self.second is None else self.second - self.first


def changed_images(first: Layer, second: Layer) -> Changes:
    """Compare the hashes of two layers; no file is read."""
    before = {image_id: md5 for image_id, (_, md5) in first.files.items()}
    after = {image_id: md5 for image_id, (_, md5) in second.files.items()}
    both = [image_id for image_id in before if image_id in after]
    changed = tuple(image_id for image_id in both if before[image_id] != after[image_id])
    return Changes(
        changed,
        tuple(image_id for image_id in after if image_id not in before),
        tuple(image_id for image_id in before if image_id not in after),
        len(both) - len(changed),
    )


def difference(
    image_id: str, first: LabelMap, second: LabelMap, truth: LabelMap | None
) -> Difference:
    """Measure two label maps of one image.

    Args:
        image_id: of the image.
        first: uint8 [H, W]; 255 is unknown.
        second: the same.
        truth: the same; None where there is no ground truth.

    Raises:
        InputError: they are not of one size.
    """
    if first.shape != second.shape or (truth is not None and truth.shape != first.shape):
        raise InputError(f"{image_id}: label maps of sizes {first.shape} and {second.shape}")
    pixels = int((first != second).sum())
    return Difference(
        image_id,
        pixels,
        100 * pixels / first.size,
        mean_iou(first, second),
        None if truth is None else scores_of_image(image_id, truth, first)["miou"],
        None if truth is None else scores_of_image(image_id, truth, second)["miou"],
    )


def mean_iou(first: LabelMap, second: LabelMap) -> float:
    """IoU of two label maps in percent, mean over the labels in either; unknown is a label too."""
    codes = (first.ravel().astype(np.intp) << 8) + second.ravel()
    pairs = np.bincount(codes, minlength=256 * 256).reshape(256, 256)
    union = pairs.sum(axis=0) + pairs.sum(axis=1) - pairs.diagonal()
    present = union > 0
    return float(100 * (pairs.diagonal()[present] / union[present]).mean())


class Comparison:
    """One layer in two revisions."""

    def __init__(self, first: Catalogue, second: Catalogue, layer: str) -> None:
        """Find the layer in both.

        Raises:
            InputError: one of them does not have it, or it holds no labels.
        """
        self.catalogues = first, second
        self.layers = first.layer(layer), second.layer(layer)
        if any(layer.kind is not Kind.LABELS for layer in self.layers):
            raise InputError(f"layer {layer!r}: holds no label maps; compare a layer of labels")
        self.changes = changed_images(*self.layers)
        self._truth = next(iter(second.labelled("truth", Kind.LABELS)), None)

    def difference(self, image_id: str) -> Difference:
        """Of one image that is in both.

        Raises:
            MissingObject: one of its files is not in the cache.
            InputError: one cannot be read, or they differ in size.
        """
        return difference_of_files(image_id, *self.paths(image_id))

    def paths(self, image_id: str) -> tuple[Path, Path, Path | None]:
        """The files of one image: first, second, ground truth.

        Raises:
            MissingObject: one of the two label maps is not in the cache.
        """
        paths = [
            catalogue.path_of(layer, image_id)
            for catalogue, layer in zip(self.catalogues, self.layers, strict=True)
        ]
        if paths[0] is None or paths[1] is None:
            raise InputError(f"image {image_id!r}: not in both revisions")
        truth = None
        if self._truth is not None:
            try:
                truth = self.catalogues[1].path_of(self._truth, image_id)
            except MissingObject:
                truth = None
        return paths[0], paths[1], truth


def difference_of_files(image_id: str, first: Path, second: Path, truth: Path | None) -> Difference:
    """`difference` of label map files; a plain function, to be called in other processes."""
    return difference(
        image_id,
        read_label_map(first),
        read_label_map(second),
        None if truth is None else read_label_map(truth),
    )


def measured(
    jobs: Sequence[tuple[str, Path, Path, Path | None]],
) -> list[Difference | InputError]:
    """`difference_of_files` of each, or why there is none; many at once in several processes."""
    if len(jobs) <= MANY or default_workers() == 1:
        return list(map(_measure, jobs))
    with ProcessPoolExecutor(default_workers(), get_context("spawn")) as pool:
        return list(pool.map(_measure, jobs, chunksize=32))


def _measure(job: tuple[str, Path, Path, Path | None]) -> Difference | InputError:
    try:
        return difference_of_files(*job)
    except InputError as error:
        return error


def worst_first(differences: Iterable[Difference]) -> list[Difference]:
    """By what was lost against ground truth, then, without it, by changed pixels."""

    def badness(one: Difference) -> tuple[bool, float, int, str]:
        return one.gain is None, one.gain or 0.0, -one.pixels, one.image_id

    return sorted(differences, key=badness)


def changed_params(
    first: Mapping[str, Record], second: Mapping[str, Record], stage: str
) -> list[tuple[str, Any, Any]]:
    """The parameters that differ in a stage or in one above it.

    Returns:
        (name, first value, second value); None where it is not there. Those of the stage itself
        come first.
    """
    above = [*_lineage(second, stage), *_lineage(first, stage)]
    pairs: dict[str, tuple[Any, Any]] = {}
    for name in dict.fromkeys(above):
        before = first[name].params if name in first else {}
        after = second[name].params if name in second else {}
        for key in dict.fromkeys([*before, *after]):
            if before.get(key) != after.get(key):
                pairs.setdefault(key, (before.get(key), after.get(key)))
    return [(key, *pair) for key, pair in pairs.items()]


def changed_code(
    first: Mapping[str, Record], second: Mapping[str, Record], stage: str
) -> list[str]:
    """The source files that differ in a stage or in one above it."""
    names = dict.fromkeys([*_lineage(second, stage), *_lineage(first, stage)])
    paths: dict[str, None] = {}
    for name in names:
        before = first[name].code if name in first else {}
        after = second[name].code if name in second else {}
        for path in dict.fromkeys([*before, *after]):
            if before.get(path) != after.get(path):
                paths[path] = None
    return list(paths)


def _lineage(stages: Mapping[str, Record], name: str) -> list[str]:
    """The stage and all above it, nearest first."""
    if name not in stages:
        return []
    return [name, *(above for _, above in nx.bfs_edges(nx.DiGraph(upstream(stages)), name))]
