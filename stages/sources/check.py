"""One image of a data set against its file: decoded, turned upright, its boxes clipped."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from stages.engine.errors import InputError, shown
from stages.engine.files import md5_of, write_bytes
from stages.io.label_maps import encode_label_map
from stages.io.photographs import decode_image
from stages.io.user_files import read_user_bytes
from stages.sources.orientation import stored_layout, upright_box
from stages.sources.source import SourceImage
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
        dropped: where a box stood that is in no table, and why.
        counts: what metrics.json adds up over the images.
    """

    image: dict[str, Any]
    instances: list[dict[str, Any]]
    truths: list[dict[str, Any]]
    dropped: list[tuple[str, str]]
    counts: Counter[str]


def check_image(
    root: Path, truth: Path, last_category: int, image: SourceImage
) -> CheckedImage | str:
    """Open an image and its masks, check them and write its label map; or why it is no good.

    Args:
        root: of the data set.
        truth: folder of ground truth; gets semantic/<image_id>.png where there is any.
        last_category: the largest label value.
        image: as a reader gave it, with its split.
    """
    try:
        if image.fault is not None:
            return image.fault
        return _check(root, truth, last_category, image)
    except InputError as error:
        return str(error)


def _check(root: Path, truth: Path, last_category: int, image: SourceImage) -> CheckedImage:
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
    row = {
        "image_id": image.image_id,
        "split": image.split,
        "file": image.file,
        "width": width,
        "height": height,
        "md5": md5_of(content),
    }
    return CheckedImage(row, instances, truths, dropped, counts)


def _sound_boxes(
    image: SourceImage, size: tuple[int, int], counts: Counter[str]
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Rows of instances.parquet, clipped to the image, and (where, reason) of dropped boxes."""
    width, height = size
    rows, dropped = [], []
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
    }
