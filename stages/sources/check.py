"""One image of a data set against its file: decoded, turned upright, its boxes clipped."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from stages.engine.errors import InputError, shown
from stages.engine.files import md5_of, write_bytes
from stages.io.data_set import Kind
from stages.io.label_maps import UNKNOWN, encode_label_map
from stages.io.photographs import decode_image
from stages.io.salient_maps import check_binary, encode_grey, encode_region
from stages.io.user_files import read_user_bytes
from stages.sources.looked_at import Looked, check_looked
from stages.sources.orientation import Layout, stored_layout, upright_box
from stages.sources.source import SourceBox, SourceImage
from stages.sources.truth import Truth, check_labels

#: Boxes that stick out by less than this many pixels are rounding, not errors.
ROUNDING = 0.01


@dataclass(frozen=True)
class CheckedImage:
    """One sound image: rows for the tables (ids of instances still count from 1 in the image).

    Attributes:
        image: its row of images.parquet.
        instances: rows of instances.parquet.
        truths: rows of the true instances.
        points: rows of points.parquet.
        looked: what subjects looked at and picked.
        tags: the categories that its labels show.
        count: of salient things, or None.
        kinds: of labels that it carries.
        dropped: where a box or point stood that is in no table, and why.
        counts: what metrics.json adds up over the images.
    """

    image: dict[str, Any]
    instances: list[dict[str, Any]]
    truths: list[dict[str, Any]]
    points: list[dict[str, Any]]
    looked: Looked
    tags: set[int]
    count: int | None
    kinds: list[Kind]
    dropped: list[tuple[str, str]]
    counts: Counter[str]


def check_image(
    root: Path, out: Path, last_category: int, image: SourceImage
) -> CheckedImage | str:
    """Open an image and its maps, check them and write them; or why it is no good.

    Args:
        root: of the data set.
        out: gets ground_truth/semantic/<image_id>.png where there is any, and <image_id>.png in
            the folders of what the user brought.
        last_category: the largest label value.
        image: as a reader gave it, with its split.
    """
    try:
        if image.fault is not None:
            return image.fault
        return _check(root, out, last_category, image)
    except InputError as error:
        return str(error)


def _check(root: Path, out: Path, last_category: int, image: SourceImage) -> CheckedImage:
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
        turned = (_turned(box, stored, turn) for box in image.boxes)
        image = replace(image, boxes=tuple(turned))

    counts = Counter({"oriented": int(orientation > 1), "orientation_assumed": int(unsure)})
    instances, dropped = _sound_boxes(image, upright, counts)
    layout = Layout(root, upright, stored, turn)
    masks = Truth(image, layout)
    outlines = masks.outlines()
    files: dict[str, bytes] = {}  # by folder; of an image that is no good none is written
    labels = masks.labels(outlines)
    if labels is not None:
        check_labels(labels, last_category, root / (image.semantic or image.file))
        files["ground_truth/semantic"] = encode_label_map(labels)
        counts["ground_truth_semantic"] = 1
    crowds = {o.number + 1: o for o in outlines if o.is_drawn and image.boxes[o.number].is_crowd}
    for row in instances:
        if (crowd := crowds.get(row["instance_id"])) is not None and crowd.area:
            row |= {"mask": crowd.runs, "area": crowd.area}
    looked = check_looked(image, upright)
    counts += looked.counts
    truths = [
        _row(image, outline.number, outline.corners, outline.area, outline.runs)
        | {"rank": looked.ranks.get(outline.number + 1)}
        for outline in outlines
        if outline.is_drawn and outline.area
    ]
    points, outside = _sound_points(image, layout)
    counts["points_dropped"] = len(outside)
    dropped += outside + looked.dropped
    maps, tags = _read_maps(image, layout, last_category)
    tags |= {*image.tags, *(each["category"] for each in instances + points)} - {0}
    for folder, map_content in (files | maps).items():
        write_bytes(out / folder / f"{image.image_id}.png", map_content)
    row = {
        "image_id": image.image_id,
        "split": image.split,
        "file": image.file,
        "width": width,
        "height": height,
        "md5": md5_of(content),
    }
    carries: dict[Kind, bool] = {
        "mask": "masks" in maps,
        "box": bool(instances),
        "scribble": "scribbles" in maps,
        "point": any(point["category"] for point in points),
        "tag": bool(tags),
    }
    kinds = [kind for kind, is_there in carries.items() if is_there]
    to_rank = bool(truths) and (looked.gaze is not None or "saliency" in maps)
    counts["images_to_rank"] = int(to_rank)
    return CheckedImage(
        row, instances, truths, points, looked, tags, image.count, kinds, dropped, counts
    )


def _turned(box: SourceBox, stored: tuple[int, int], turn: int) -> SourceBox:
    """A box of the stored image, in the upright image."""
    if box.corners is None:
        return box
    return replace(box, corners=upright_box(box.corners, stored, turn))


def _read_maps(image: SourceImage, layout: Layout, last: int) -> tuple[dict[str, bytes], set[int]]:
    """What the user brought as maps, a PNG by folder, and the categories that these show.

    Raises:
        InputError: one is of another size, or has values that are none.
    """
    maps: dict[str, bytes] = {}
    tags: set[int] = set()
    for folder, file in (("scribbles", image.scribbles), ("masks", image.mask)):
        if file is not None:
            labels = layout.read_map(file)
            check_labels(labels, last, layout.root / file)
            maps[folder] = encode_label_map(labels)
            tags |= set(np.unique(labels).tolist()) - {0, UNKNOWN}
    if image.regions is not None:
        region = layout.read_map(image.regions)
        check_binary(region, layout.root / image.regions)
        maps["regions"] = encode_region(region > 0)
    if image.saliency is not None:
        maps["saliency"] = encode_grey(layout.read_map(image.saliency))
    return maps, tags


def _sound_points(
    image: SourceImage, layout: Layout
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Rows of points.parquet, and (where, reason) of the points outside of the image."""
    rows, dropped = [], []
    width, height = layout.size
    for point in image.points:
        x, y = np.array(layout.upright_point(point.place), dtype=np.float32).tolist()
        if 0 <= x < width and 0 <= y < height:
            row = {"image_id": image.image_id, "category": point.category, "x": x, "y": y}
            rows.append(row)
        else:
            outside = f"point {list(point.place)} lies outside its {width}x{height} image"
            dropped.append((point.where, outside))
    return rows, dropped


def _sound_boxes(
    image: SourceImage, size: tuple[int, int], counts: Counter[str]
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Rows of instances.parquet, clipped to the image, and (where, reason) of dropped boxes."""
    width, height = size
    rows, dropped = [], []
    for number, box in enumerate(image.boxes):
        if box.corners is None:
            continue
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
            rows.append(_row(image, number, inside, area, None))
    counts["boxes_dropped"] += len(dropped)
    return rows, dropped


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
        "rank": None,
    }
