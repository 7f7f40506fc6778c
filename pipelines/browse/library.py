"""What the pages show, read once and kept as long as it holds."""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from pipelines.graph.declared import declared_stages
from pipelines.graph.dvc_yaml import body
from pipelines.graph.objects import MissingObject, Objects
from pipelines.graph.revisions import (
    WORKSPACE,
    Record,
    Revision,
    list_revisions,
    read_graph,
    read_revision,
)
from pipelines.look import drawing
from pipelines.look.layers import Catalogue, Layer
from stages.engine.errors import InputError
from stages.io.pictures import encode_jpeg, encode_png

KEPT_BYTES = 64 * 2**20  # of pictures
QUALITY = 88  # of photographs


class Library:
    """One repository; safe to use from several threads."""

    def __init__(self, root: Path) -> None:
        """Read from the repository at `root`."""
        self.root = root.resolve()
        self.objects = Objects(self.root)
        self._catalogues: OrderedDict[str, Catalogue] = OrderedDict()
        self._pictures: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()
        self._picture_bytes = 0
        self._lock = threading.Lock()

    def revision(self, name: str = WORKSPACE) -> Revision:
        """As `read_revision`; the workspace is read again when dvc.lock has changed."""
        if name == WORKSPACE:
            return _workspace(self.root, _stamp(self.root / "dvc.lock"))
        return read_revision(self.root, name)

    def declared(self) -> Mapping[str, Record]:
        """The stages of the workspace's dvc.yaml, also those that never ran.

        Those that have run as dvc.lock has them; where DVC cannot read dvc.yaml, they alone.

        Raises:
            InputError: there is neither, or a dvc.lock that cannot be read.
        """
        stamps = tuple(_stamp(self.root / name) for name in ("dvc.yaml", "params.yaml"))
        declared = _declared(self.root, stamps)
        if declared and not (self.root / "dvc.lock").exists():
            return declared  # its first run has just begun
        recorded = self.revision().stages
        if not declared:
            return recorded
        return {name: recorded.get(name, record) for name, record in declared.items()}

    def revisions(self) -> list[Revision]:
        """What can be chosen, newest first."""
        return list_revisions(self.root)

    def catalogue(self, name: str = WORKSPACE) -> Catalogue:
        """The images and layers of a revision; the last few are kept.

        Raises:
            InputError, MissingObject: as `Catalogue`.
        """
        revision = self.revision(name)
        key = revision.commit or f"{WORKSPACE} {revision.when.timestamp()}"
        with self._lock:
            catalogue = self._catalogues.get(key)
            if catalogue is None:
                catalogue = self._catalogues[key] = Catalogue(self.objects, revision)
                while len(self._catalogues) > 4:
                    self._catalogues.popitem(last=False)
            self._catalogues.move_to_end(key)
        return catalogue

    def photograph(self, catalogue: Catalogue, image_id: str, side: int | None = None) -> bytes:
        """The image as JPEG, its longer side at most `side` pixels.

        Raises:
            MissingObject, InputError: as `drawing.photograph`.
        """
        key = ("photograph", catalogue.images[image_id].md5, side)
        return self._kept(
            key, lambda: encode_jpeg(drawing.photograph(catalogue, image_id, side), QUALITY)
        )

    def layer(
        self,
        catalogue: Catalogue,
        layer: Layer,
        image_id: str,
        side: int | None = None,
        category: int | None = None,
        pixel: tuple[int, int] | None = None,
    ) -> bytes:
        """What a layer has for an image, as PNG; see `drawing.draw`.

        Raises:
            MissingObject, InputError: as `drawing.draw`, or the layer has nothing for the image.
        """
        if image_id not in layer.files:
            raise InputError(f"layer {layer.name!r}: has nothing for image {image_id!r}")
        colours = tuple(catalogue.colours.items())
        key = (layer.name, image_id, layer.files[image_id], side, category, pixel, colours)

        def make() -> bytes:
            drawn = drawing.draw(
                catalogue, layer, image_id, side=side, category=category, pixel=pixel
            )
            assert drawn is not None
            return encode_png(drawn)

        return self._kept(key, make)

    def _kept(self, key: tuple[Any, ...], make: Callable[[], bytes]) -> bytes:
        """An encoded picture, kept by all it depends on."""
        with self._lock:
            picture = self._pictures.get(key)
            if picture is not None:
                self._pictures.move_to_end(key)
                return picture
        picture = make()
        with self._lock:
            if key not in self._pictures:
                self._pictures[key] = picture
                self._picture_bytes += len(picture)
                while self._picture_bytes > KEPT_BYTES:
                    _, old = self._pictures.popitem(last=False)
                    self._picture_bytes -= len(old)
        return picture

    def descriptions(self, revision: Revision) -> Mapping[str, str]:
        """What dvc.yaml says of each stage, by its name without the member."""
        return {
            str(name): str(body(entry).get("desc", ""))
            for name, entry in read_graph(self.root, revision).items()
        }

    def numbers(self, revision: Revision, record: Record) -> dict[str, float]:
        """The plain numbers among a stage's JSON outputs; those that are missing are left out."""
        numbers: dict[str, float] = {}
        for out, md5 in record.outs.items():
            if out.endswith(".json"):
                try:
                    file = self.objects.file(revision, out, md5)
                    numbers |= _numbers(file, md5)
                except (MissingObject, OSError):
                    continue
        return numbers

    def curves(self, revision: Revision, record: Record) -> dict[str, pd.DataFrame]:
        """The stage's CSV outputs that have numbers in their columns, by path."""
        frames = {}
        for out, md5 in record.outs.items():
            if out.endswith(".csv"):
                try:
                    frame = pd.read_csv(self.objects.file(revision, out, md5))
                except (MissingObject, OSError, ValueError):
                    continue
                if len(frame.select_dtypes("number").columns) > 1:
                    frames[out] = frame
        return frames

    def tables(self, record: Record) -> list[str]:
        """The outputs of a stage that can be shown as a table."""
        return [out for out in record.outs if PurePosixPath(out).suffix in (".parquet", ".csv")]

    def table(self, revision: Revision, path: str) -> pd.DataFrame:
        """One table.

        Raises:
            InputError: it is none, or no output of the revision.
            MissingObject: it is not in the cache.
        """
        owner = revision.owner(path)
        if owner is None or owner[1] != path:
            raise InputError(f"{path!r}: no stage of {revision.name} makes it")
        file = self.objects.file(revision, path, owner[0].outs[path])
        try:
            return pd.read_parquet(file) if path.endswith(".parquet") else pd.read_csv(file)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not a table: {error}") from error


def headline(numbers: Mapping[str, float]) -> tuple[str, float] | None:
    """The number that speaks for a stage: an mIoU where there is one, else its first share."""
    for key in ("miou_classes", "miou", "ap50"):
        if key in numbers:
            return key, numbers[key]
    shares = ((key, number) for key, number in numbers.items() if not number.is_integer())
    return next(shares, None)  # whole numbers are counts


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=2)
def _workspace(root: Path, stamp: tuple[int, int]) -> Revision:
    return read_revision(root)


@lru_cache(maxsize=2)
def _declared(root: Path, stamps: tuple[tuple[int, int], ...]) -> Mapping[str, Record]:
    try:
        return declared_stages(root)
    except InputError:
        return {}


@lru_cache(maxsize=1024)
def _numbers(file: Path, md5: str) -> Mapping[str, float]:
    if file.stat().st_size > 2**20:  # a data set in JSON, such as COCO's
        return {}
    try:
        content = json.loads(file.read_bytes())
    except ValueError:
        return {}
    if not isinstance(content, dict):
        return {}
    numbers: dict[str, float] = {}
    for key, value in content.items():
        values = value.items() if isinstance(value, dict) else [(None, value)]
        for name, number in values:
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                numbers[key if name is None else f"{key}.{name}"] = float(number)
    return numbers
