"""Final masks of the training images in the forms that other tools read.

Writes
    voc/SegmentationClass/<image_id>.png    labels, VOC palette
    voc/SegmentationObject/<image_id>.png   1, 2, ... per instance, smaller ones on top
    voc/ImageSets/Segmentation/train.txt    the image ids
    instances.json                          COCO: images, categories, annotations with RLE masks
The photographs are not copied: instances.json names them relative to the data set's root.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from stages.engine.command import run
from stages.engine.errors import InputError
from stages.engine.files import write_bytes, write_json
from stages.engine.progress import counted
from stages.io.data_set import Dataset, ImageFile
from stages.io.label_maps import UNKNOWN, LabelMap, decode_rle, encode_label_map, read_label_map
from stages.io.tables import INSTANCES, read_rows

Row = Mapping[str, Any]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """The section masks_export of params.yaml: no numbers yet."""


def masks_export(params: Params, data: Dataset, labels: Path, instances: Path, out: Path) -> None:
    """Export the training images' masks.

    Args:
        params: none.
        data: the data set.
        labels: folder of <image_id>.png.
        instances: instances.parquet with masks.
        out: gets voc/ and instances.json.

    Raises:
        InputError: a label map is missing or unreadable, an instance has no mask, or an image has
            more instances than a label map has values.
    """
    images = data.images("train")
    by_image: dict[str, list[Row]] = defaultdict(list)
    for row in read_rows(instances, INSTANCES):
        if row["mask"] is None:
            where = f"image {row['image_id']}, instance {row['instance_id']}"
            raise InputError(f"{instances}: {where}: no mask; expected one per instance")
        by_image[row["image_id"]].append(row)
    voc = out / "voc"
    for image in counted(images, "masks_export", "images"):
        name = image.image_id
        label_map = read_label_map(labels / f"{name}.png")
        objects = _object_map(image, by_image[name], instances)
        write_bytes(voc / "SegmentationClass" / f"{name}.png", encode_label_map(label_map))
        write_bytes(voc / "SegmentationObject" / f"{name}.png", encode_label_map(objects))
    listing = "".join(f"{image.image_id}\n" for image in images)
    write_bytes(voc / "ImageSets" / "Segmentation" / "train.txt", listing.encode())
    write_json(out / "instances.json", _coco(images, by_image, data.categories(), data.root))


def _object_map(image: ImageFile, rows: Sequence[Row], instances: Path) -> LabelMap:
    """Instances numbered in the order of the table; the smaller of two is on top."""
    if len(rows) >= UNKNOWN:
        limit = f"expected at most {UNKNOWN - 1} in one image"
        raise InputError(f"{instances}: image {image.image_id}: {len(rows)} instances; {limit}")
    objects = np.zeros(image.size, dtype=np.uint8)
    numbered = list(enumerate(rows, start=1))
    for number, row in sorted(numbered, key=lambda entry: -entry[1]["area"]):
        objects[decode_rle(row["mask"], *image.size)] = number
    return objects


def _coco(
    images: Sequence[ImageFile],
    by_image: Mapping[str, Sequence[Row]],
    categories: Mapping[int, str],
    root: Path,
) -> dict[str, Any]:
    """The COCO form; image numbers follow the table, annotation numbers start with 1."""
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images, start=1):
        for row in by_image.get(image.image_id, ()):
            rle = {"size": list(image.size), "counts": row["mask"]}
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": row["category"],
                    "bbox": [float(side) for side in coco_mask.toBbox(rle)],
                    "area": float(coco_mask.area(rle)),
                    "iscrowd": int(row["is_crowd"]),
                    "segmentation": rle,
                    "score": row["score"],
                }
            )
    return {
        "info": {"description": "pseudo masks of the training images"},
        "licenses": [],
        "images": [
            {
                "id": number,
                "file_name": image.path.relative_to(root).as_posix(),
                "width": image.width,
                "height": image.height,
            }
            for number, image in enumerate(images, start=1)
        ],
        "categories": [{"id": label, "name": name} for label, name in categories.items()],
        "annotations": annotations,
    }


if __name__ == "__main__":
    run(masks_export)
