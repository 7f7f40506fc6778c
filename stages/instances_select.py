"""Salient instances of the training images, of no class, from whatever found them.

They come from a stage of this graph, or the user brings them: a table of instances (parquet,
`INSTANCES` of stages/io/tables.py) or COCO json with images, annotations and, where what found them
tells it, a score for each annotation. They may overlap, and be of things that have no tag.

Writes instances.parquet, numbered from 1 in the order of the images, category 0, boxes tight around
the masks; and metrics.json, which counts what was left out.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.engine.command import run
from stages.engine.errors import InputError, shown
from stages.engine.files import write_json
from stages.engine.progress import counted
from stages.io.box_masks import mask_columns
from stages.io.data_set import Dataset, ImageFile
from stages.io.objects import write_detections
from stages.io.tables import INSTANCES, read_rows
from stages.sources.coco import decode_segmentation, read_json


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    least_score: Annotated[float, Field(ge=0, le=1)]


class Found(NamedTuple):
    """An instance as it was brought.

    Attributes:
        image_id: of its image.
        where: how messages name it.
        segmentation: polygons or run lengths, as COCO has them.
        score: 0 to 1; None: not told, which counts as 1.
    """

    image_id: str
    where: str
    segmentation: object
    score: object


def instances_select(params: Params, data: Dataset, instances: Path, out: Path) -> None:
    """Read, check and number the instances of the training images.

    Args:
        params: see `Params`.
        data: the data set.
        instances: what was found: .json is COCO's, anything else a table.
        out: gets instances.parquet and metrics.json.

    Raises:
        InputError: an unreadable file; a mask that is none, or of another size than its image; a
            score that is none; or instances none of which is of an image of the data set.
    """
    images = data.images("train")
    others = {image.image_id for image in data.images("val")}
    every = list(_of_json(instances) if instances.suffix == ".json" else _of_table(instances, data))
    known = {image.image_id for image in images} | others
    if every and all(found.image_id not in known for found in every):
        expected = f"expected ids of {data.table('images')}"
        raise InputError(f"{every[0].where}: no image {shown(every[0].image_id)}; {expected}")
    by_image: dict[str, list[Found]] = defaultdict(list)
    for found in every:
        by_image[found.image_id].append(found)
    counts: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    for image in counted(images, "instances_select", "images"):
        own = _rows(image, by_image[image.image_id], params.least_score, counts)
        counts["images_without_instances"] += not own
        rows += own
    write_detections(out / "instances.parquet", rows)
    metrics = {
        "images": len(images),
        "images_without_instances": counts["images_without_instances"],
        "instances": len(rows),
        "below_score": counts["below_score"],
        "empty_masks": counts["empty_masks"],
        "of_other_images": sum(found.image_id not in known for found in every),
    }
    write_json(out / "metrics.json", metrics)
    if metrics["of_other_images"]:
        lost = f"{metrics['of_other_images']} of {len(every)} instances"
        print(f"instances_select: {lost} are of no image of the data set")
    if not rows:
        print("instances_select: no salient instance in any training image; nothing gets a name")


def _rows(
    image: ImageFile, found: Sequence[Found], least_score: float, counts: Counter[str]
) -> list[dict[str, Any]]:
    rows = []
    for one in found:
        score = _score(one)
        if score is not None and score < least_score:
            counts["below_score"] += 1
            continue
        mask = decode_segmentation(one.segmentation, (image.width, image.height), one.where)
        if not mask.any():
            counts["empty_masks"] += 1
            continue
        ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        corners = (float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1))
        rows.append(
            {
                "image_id": image.image_id,
                "category": 0,
                **dict(zip(("x0", "y0", "x1", "y1"), corners, strict=True)),
                "is_crowd": False,
                **mask_columns(mask, score),
            }
        )
    return rows


def _score(found: Found) -> float | None:
    if found.score is None:
        return None
    if type(found.score) not in (int, float) or not 0 <= found.score <= 1:  # type: ignore[operator]
        raise InputError(f"{found.where}: score {shown(found.score)}: expected 0 to 1")
    return float(found.score)  # type: ignore[arg-type]


def _of_table(path: Path, data: Dataset) -> Iterator[Found]:
    sizes = {
        image.image_id: list(image.size) for image in (*data.images("train"), *data.images("val"))
    }
    for row in read_rows(path, INSTANCES):
        where = f"{path}: image_id {row['image_id']}, instance_id {row['instance_id']}"
        if row["mask"] is None:
            raise InputError(f"{where}: no mask; expected run lengths")
        if not row["is_crowd"]:
            runs = {"size": sizes.get(row["image_id"]), "counts": row["mask"]}
            yield Found(row["image_id"], where, runs, row["score"])


def _of_json(path: Path) -> Iterator[Found]:
    """COCO's annotations; image_id is the name of the image's file without its ending."""
    content = read_json(path, ("images", "annotations"))
    names: dict[object, str] = {}
    taken: set[str] = set()
    for number, entry in enumerate(content["images"]):
        key, file = entry.get("id"), entry.get("file_name")
        if not isinstance(key, int | str) or not isinstance(file, str):
            found = f"id {shown(key)}, file_name {shown(file)}"
            raise InputError(f"{path}: images[{number}]: {found}; expected both")
        name = PurePosixPath(file).stem
        if key in names or name in taken:
            found = f"id {shown(key)}, file_name {shown(file)}"
            raise InputError(f"{path}: images[{number}]: {found}: an image like it stands above")
        names[key] = name
        taken.add(name)
    for number, entry in enumerate(content["annotations"]):
        where, key = f"{path}: annotations[{number}]", entry.get("image_id")
        if not isinstance(key, int | str) or key not in names:
            raise InputError(f"{where}: image_id {shown(key)}: no image has this id")
        if not entry.get("iscrowd"):
            yield Found(names[key], where, entry.get("segmentation"), entry.get("score"))


if __name__ == "__main__":
    run(instances_select)
