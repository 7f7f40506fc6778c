"""The outputs of a revision as layers over its images: labels, scores, graphs, instances.

What an output holds is told from its files, never from the name of its stage.
"""

import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipelines.graph.objects import MissingObject, Objects, file_md5
from pipelines.graph.revisions import Record, Revision
from stages.engine.errors import InputError
from stages.io.data_set import Box, ImageFile, boxes_by_image, read_class_names
from stages.io.label_maps import LabelMap, read_label_map
from stages.io.pictures import Colour, class_colours
from stages.io.tables import IMAGES, INSTANCES, read_rows

IMAGE_TABLE = "data/dataset/images.parquet"
CATEGORY_TABLE = "data/dataset/categories.parquet"
INSTANCE_TABLE = "data/dataset/instances.parquet"
TRUTH = "dataset/ground_truth/semantic"


class Kind(StrEnum):
    """What a layer shows."""

    LABELS = "labels"
    SCORES = "scores"
    GRAPH = "graph"
    PICTURE = "picture"
    INSTANCES = "instances"
    OBJECTS = "objects"  # a map of their numbers


class Files(Mapping[str, tuple[str, str]]):
    """(path, hash) by image id, of a folder of <image_id><suffix>; small, as there are many."""

    def __init__(self, folder: str, suffix: str, hashes: Mapping[str, str]) -> None:
        """`hashes` by image id."""
        self._folder, self._suffix, self._hashes = folder, suffix, hashes

    def __getitem__(self, image_id: str) -> tuple[str, str]:
        return f"{self._folder}/{image_id}{self._suffix}", self._hashes[image_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._hashes)

    def __len__(self) -> int:
        return len(self._hashes)


@dataclass(frozen=True)
class Layer:
    """One thing that a stage has made for every image.

    Attributes:
        name: the folder or table below data/, such as "crf_refine/a2gnn".
        stage: that made it.
        kind: how to draw it.
        files: (path, DVC's hash) by image id; a table is the file of each of its images.
    """

    name: str
    stage: str
    kind: Kind
    files: Mapping[str, tuple[str, str]] = field(repr=False)


class Catalogue:
    """The images, classes and layers of one revision."""

    def __init__(self, objects: Objects, revision: Revision) -> None:
        """Read the tables of the `dataset` stage.

        Raises:
            InputError: the revision has no `dataset` stage.
            MissingObject: its tables are not in the cache.
        """
        self.objects = objects
        self.revision = revision
        rows = read_rows(self.file(IMAGE_TABLE), IMAGES)
        root = Path(str(revision.stages["dataset"].params.get("dataset.root", "")))
        self.images = {
            row["image_id"]: ImageFile(
                row["image_id"], root / row["file"], row["md5"], row["width"], row["height"]
            )
            for row in rows
        }
        self.splits = {row["image_id"]: row["split"] for row in rows}
        self.names = read_class_names(self.file(CATEGORY_TABLE))
        boxes = boxes_by_image(self.file(INSTANCE_TABLE))
        self.boxes: Mapping[str, tuple[Box, ...]] = boxes
        boxed = {box.category for found in boxes.values() for box in found}
        self.colours: Mapping[int, Colour] = class_colours(  # those of the report first
            sorted(self.names.keys() - {0}, key=lambda label: (label not in boxed, label))
        )
        self._layers: dict[str, tuple[Layer, ...]] = {}

    def file(self, path: str) -> Path:
        """The file of a single-file output of this revision.

        Raises:
            InputError: no stage of the revision makes it.
            MissingObject: it is not in the cache.
        """
        owner = self.revision.owner(path)
        if owner is None:
            raise InputError(f"{path}: no stage of {self.revision.name} makes it")
        record, out = owner
        md5 = self.objects.files(self.revision, record, out).get(path)
        if md5 is None:
            raise InputError(f"{path}: not among the files of {out} in {self.revision.name}")
        return self.objects.file(self.revision, path, md5)

    def layers(self, stage: str) -> tuple[Layer, ...]:
        """What a stage has made for the images; its folders whose list is missing are left out.

        Raises:
            InputError: the revision has no such stage.
        """
        record = self.revision.stages.get(stage)
        if record is None:
            raise InputError(f"stage {stage!r}: not recorded in {self.revision.name}")
        if stage not in self._layers:
            self._layers[stage] = tuple(
                layer for out in record.outs for layer in self._layers_of(record, out)
            )
        return self._layers[stage]

    def layer(self, name: str) -> Layer:
        """The layer of that name.

        Raises:
            InputError: there is none.
        """
        owner = self.revision.owner(f"data/{name}") or self._parent(name)
        for layer in self.layers(owner[0].name) if owner else ():
            if layer.name == name:
                return layer
        raise InputError(f"layer {name!r}: not in {self.revision.name}")

    def all_layers(self) -> list[Layer]:
        """Of every stage, in the order of dvc.lock."""
        return [layer for stage in self.revision.stages for layer in self.layers(stage)]

    def place(self, layer: Layer, image_id: str) -> Path | None:
        """The file of one image in a layer; None where the layer has nothing for it.

        Raises:
            MissingObject: it is not in the cache.
        """
        found = layer.files.get(image_id)
        return None if found is None else self.objects.file(self.revision, *found)

    def labels(self, layer: Layer, image_id: str) -> LabelMap | None:
        """The label map of one image; None where the layer has nothing for it."""
        place = self.place(layer, image_id)
        return None if place is None else read_label_map(place)

    def photograph(self, image_id: str) -> Path:
        """The image's file: from the cache if its data set is an output, else from its root.

        Raises:
            MissingObject: it is not there.
        """
        image = self.images[image_id]
        cached, path = self.objects.place(image.md5), str(image.path)
        if not cached.is_file() and self.revision.owner(path) is not None:
            return self.objects.file(self.revision, path, image.md5)
        found = cached if cached.is_file() else self.objects.root / image.path
        if not found.is_file():
            raise MissingObject(f"{path}: the image is not there any more")
        if found is not cached and file_md5(found) != image.md5:
            raise MissingObject(f"{path}: not the image that {self.revision.name} was made of")
        return found

    def _parent(self, name: str) -> tuple[Record, str] | None:
        """The stage with an output below data/<name>, for a table called without its ending."""
        for record in self.revision.stages.values():
            for out in record.outs:
                if out == f"data/{name}.parquet":
                    return record, out
        return None

    def _layers_of(self, record: Record, out: str) -> list[Layer]:
        try:
            files = self.objects.files(self.revision, record, out)
        except MissingObject:
            return []
        if out.endswith(".parquet"):
            return self._table_layer(record, out, files[out])
        folders: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        for path, md5 in files.items():
            folder, _, name = path.rpartition("/")
            stem, dot, ending = name.rpartition(".")
            image = self.images.get(stem)
            if image is not None and ending in ("png", "npz", "jpg", "jpeg"):
                folders[folder, dot + ending][image.image_id] = md5
        layers = []
        for (folder, suffix), hashes in folders.items():
            found = Files(folder, suffix, hashes)
            kind = self._kind(folder, suffix, *next(iter(found.values())))
            if kind is not None:
                layers.append(Layer(folder.removeprefix("data/"), record.name, kind, found))
        return layers

    def _table_layer(self, record: Record, out: str, md5: str) -> list[Layer]:
        try:
            place = self.objects.file(self.revision, out, md5)
            if pq.read_schema(place).names != INSTANCES.names:
                return []
            ids = pq.read_table(place, columns=["image_id"])["image_id"].unique().to_pylist()
        except (MissingObject, OSError, pa.ArrowInvalid):
            return []
        name = str(PurePosixPath(out).relative_to("data").with_suffix(""))
        return [Layer(name, record.name, Kind.INSTANCES, dict.fromkeys(ids, (out, md5)))]

    def _kind(self, folder: str, suffix: str, path: str, md5: str) -> Kind | None:
        """What a folder holds, told by one of its files."""
        if folder.rpartition("/")[2] == "SegmentationObject":  # VOC's: instances, not classes
            return Kind.OBJECTS
        try:
            place = self.objects.file(self.revision, path, md5)
        except MissingObject:
            place = None
        return _kind_of(suffix, place)


def _kind_of(suffix: str, place: Path | None) -> Kind | None:
    """None where the file is none of ours; without a file, what most folders of the suffix hold."""
    try:
        if suffix == ".npz":
            return Kind.SCORES if place is None else _kind_of_archive(place)
        if suffix == ".png" and place is not None:
            with Image.open(place, formats=["PNG"]) as image:
                return Kind.LABELS if image.mode in ("P", "L") else Kind.PICTURE
    except (OSError, zipfile.BadZipFile):
        return None
    return Kind.LABELS if suffix == ".png" else Kind.PICTURE


def _kind_of_archive(place: Path) -> Kind | None:
    with zipfile.ZipFile(place) as archive:
        held = archive.namelist()
    return Kind.SCORES if "scores.npy" in held else Kind.GRAPH if "edges.npy" in held else None


@lru_cache(maxsize=16)
def instances_by_image(place: Path) -> Mapping[str, list[dict[str, Any]]]:
    """The rows of an instance table (`stages.io.tables.INSTANCES`) by image."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read_rows(place, INSTANCES):
        found[row["image_id"]].append(row)
    return found
