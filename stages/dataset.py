"""Read the data set at `root` in its format; validate, quarantine, hash; write tables.

Bad images (unreadable, truncated, bombs, of another size than their annotation says) go to
rejected.csv with the reason; bad boxes are clipped or dropped and counted; what cannot be meant
(names outside the root, unknown categories, duplicate ids, NaN) stops the stage with one line.

EXIF orientation: widths, heights and boxes in the tables are those of the upright image. Where the
annotation states the stored size and the rotation exchanges the sides, its boxes and masks are
turned with the image. Where the sizes cannot tell (mirrored, upside down, square, or no size
stated) boxes are taken as drawn on the upright image, which is what viewers and annotation tools
show; `orientation_assumed` counts such images.

Masks go to ground_truth/ alone: instances.parquet has the boxes and their areas.
"""

import csv
import hashlib
import io
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, UnidentifiedImageError
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.io.coco import decode_segmentation, read_coco
from stages.io.command import run
from stages.io.errors import InputError
from stages.io.files import write_bytes, write_json
from stages.io.folder import read_folder
from stages.io.images import decode_image
from stages.io.masks import UNKNOWN, LabelMap, encode_label_map, encode_rle, read_label_map
from stages.io.orientation import stored_layout, upright_box, upright_map
from stages.io.parallel import default_workers
from stages.io.progress import counted
from stages.io.sources import Source, SourceBox, SourceImage
from stages.io.tables import CATEGORIES, IMAGES, INSTANCES, TAGS, write_table
from stages.io.voc import read_voc

READERS: dict[str, Callable[[Path], Source]] = {
    "coco": read_coco,
    "voc": read_voc,
    "folder": read_folder,
}
#: Boxes that stick out by less than this many pixels are rounding, not errors.
ROUNDING = 0.01


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Section `dataset` of params.yaml."""

    root: str
    format: Literal["coco", "voc", "folder"]
    max_rejected: Annotated[int, Field(ge=0)]


class _Rejected(Exception):
    """Why an image goes into quarantine."""


@plain_dataclass(frozen=True)
class _Checked:
    """One sound image: rows for the tables (ids of instances still count from 1 in the image)."""

    image: dict[str, Any]
    instances: list[dict[str, Any]]
    truths: list[dict[str, Any]]
    dropped: list[tuple[str, str]]
    counts: Counter[str]


def dataset(params: Params, root: Path, out: Path) -> None:
    """Write the tables, rejected.csv, ground_truth/ and metrics.json of the data set at `root`.

    Raises:
        InputError: see the module's text; also when more than `max_rejected` images are bad.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected a data set in {params.format} format")
    source = READERS[params.format](root)
    truth = out / "ground_truth"
    shutil.rmtree(truth, ignore_errors=True)
    (truth / "semantic").mkdir(parents=True)
    listed = sorted(source.images, key=lambda image: (image.split, image.image_id))
    checked = _check_all(partial(_check_or_reason, root, truth, max(source.categories)), listed)

    rejected = [
        (image.file, "", entry)
        for image, entry in zip(listed, checked, strict=True)
        if isinstance(entry, str)
    ]
    sound = [entry for entry in checked if isinstance(entry, _Checked)]
    rows = [(entry.image["file"], *row) for entry in sound for row in entry.dropped]
    write_bytes(out / "rejected.csv", _csv([("image", "row", "reason"), *rejected, *rows]))
    if len(rejected) > params.max_rejected:
        first = "; ".join(f"{file}: {reason}" for file, _, reason in rejected[:3])
        raise InputError(
            f"{out / 'rejected.csv'}: {len(rejected)} of {len(listed)} images rejected, more than "
            f"dataset.max_rejected = {params.max_rejected}; the first: {first}"
        )
    if not sound:
        raise InputError(f"{root}: no usable image")
    metrics = _write_tables(sound, source, out)
    metrics["rejected_images"] = len(rejected)
    write_json(out / "metrics.json", metrics)
    _say(metrics, rejected, out)


def _check_all(
    check: Callable[[SourceImage], _Checked | str], listed: Sequence[SourceImage]
) -> list[_Checked | str]:
    # threads: decoding, encoding and hashing release the interpreter lock
    with warnings.catch_warnings(), ThreadPoolExecutor(default_workers()) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            checked = pool.map(check, listed)
            return list(counted(checked, "dataset", "images", total=len(listed)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _check_or_reason(
    root: Path, truth: Path, last_category: int, image: SourceImage
) -> _Checked | str:
    try:
        return _check(root, truth, last_category, image)
    except _Rejected as rejected:
        return str(rejected)


def _check(root: Path, truth: Path, last_category: int, image: SourceImage) -> _Checked:
    try:
        content = (root / image.file).read_bytes()
    except OSError as error:
        raise _Rejected(f"cannot be read: {error.strerror}") from error
    try:
        stored, orientation = stored_layout(content)
        height, width = decode_image(content).shape[:2]
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _Rejected(f"decompression bomb: {error}") from error
    except UnidentifiedImageError as error:  # its own text holds an address of memory
        raise _Rejected("not a sound image: no known format") from error
    except Exception as error:  # whatever a broken file makes a decoder raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _Rejected(f"not a sound image: {reason}") from error
    upright = (width, height)
    if image.size not in (None, upright, stored):
        found = f"annotation says {image.size[0]}x{image.size[1]}" if image.size else ""
        raise _Rejected(f"{found}, the file holds {width}x{height}")
    turn = orientation if image.size == stored != upright else 1
    unsure = orientation > 1 and (turn == 1) and (image.size in (None, stored))
    if turn > 1:
        turned = (replace(b, corners=upright_box(b.corners, stored, turn)) for b in image.boxes)
        image = replace(image, boxes=tuple(turned))

    counts = Counter({"oriented": int(orientation > 1), "orientation_assumed": int(unsure)})
    instances, dropped = _sound_boxes(image, upright, counts)
    masks = _Truth(root, image, upright, stored, turn)
    labels, objects = masks.labels(), masks.objects()
    if labels is not None:
        _check_labels(labels, last_category, root / (image.semantic or image.file))
        write_bytes(truth / "semantic" / f"{image.image_id}.png", encode_label_map(labels))
        counts["ground_truth_semantic"] = 1
    truths = [
        _row(image, number, _tight_box(mask), float(mask.sum()), encode_rle(mask))
        for number, mask in objects
        if mask.any()
    ]
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    row = {
        "image_id": image.image_id,
        "split": image.split,
        "file": image.file,
        "width": width,
        "height": height,
        "md5": digest,
    }
    return _Checked(row, instances, truths, dropped, counts)


def _sound_boxes(
    image: SourceImage, size: tuple[int, int], counts: Counter[str]
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Rows of instances.parquet, clipped to the image, and (where, reason) of dropped boxes."""
    width, height = size
    kept, dropped = [], []
    for number, box in enumerate(image.boxes):
        x0, y0, x1, y1 = box.corners
        inside = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
        if x1 <= x0 or y1 <= y0:
            dropped.append((box.where, f"empty or inverted box {list(box.corners)}"))
        elif inside[2] <= inside[0] or inside[3] <= inside[1]:
            outside = f"box {list(box.corners)} lies outside its {width}x{height} image"
            dropped.append((box.where, outside))
        else:
            moved = max(abs(a - b) for a, b in zip(box.corners, inside, strict=True))
            counts["boxes_clipped"] += moved > ROUNDING
            area = (inside[2] - inside[0]) * (inside[3] - inside[1])
            kept.append(_row(image, number, inside, area, None))
    counts["boxes_dropped"] += len(dropped)
    return kept, dropped


def _row(
    image: SourceImage,
    number: int,
    corners: tuple[float, float, float, float],
    area: float,
    mask: str | None,
) -> dict[str, Any]:
    box = image.boxes[number]
    x0, y0, x1, y1 = corners
    return {
        "image_id": image.image_id,
        "instance_id": number + 1,
        "category": box.category,
        "x0": x0,
        "y0": y0,
        "x1": x1,
        "y1": y1,
        "area": area,
        "is_crowd": box.is_crowd,
        "mask": mask,
        "score": 1.0,
    }


@plain_dataclass(frozen=True)
class _Truth:
    """The ground truth of one image, upright.

    Attributes:
        root: of the data set.
        image: with boxes already upright.
        size: upright (W, H).
        stored: stored (W, H).
        turn: EXIF orientation to apply to masks drawn on the stored image; 1 where there is none.
    """

    root: Path
    image: SourceImage
    size: tuple[int, int]
    stored: tuple[int, int]
    turn: int

    def labels(self) -> LabelMap | None:
        """The label map; instances painted from large to small, crowds below and unknown."""
        if self.image.semantic is not None:
            return self._read(self.image.semantic)
        if not self.image.outlined:
            return None
        labels = np.zeros((self.size[1], self.size[0]), dtype=np.uint8)
        masks = [(box, self._paint(box)) for box in self.image.boxes]
        for box, mask in sorted(masks, key=lambda pair: (not pair[0].is_crowd, -pair[1].sum())):
            unknown = box.is_crowd or not box.segmentation
            labels[mask] = UNKNOWN if unknown else box.category
        return labels

    def objects(self) -> list[tuple[int, npt.NDArray[np.bool_]]]:
        """(index of the box, mask) of every object that has a mask."""
        if self.image.objects is not None:
            numbers = self._read(self.image.objects)
            found = [int(n) for n in np.unique(numbers) if 0 < n < UNKNOWN]
            if found and found[-1] > len(self.image.boxes):
                path = self.root / self.image.objects
                boxes = len(self.image.boxes)
                raise InputError(f"{path}: object {found[-1]}; the annotation has {boxes} objects")
            return [(n - 1, numbers == n) for n in found]
        return [(n, self._paint(box)) for n, box in enumerate(self.image.boxes) if box.segmentation]

    def _paint(self, box: SourceBox) -> npt.NDArray[np.bool_]:
        if box.segmentation:
            stored = self.stored if self.turn > 1 else self.size
            mask = decode_segmentation(box.segmentation, stored, box.where)
            return upright_map(mask.view(np.uint8), self.turn).view(bool)
        mask = np.zeros((self.size[1], self.size[0]), dtype=bool)
        x0, y0, x1, y1 = (max(round(side), 0) for side in box.corners)
        mask[y0:y1, x0:x1] = True
        return mask

    def _read(self, file: str) -> LabelMap:
        values = read_label_map(self.root / file)
        expected = self.stored if self.turn > 1 else self.size
        if values.shape[::-1] != expected:
            found = f"mask {file} is {values.shape[1]}x{values.shape[0]}"
            raise _Rejected(f"{found}, its image {expected[0]}x{expected[1]}")
        return upright_map(values, self.turn)


def _check_labels(labels: LabelMap, last: int, path: Path) -> None:
    values = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    unknown = [int(value) for value in values if last < value < UNKNOWN]
    if unknown:
        raise InputError(f"{path}: label {unknown[0]}; expected 0..{last} or {UNKNOWN}")


def _tight_box(mask: npt.NDArray[np.bool_]) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _write_tables(sound: Sequence[_Checked], source: Source, out: Path) -> dict[str, object]:
    images = pd.DataFrame([entry.image for entry in sound], columns=IMAGES.names)
    instances: list[dict[str, Any]] = []
    truths: list[dict[str, Any]] = []
    before = 0
    for entry in sound:
        # one numbering over the data set, the same in both tables
        for rows, to in ((entry.instances, instances), (entry.truths, truths)):
            to += [row | {"instance_id": before + row["instance_id"]} for row in rows]
        before += max((row["instance_id"] for row in entry.instances + entry.truths), default=0)
    boxes = pd.DataFrame(instances, columns=INSTANCES.names)
    tags = boxes[["image_id", "category"]].drop_duplicates()
    tags = tags.sort_values(["image_id", "category"], kind="stable")
    names = sorted(source.categories.items())
    write_table(out / "images.parquet", images, IMAGES)
    write_table(out / "instances.parquet", boxes, INSTANCES)
    write_table(out / "tags.parquet", tags, TAGS)
    write_table(
        out / "categories.parquet", pd.DataFrame(names, columns=CATEGORIES.names), CATEGORIES
    )
    truth_table = pd.DataFrame(truths, columns=INSTANCES.names)
    write_table(out / "ground_truth" / "instances.parquet", truth_table, INSTANCES)
    counts = sum((entry.counts for entry in sound), Counter())
    return {
        "images": len(images),
        "train_images": int((images["split"] == "train").sum()),
        "val_images": int((images["split"] == "val").sum()),
        "categories": len(names),
        "instances": len(boxes),
        "crowds": int(boxes["is_crowd"].sum()),
        "images_without_instances": len(images) - boxes["image_id"].nunique(),
        "boxes_clipped": counts["boxes_clipped"],
        "boxes_dropped": counts["boxes_dropped"],
        "oriented_images": counts["oriented"],
        "orientation_assumed": counts["orientation_assumed"],
        "ground_truth_semantic": counts["ground_truth_semantic"],
        "ground_truth_instances": len(truths),
    }


def _csv(rows: Sequence[tuple[str, ...]]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode()


def _say(metrics: dict[str, object], rejected: Sequence[tuple[str, ...]], out: Path) -> None:
    files = ", ".join(row[0] for row in rejected)
    print(
        f"dataset: {metrics['train_images']} train + {metrics['val_images']} val images, "
        f"{metrics['instances']} boxes of {metrics['categories']} categories; "
        f"{metrics['boxes_clipped']} boxes clipped, {metrics['boxes_dropped']} dropped, "
        f"{len(rejected)} images rejected"
        + (f": {files}; reasons in {out / 'rejected.csv'}" if rejected else "")
    )


if __name__ == "__main__":
    run(dataset)
