"""Ranked instances of any model, brought as a table, as COCO results or as a folder of grey maps.

    *.parquet   a table of instances (stages/io/tables.py) with `rank`; `score` is the confidence
    *.json      COCO's results: a list of {image_id, segmentation, score, and saliency: larger =
                more salient}; image_id is the image's id, or the last number in it
    folder      <image_id>.png: every grey level but 0 is an instance, the brighter the more salient

Images that are not asked for are left out.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.engine.errors import InputError, shown
from stages.io.data_set import ImageFile
from stages.io.label_maps import encode_rle, read_label_map
from stages.io.objects import objects_by_image
from stages.io.user_files import read_user_text
from stages.sources.coco import decode_segmentation

#: Grey levels of one map, beyond which it is taken for a continuous one, which holds no instances.
MOST_LEVELS = 32


@dataclass(frozen=True)
class Ranked:
    """One ranked instance.

    Attributes:
        mask: COCO compressed run lengths.
        saliency: larger = more salient; only the order within its image counts.
        confidence: that it is an instance.
    """

    mask: str
    saliency: float
    confidence: float


def read_ranked(path: Path, images: Sequence[ImageFile]) -> dict[str, list[Ranked]]:
    """The ranked instances of every image that has any.

    Args:
        path: see the module.
        images: those that are asked for; others are left out.

    Raises:
        InputError: an unreadable file, an instance without rank, a mask of another size, or a map
            with more than `MOST_LEVELS` grey levels.
    """
    if path.is_dir():
        found = {image.image_id: _read_map(path, image) for image in images}
        if not any(found.values()):
            raise InputError(f"{path}: no map of any image; expected <image_id>.png, grey levels")
        return {image_id: own for image_id, own in found.items() if own}
    wanted = {image.image_id: image for image in images}
    if path.suffix == ".json":
        return _read_results(path, wanted)
    ranked: dict[str, list[Ranked]] = {}
    for image_id, rows in objects_by_image(path).items():
        if image_id not in wanted:
            continue
        for row in rows:
            if row["rank"] is None or row["mask"] is None:
                where = f"{path}: image_id {image_id}, instance_id {row['instance_id']}"
                raise InputError(f"{where}: no rank or no mask; expected both")
            entry = Ranked(row["mask"], -float(row["rank"]), float(row["score"] or 0))
            ranked.setdefault(image_id, []).append(entry)
    return ranked


def _read_map(folder: Path, image: ImageFile) -> list[Ranked]:
    path = folder / f"{image.image_id}.png"
    if not path.is_file():
        return []
    grey = read_label_map(path, image.size)
    levels = [int(level) for level in np.unique(grey) if level]
    if len(levels) > MOST_LEVELS:
        found = f"{path}: {len(levels)} grey levels; expected at most {MOST_LEVELS}, one of each"
        raise InputError(f"{found} instance; a continuous map ranks given ones: instances_rank")
    return [Ranked(encode_rle(grey == level), float(level), level / 255) for level in levels]


def _read_results(path: Path, images: Mapping[str, ImageFile]) -> dict[str, list[Ranked]]:
    try:
        entries = json.loads(read_user_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not readable as json: {error}") from error
    if not isinstance(entries, list):
        raise InputError(f"{path}: expected a list of COCO's results")
    numbers = {int(found[0]): name for name in images if (found := re.findall(r"\d+", name)[-1:])}
    ranked: dict[str, list[Ranked]] = defaultdict(list)
    for number, entry in enumerate(entries):
        where = f"{path}: [{number}]"
        if not isinstance(entry, dict):
            raise InputError(f"{where}: {shown(entry)}: expected an object")
        key = entry.get("image_id")
        image_id = numbers.get(key, "") if type(key) is int else str(key)
        if image_id in images:
            ranked[image_id].append(_result(entry, images[image_id], where))
    return dict(ranked)


def _result(entry: Mapping[str, Any], image: ImageFile, where: str) -> Ranked:
    mask = decode_segmentation(entry.get("segmentation"), image.size[::-1], where)
    numbers = []
    for name in ("saliency", "score"):
        value = entry.get(name)
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{where}: {name} {shown(value)}: expected a number")
        numbers.append(float(value))
    return Ranked(encode_rle(mask), *numbers)
