"""Read the data set at `root` in its format; validate, quarantine, hash; write tables.

What is wrong with one image (its file unreadable, truncated, a bomb, of another size than its
annotation says; its annotation broken, with an unknown category, NaN, a mask of another size) puts
that image into rejected.csv with the reason; boxes that stick out are clipped, empty ones dropped,
and both counted. What is wrong with the data set as a whole (no readable annotation, bad
categories, an id that stands twice) stops the stage with one line.

Images that lie in the data set's folders and are in no list are named in unlisted.csv. Where the
data set states no split, some images are held out by their ids (stages.sources.source.held_out).

EXIF orientation: widths, heights and boxes in the tables are those of the upright image. Where the
annotation states the stored size and the rotation exchanges the sides, its boxes and masks are
turned with the image. Where the sizes cannot tell (mirrored, upside down, square, or no size
stated) boxes are taken as drawn on the upright image, which is what viewers and annotation tools
show; `orientation_assumed` counts such images.

Masks of objects go to ground_truth/ alone: instances.parquet has the boxes and their areas. It
keeps the outlines of crowds, which say of what pixels nothing is known.
"""

import csv
import hashlib
import io
import os
import re
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
import pandas as pd
from PIL import Image, UnidentifiedImageError
from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from stages.engine.command import run
from stages.engine.errors import InputError, shown
from stages.engine.files import write_bytes, write_json
from stages.engine.parallel import default_workers
from stages.engine.progress import counted
from stages.io.label_maps import encode_label_map
from stages.io.photographs import decode_image
from stages.io.tables import CATEGORIES, IMAGES, INSTANCES, TAGS, write_table
from stages.io.user_files import read_user_bytes
from stages.sources.coco import read_coco
from stages.sources.folder import read_folder
from stages.sources.orientation import stored_layout, upright_box
from stages.sources.source import Source, SourceImage, held_out
from stages.sources.truth import Truth, check_labels
from stages.sources.voc import read_voc

READERS: dict[str, Callable[[Path], Source]] = {
    "coco": read_coco,
    "voc": read_voc,
    "folder": read_folder,
}
#: Boxes that stick out by less than this many pixels are rounding, not errors.
ROUNDING = 0.01


def _plain_folder(root: str) -> str:
    """As it is, if DVC and every other program that is given the path take it for one."""
    if not re.fullmatch(r"[\w./][\w./ '()+,@-]*", root):
        raise PydanticCustomError(
            "folder", "expected a folder's path of letters, digits, spaces and . / _ - ' ( ) + , @"
        )
    ours, theirs = (os.path.normpath(Path.cwd() / path) for path in ("data/dataset", root))
    if os.path.commonpath([ours, theirs]) in (ours, theirs):
        raise PydanticCustomError("folder", "expected a folder apart from data/dataset")
    return root


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    root: Annotated[str, AfterValidator(_plain_folder)]
    format: Literal["coco", "voc", "folder"]
    max_rejected: Annotated[int, Field(ge=0)]
    hold_out: Annotated[int, Field(ge=0)]


@plain_dataclass(frozen=True)
class _Checked:
    """One sound image: rows for the tables (ids of instances still count from 1 in the image)."""

    image: dict[str, Any]
    instances: list[dict[str, Any]]
    truths: list[dict[str, Any]]
    dropped: list[tuple[str, str]]
    counts: Counter[str]


def dataset(params: Params, root: Path, out: Path) -> None:
    """Write the tables, two lists, ground_truth/ and metrics.json of the data set at `root`.

    Raises:
        InputError: see the module's text; also when more than `max_rejected` images are bad. Then
            rejected.csv alone is written.
    """
    source = _read_source(params.format, root)
    listed = [
        replace(image, split=image.split or _split(image.image_id, params.hold_out))
        for image in source.images
    ]
    listed.sort(key=lambda image: (image.split, image.image_id))
    truth = out / ".ground_truth.tmp"  # takes the place of the old one when all is well
    shutil.rmtree(truth, ignore_errors=True)
    (truth / "semantic").mkdir(parents=True)
    try:
        last = max(source.categories)
        checked = _check_all(partial(_check_or_reason, root, truth, last), listed)
        rejected = [
            (image.file, "", entry)
            for image, entry in zip(listed, checked, strict=True)
            if isinstance(entry, str)
        ]
        sound = [entry for entry in checked if isinstance(entry, _Checked)]
        rows = [(entry.image["file"], *row) for entry in sound for row in entry.dropped]
        write_bytes(out / "rejected.csv", _csv([("image", "row", "reason"), *rejected, *rows]))
        _check_enough(root, out, rejected, len(sound), params.max_rejected)
        metrics = _write_tables(sound, source, out, truth)
        shutil.rmtree(out / "ground_truth", ignore_errors=True)
        truth.replace(out / "ground_truth")
    finally:
        shutil.rmtree(truth, ignore_errors=True)
    unlisted = [(file,) for file in source.unlisted]
    write_bytes(out / "unlisted.csv", _csv([("image",), *unlisted]))
    metrics["rejected_images"] = len(rejected)
    metrics["unlisted_images"] = len(unlisted)
    write_json(out / "metrics.json", metrics)
    _say(metrics, rejected, out)


def _check_enough(
    root: Path, out: Path, rejected: Sequence[tuple[str, ...]], sound: int, max_rejected: int
) -> None:
    """At most so many images are bad, and one is sound."""
    if len(rejected) > max_rejected:
        first = "; ".join(f"{file}: {reason}" for file, _, reason in rejected[:3])
        raise InputError(
            f"{out / 'rejected.csv'}: {len(rejected)} of {len(rejected) + sound} images rejected, "
            f"more than dataset.max_rejected = {max_rejected}; the first: {first}"
        )
    if not sound:
        raise InputError(f"{root}: no usable image")


def _read_source(format: str, root: Path) -> Source:
    try:
        if not root.is_dir():
            raise InputError(f"{root}: no such folder; expected a data set in {format} format")
        return READERS[format](root)
    except OSError as error:  # a folder that may not be entered
        raise InputError(f"{root}: cannot be read: {error}") from error


def _split(image_id: str, hold_out: int) -> str:
    return "val" if held_out(image_id, hold_out) else "train"


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
        if image.fault is not None:
            return image.fault
        return _check(root, truth, last_category, image)
    except InputError as error:
        return str(error)


def _check(root: Path, truth: Path, last_category: int, image: SourceImage) -> _Checked:
    content = read_user_bytes(root / image.file)
    try:
        stored, orientation = stored_layout(content)
        height, width = decode_image(content).shape[:2]
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"decompression bomb: {error}") from error
    except UnidentifiedImageError as error:  # its own text holds an address of memory
        raise InputError("not a sound image: no known format") from error
    except Exception as error:  # whatever a broken file makes a decoder raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"not a sound image: {reason}") from error
    upright = (width, height)
    if image.size not in (None, upright, stored):
        found = f"annotation says {'x'.join(map(shown, image.size or ()))}"
        raise InputError(f"{found}, the file holds {width}x{height}")
    turn = orientation if image.size == stored != upright else 1
    unsure = orientation > 1 and (turn == 1) and (image.size in (None, stored))
    if turn > 1:
        turned = (replace(b, corners=upright_box(b.corners, stored, turn)) for b in image.boxes)
        image = replace(image, boxes=tuple(turned))

    counts = Counter({"oriented": int(orientation > 1), "orientation_assumed": int(unsure)})
    instances, dropped = _sound_boxes(image, upright, counts)
    masks = Truth(root, image, upright, stored, turn)
    outlines = masks.outlines()
    labels = masks.labels(outlines)
    if labels is not None:
        check_labels(labels, last_category, root / (image.semantic or image.file))
        write_bytes(truth / "semantic" / f"{image.image_id}.png", encode_label_map(labels))
        counts["ground_truth_semantic"] = 1
    crowds = {o.number + 1: o for o in outlines if o.is_drawn and image.boxes[o.number].is_crowd}
    for row in instances:
        if (crowd := crowds.get(row["instance_id"])) is not None and crowd.area:
            row |= {"mask": crowd.runs, "area": crowd.area}
    truths = [
        _row(image, outline.number, outline.corners, outline.area, outline.runs)
        for outline in outlines
        if outline.is_drawn and outline.area
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
        left, top, right, bottom = np.array(inside, dtype=np.float32)  # what the table can hold
        if x1 <= x0 or y1 <= y0:
            dropped.append((box.where, f"empty or inverted box {list(box.corners)}"))
        elif inside[2] <= inside[0] or inside[3] <= inside[1]:
            outside = f"box {list(box.corners)} lies outside its {width}x{height} image"
            dropped.append((box.where, outside))
        elif right <= left or bottom <= top:
            dropped.append((box.where, f"box {list(box.corners)} covers next to nothing"))
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


def _write_tables(
    sound: Sequence[_Checked], source: Source, out: Path, truth: Path
) -> dict[str, object]:
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
    write_table(truth / "instances.parquet", truth_table, INSTANCES)
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
    return buffer.getvalue().encode(errors="backslashreplace")


def _say(metrics: dict[str, object], rejected: Sequence[tuple[str, ...]], out: Path) -> None:
    files = ", ".join(row[0] for row in rejected)
    unlisted = metrics["unlisted_images"]
    print(
        f"dataset: {metrics['train_images']} train + {metrics['val_images']} val images, "
        f"{metrics['instances']} boxes of {metrics['categories']} categories; "
        f"{metrics['boxes_clipped']} boxes clipped, {metrics['boxes_dropped']} dropped, "
        f"{len(rejected)} images rejected"
        + (f": {files}; reasons in {out / 'rejected.csv'}" if rejected else "")
        + (f"; {unlisted} images are in no list, see {out / 'unlisted.csv'}" if unlisted else "")
    )


if __name__ == "__main__":
    run(dataset)
