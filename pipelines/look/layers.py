"""The outputs of a revision as layers over its images: labels, scores, graphs, instances.

What an output holds is declared in dvc.yaml (`stages.io.declarations`).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.graph.declared import declared_outputs
from pipelines.graph.objects import MissingObject, Objects, file_md5
from pipelines.graph.revisions import WORKSPACE, Record, Revision, read_revision
from stages.engine.errors import InputError
from stages.io.data_set import Box, ImageFile, boxes_by_image, read_class_names
from stages.io.declarations import Output
from stages.io.label_maps import LabelMap, read_label_map
from stages.io.pictures import Colour, class_colours
from stages.io.tables import IMAGES, INSTANCES, read_rows

IMAGE_TABLE = "data/dataset/images.parquet"
CATEGORY_TABLE = "data/dataset/categories.parquet"
INSTANCE_TABLE = "data/dataset/instances.parquet"


class Kind(StrEnum):
    """What a layer shows: the types of `stages.io.declarations` that can be drawn."""

    LABELS = "label_maps"
    SCORES = "score_maps"
    GRAPH = "graphs"
    PICTURE = "pictures"
    INSTANCES = "instances"
    FIXATIONS = "fixations"
    OBJECTS = "instance_maps"


#: What the files of a folder end in.
ENDINGS = {
    Kind.LABELS: ("png",),
    Kind.OBJECTS: ("png",),
    Kind.SCORES: ("npz",),
    Kind.GRAPH: ("npz",),
    Kind.PICTURE: ("png", "jpg", "jpeg"),
}


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
        name: the folder or table below data/, such as "classifier_infer/maps".
        stage: that made it.
        kind: how to draw it.
        files: (path, DVC's hash) by image id; a table is the file of each of its images.
        output: the out that it is, or lies in, as dvc.yaml declares it.
    """

    name: str
    stage: str
    kind: Kind
    files: Mapping[str, tuple[str, str]] = field(repr=False)
    output: Output = field(default=Output("", ""), repr=False)

    @property
    def is_truth(self) -> bool:
        """Whether it is the ground truth of the label maps."""
        return self.kind is Kind.LABELS and "truth" in self.output.labels


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
        boxed = {box.category for of_image in boxes.values() for box in of_image}
        self.colours: Mapping[int, Colour] = class_colours(  # those of the report first
            sorted(self.names.keys() - {0}, key=lambda label: (label not in boxed, label))
        )
        self.declared: Mapping[str, Output] = declared_outputs(objects.root, revision)
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

    def labelled(self, label: str, kind: Kind) -> list[Layer]:
        """The layers of a kind whose outputs dvc.yaml gives a label, in its order."""
        stages = [output.stage for output in self.declared.values() if label in output.labels]
        return [
            layer
            for stage in dict.fromkeys(stages)
            for layer in self.layers(stage)
            if layer.kind is kind and label in layer.output.labels
        ]

    def path_of(self, layer: Layer, image_id: str) -> Path | None:
        """The file of one image in a layer; None where the layer has nothing for it.

        Raises:
            MissingObject: it is not in the cache.
        """
        file = layer.files.get(image_id)
        return None if file is None else self.objects.file(self.revision, *file)

    def labels(self, layer: Layer, image_id: str) -> LabelMap | None:
        """The label map of one image; None where the layer has nothing for it."""
        path = self.path_of(layer, image_id)
        return None if path is None else read_label_map(path)

    def photograph(self, image_id: str) -> Path:
        """The image's file: from the cache if its data set is an output, else from its root.

        Raises:
            MissingObject: it is not there.
        """
        image = self.images[image_id]
        cached, path = self.objects.path_of(image.md5), str(image.path)
        if not cached.is_file() and self.revision.owner(path) is not None:
            return self.objects.file(self.revision, path, image.md5)
        file = cached if cached.is_file() else self.objects.root / image.path
        if not file.is_file():
            raise MissingObject(f"{path}: the image is not there any more")
        if file is not cached and file_md5(file) != image.md5:
            raise MissingObject(f"{path}: not the image that {self.revision.name} was made of")
        return file

    def _parent(self, name: str) -> tuple[Record, str] | None:
        """The stage with an output below data/<name>, for a table called without its ending."""
        for record in self.revision.stages.values():
            for out in record.outs:
                if out == f"data/{name}.parquet":
                    return record, out
        return None

    def _layers_of(self, record: Record, out: str) -> list[Layer]:
        output = self.declared.get(out)
        kinds = {} if output is None else _kinds(output)
        if output is None or not kinds:
            return []
        try:
            files = self.objects.files(self.revision, record, out)
        except MissingObject:
            return []
        if (kind := kinds.get("")) in (Kind.INSTANCES, Kind.FIXATIONS):
            return self._table_layer(record, output, kind, files[out]) if out in files else []
        folders: dict[tuple[str, str, Kind], dict[str, str]] = defaultdict(dict)
        for path, md5 in files.items():
            folder, _, name = path.rpartition("/")
            stem, dot, ending = name.rpartition(".")
            kind = kinds.get(folder[len(out) + 1 :]) or kinds.get("")
            if stem in self.images and kind is not None and ending in ENDINGS.get(kind, ()):
                folders[folder, dot + ending, kind][stem] = md5
        return [
            Layer(
                folder.removeprefix("data/"),
                record.name,
                kind,
                Files(folder, suffix, hashes),
                output,
            )
            for (folder, suffix, kind), hashes in folders.items()
        ]

    def _table_layer(self, record: Record, output: Output, kind: Kind, md5: str) -> list[Layer]:
        out = output.path
        try:
            path = self.objects.file(self.revision, out, md5)
            ids = pq.read_table(path, columns=["image_id"])["image_id"].unique().to_pylist()
        except (MissingObject, OSError, KeyError, pa.ArrowInvalid):
            return []
        name = str(PurePosixPath(out).relative_to("data").with_suffix(""))
        files = dict.fromkeys(ids, (out, md5))
        return [Layer(name, record.name, kind, files, output)]


def _kinds(output: Output) -> dict[str, Kind]:
    """What an output holds, by folder in it; "" stands for all others."""
    folders = output.meta.get("folders")
    types = {"": output.type} | (dict(folders) if isinstance(folders, Mapping) else {})
    known = {str(kind) for kind in Kind}
    return {str(name): Kind(kind) for name, kind in types.items() if str(kind) in known}


def read_catalogue(root: Path, revision: str = WORKSPACE) -> Catalogue:
    """The catalogue of a revision of the repository at `root`."""
    return Catalogue(Objects(root), read_revision(root, revision))


@lru_cache(maxsize=16)
def instances_by_image(path: Path) -> Mapping[str, list[dict[str, Any]]]:
    """The rows of an instance table (`stages.io.tables.INSTANCES`) by image."""
    by_image: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read_rows(path, INSTANCES):
        by_image[row["image_id"]].append(row)
    return by_image
