"""Validation images brought to other sizes, their objects spared by rank (IRSR section 5.6).

Writes images/<size>/<image_id>.jpg by the ranks; gallery/<image_id>.jpg, a row per size: the image,
plain seam carving, ours; distortion.csv, how the true objects fared by rank, size and method: the
mean share of their pixels that is left, and the mean change of their aspect; and metrics.json.
"""

import csv
import dataclasses
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.irsr.ranking_scores import rank_levels
from models.irsr.seam_carving import Costs, Retargeted, distortion
from models.irsr.seam_carving import retarget as carve
from stages.engine.command import run
from stages.engine.errors import InputError
from stages.engine.files import write_bytes, write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.io.data_set import Dataset, ImageFile, Split
from stages.io.label_maps import decode_rle
from stages.io.objects import Row, objects_by_image
from stages.io.photographs import RGB
from stages.io.pictures import encode_jpeg

METHODS = ("plain", "ours")
Share = Annotated[float, Field(gt=0, le=4)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params(Costs):
    """Numbers of this stage; params.yaml says what each is."""

    sizes: Annotated[tuple[tuple[Share, Share], ...], Field(min_length=1)]
    most: Annotated[int, Field(ge=0)]
    quality: Annotated[int, Field(ge=1, le=95)]


@dataclasses.dataclass(frozen=True)
class Item:
    """What the results of an image depend on.

    Attributes:
        image: its file.
        ranked: (run lengths, rank) of the instances that spare it.
        true: likewise, of those whose distortion is measured.
        params: of the stage.
    """

    image: ImageFile
    ranked: tuple[tuple[str, int], ...]
    true: tuple[tuple[str, int], ...]
    params: Params


def retarget(
    params: Params, data: Dataset, split: Split, instances: Path, reference: Path, out: Path
) -> None:
    """Retarget the images of a split to all sizes.

    Args:
        params: see `Params`.
        data: the images.
        split: train or val.
        instances: ranked (`INSTANCES`); an image without any is carved plainly.
        reference: ranked instances whose distortion is measured.
        out: gets all that the module's text names.

    Raises:
        InputError: an unreadable table or image, or an image that would be below 2 pixels.
    """
    images = data.images(split)[: params.most or None]
    ranked, true = objects_by_image(instances), objects_by_image(reference)
    items = {
        image.image_id: Item(
            image, _ranks(ranked, image.image_id), _ranks(true, image.image_id), params
        )
        for image in images
    }
    found = [
        entry
        for each in map_images(_one_image, items, out, stage="retarget")
        for entry in each["distortion"]
    ]
    groups: dict[tuple[str, str, int], list[tuple[float, float]]] = defaultdict(list)
    for size, method, rank, area, aspect in found:
        groups[size, method, rank].append((area, aspect))
    rows = []
    for (size, method, rank), own in sorted(groups.items()):
        aspects = [abs(aspect) for _, aspect in own if aspect == aspect]
        change = round(float(np.exp(fmean(aspects))), 4) if aspects else None
        kept = round(100 * fmean(area for area, _ in own), 2)
        rows.append((size, method, rank, len(own), kept, change, len(own) - len(aspects)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("size", "method", "rank", "objects", "kept_area", "aspect_change", "gone"))
    writer.writerows(rows)
    write_bytes(out / "distortion.csv", text.getvalue().encode())
    metrics: dict[str, Any] = {"images": len(images)}
    for size, method, rank, _, kept, change, _ in rows:
        if rank == 1:
            metrics[f"{method}_{size}"] = {"kept_area": kept, "aspect_change": change}
    write_json(out / "metrics.json", metrics)


def _ranks(rows: Mapping[str, Sequence[Row]], image_id: str) -> tuple[tuple[str, int], ...]:
    return tuple((r["mask"], r["rank"]) for r in rows.get(image_id, ()) if r["rank"] and r["mask"])


def _one_image(item: Item) -> Outcome:
    image = item.image.read()
    height, width = item.image.size
    ordered = sorted(item.ranked, key=lambda entry: -entry[1])
    masks = [decode_rle(mask, height, width) for mask, _ in ordered]
    levels = rank_levels(masks, [-rank for _, rank in ordered], item.image.size)
    true = [(decode_rle(mask, height, width), rank) for mask, rank in item.true]
    files, entries, rows = {}, [], []
    for across, down in item.params.sizes:
        name = f"{round(100 * across):03d}x{round(100 * down):03d}"
        size = round(down * height), round(across * width)
        shown = [image]
        for method in METHODS:
            found = _carved(item, image, (levels if method == "ours" else 0 * levels), size)
            shown.append(found.image)
            for mask, rank in true:
                fared = distortion(mask, found.source)
                entries.append([name, method, rank, fared.area, fared.aspect])
        files[f"images/{name}/{item.image.image_id}.jpg"] = encode_jpeg(
            shown[-1], item.params.quality
        )
        rows.append(_beside(shown, vertical=False))
    gallery = _beside(rows, vertical=True)
    files[f"gallery/{item.image.image_id}.jpg"] = encode_jpeg(gallery, item.params.quality)
    return Outcome(files, {"distortion": entries})


def _carved(
    item: Item, image: RGB, levels: npt.NDArray[np.float64], size: tuple[int, int]
) -> Retargeted:
    try:
        return carve(image, levels.astype(np.float32), size, item.params)
    except ValueError as error:
        raise InputError(f"{item.image.path}: {error}") from error


def _beside(pictures: list[RGB], *, vertical: bool) -> RGB:
    """Pictures in a row or a column, their upper left corners in line, on white."""
    axis = 0 if vertical else 1
    longest = max(picture.shape[1 - axis] for picture in pictures)
    padded = []
    for picture in pictures:
        margins = [[0, 4], [0, 4], [0, 0]]
        margins[1 - axis][1] = longest - picture.shape[1 - axis]
        padded.append(np.pad(picture, margins, constant_values=255))
    return np.concatenate(padded, axis=axis)


if __name__ == "__main__":
    run(retarget)
