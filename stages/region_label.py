"""Weak instance labels from salient regions and boxes (CGCNet section III.C, eq. 1).

Writes instances.parquet: the boxes of the training images in which something is salient, each with
its part of the region. metrics.json counts what does not fit: boxes without a region of their own,
regions without a box, patches that several labels share. A region map that is empty or full tells
nothing; its image is left out and named in rejected.csv.

CGCNet: https://arxiv.org/abs/2008.09246.
"""

import csv
import dataclasses
import io
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.cgcnet.region_labels import Priors, label_regions
from stages.engine.command import run
from stages.engine.errors import InputError
from stages.engine.files import write_bytes, write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.io.box_masks import mask_columns
from stages.io.data_set import Box, Dataset
from stages.io.salient_maps import read_region
from stages.io.tables import INSTANCES, write_table

COUNTED = ("boxes_without_region", "regions_without_box", "shared_patches")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    priors: Priors
    least_fit: Annotated[float, Field(ge=0, le=1)]


@dataclasses.dataclass(frozen=True)
class Item:
    """All that the labels of an image depend on; its pixels do not count."""

    image_id: str
    size: tuple[int, int]
    region: Path
    boxes: tuple[Box, ...]
    params: Params


def region_label(params: Params, data: Dataset, out: Path) -> None:
    """Label the boxes of the training images that have a region map.

    Args:
        params: see `Params`.
        data: the data set, with its regions.
        out: gets instances.parquet, rejected.csv and metrics.json.

    Raises:
        InputError: a region map that is unreadable, of another size than its image or not binary;
            or no box in any image has a region.
    """
    numbered = data.numbered_boxes()
    images = data.images("train")
    items, numbers = {}, {}
    for image in images:
        region = data.map_file("regions", image.image_id)
        own = numbered.get(image.image_id, ())
        if region is not None and own:
            boxes = tuple(box for _, box in own)
            items[image.image_id] = Item(image.image_id, image.size, region, boxes, params)
            numbers[image.image_id] = [number for number, _ in own]
    stats = dict(zip(items, map_images(_one_image, items, out, stage="region_label"), strict=True))
    rejected = {name: each["fault"] for name, each in stats.items() if each["fault"]}
    rows = [
        {"instance_id": numbers[name][row.pop("index")], **row}
        for name, each in stats.items()
        for row in map(dict, each["rows"])
    ]
    if not rows:
        where = data.folder / "regions"
        raise InputError(
            f"{where}: of {len(images)} training images {len(items)} have a region map and boxes, "
            f"{len(rejected)} of these maps are empty or full; expected a region in some box"
        )
    write_table(out / "instances.parquet", pd.DataFrame(rows, columns=INSTANCES.names), INSTANCES)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("image", "reason"), *rejected.items()])
    write_bytes(out / "rejected.csv", text.getvalue().encode())
    counts = sum((Counter(each["counts"]) for each in stats.values()), Counter())
    metrics = {
        "images": len(items) - len(rejected),
        "images_without_region_or_boxes": len(images) - len(items),
        "rejected_images": len(rejected),
        "labels": len(rows),
        **{name: counts[name] for name in COUNTED},
        "discarded_share": round(counts["discarded"] / max(counts["salient"], 1), 4),
    }
    write_json(out / "metrics.json", metrics)
    if rejected:
        print(f"region_label: {len(rejected)} region maps tell nothing: {out / 'rejected.csv'}")


def _one_image(item: Item) -> Outcome:
    region = read_region(item.region, item.size)
    if region.all() or not region.any():
        fault = f"region map all {int(region.all())}: expected both, salient and not"
        return Outcome({}, {"fault": fault, "rows": [], "counts": {}})
    found = label_regions(
        region,
        [box.corners for box in item.boxes],
        priors=item.params.priors,
        least_fit=item.params.least_fit,
    )
    rows: list[dict[str, Any]] = [
        {
            "index": index,
            "image_id": item.image_id,
            "category": box.category,
            **dict(zip(("x0", "y0", "x1", "y1"), box.corners, strict=True)),
            "is_crowd": False,
            **mask_columns(mask, None),
        }
        for index, (box, mask) in enumerate(zip(item.boxes, found.masks, strict=True))
        if mask.any()
    ]
    counts = {
        "boxes_without_region": len(item.boxes) - len(rows),
        "regions_without_box": found.regions_without_box,
        "shared_patches": found.shared_patches,
        "discarded": int(found.discarded.sum()),
        "salient": int(found.masks.sum() + found.discarded.sum()),
    }
    return Outcome({}, {"fault": "", "rows": rows, "counts": counts})


if __name__ == "__main__":
    run(region_label)
