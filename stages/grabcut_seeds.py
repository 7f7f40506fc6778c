"""GrabCut in every box: the labels that boxes give (section 3).

Writes for every training image
    labels/<image_id>.png  the box's category where GrabCut sees its object, 0 elsewhere;
    filled/<image_id>.png  every box filled: what boxes say without any look at the image.
Where boxes overlap, the smaller one is on top: its object in labels, all of it in filled. In crowd
regions what would be 0 is 255. An image that is known by other labels has no boxes here. And
instances.parquet: the boxes, each with what GrabCut made of it alone, all of the box where it kept
all or failed; score is 1 where it told object from background.

A2GNN: https://arxiv.org/abs/2106.04054. GrabCut: https://doi.org/10.1145/1015706.1015720.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.ops.boxes import filled_boxes, unknown_in_region
from models.ops.grabcut import View, grabcut_box, label_cuts
from stages.engine.command import run
from stages.engine.files import write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.io.box_masks import instance_rows, mask_columns
from stages.io.crowds import crowd_region
from stages.io.data_set import Box, Crowd, Dataset, ImageFile
from stages.io.label_maps import encode_label_map
from stages.io.tables import INSTANCES, write_table


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params(View):
    """Numbers of this stage; params.yaml says what each is."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    iterations: Annotated[int, Field(gt=0)]
    min_fraction: Annotated[float, Field(ge=0, lt=1)]


@dataclasses.dataclass(frozen=True)
class Item:
    """One image, its boxes and its crowds."""

    image: ImageFile
    boxes: tuple[Box, ...]
    crowds: tuple[Crowd, ...]
    params: Params


def grabcut_seeds(params: Params, data: Dataset, out: Path) -> None:
    """Label the training images from their boxes.

    Args:
        params: see `Params`.
        data: the data set.
        out: gets labels/, filled/, instances.parquet and metrics.json.
    """
    known, every = data.labels_in_use(), data.numbered_boxes()
    numbered = {name: every[name] for name, use in known.items() if use.boxes}
    items = {
        image.image_id: Item(
            image, known[image.image_id].boxes, known[image.image_id].crowds, params
        )
        for image in data.images("train")
    }
    stats = map_images(_one_image, items, out, stage="grabcut_seeds")
    rows = [
        row
        for image_id, each in zip(items, stats, strict=True)
        for row in instance_rows(image_id, numbered.get(image_id, ()), each["masks"])
    ]
    write_table(out / "instances.parquet", pd.DataFrame(rows, columns=INSTANCES.names), INSTANCES)
    total = {name: int(sum(each["counts"][name] for each in stats)) for name in stats[0]["counts"]}
    write_json(out / "metrics.json", {"images": len(items), **total})


def _one_image(item: Item) -> Outcome:
    image, size, params = item.image.read(), item.image.size, item.params
    boxes = [box.corners for box in item.boxes]
    categories = [box.category for box in item.boxes]
    crowd = crowd_region(item.crowds, size)
    cuts = [
        grabcut_box(image, box, params.iterations, params.min_fraction, params.seed, crowd, params)
        for box in boxes
    ]
    label_maps = {
        "labels": label_cuts([cut.mask for cut in cuts], boxes, categories, size),
        "filled": filled_boxes(boxes, categories, size),
    }
    files = {
        f"{folder}/{item.image.image_id}.png": encode_label_map(
            unknown_in_region(labels, crowd, boxes, categories)
        )
        for folder, labels in label_maps.items()
    }
    kinds = [cut.kind for cut in cuts]
    masks = [mask_columns(cut.mask, float(cut.kind == "cut")) for cut in cuts]
    counts = {
        "boxes": len(boxes),
        "boxes_kept_full": kinds.count("full"),
        "boxes_filled_after_small_cut": kinds.count("small"),
        "boxes_filled_after_failed_cut": kinds.count("failed"),
    }
    return Outcome(files, {"counts": counts, "masks": masks})


if __name__ == "__main__":
    run(grabcut_seeds)
