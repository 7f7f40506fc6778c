"""Draw the embedded data set from a seed and write it in COCO format.

images/{train,val}/<number>.jpg, annotations/instances_{train,val}.json with boxes and masks as run
lengths. What is drawn, and why it is hard, is told in models/scenes/scenes.py. The same seed gives
the same bytes; each image has its own random stream, so another count leaves the first ones as they
were.
"""

import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.scenes.creatures import NAMES
from models.scenes.scenes import Scene, draw_scene
from stages.engine.command import run
from stages.engine.files import write_bytes, write_json
from stages.engine.progress import Count
from stages.io.label_maps import encode_rle

QUALITY = 90  # of the JPEG files


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    seed: Annotated[int, Field(ge=0)]
    train_images: Annotated[int, Field(gt=0)]
    val_images: Annotated[int, Field(gt=0)]
    width: Annotated[int, Field(ge=64, le=2048)]
    height: Annotated[int, Field(ge=64, le=2048)]


def scenes(params: Params, out: Path) -> None:
    """Write images and annotations of both splits below `out`."""
    total = params.train_images + params.val_images
    drawn = Count("scenes", total, "images")
    first = 1
    for number, (split, count) in enumerate(
        (("train", params.train_images), ("val", params.val_images))
    ):
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(count):
            rng = np.random.default_rng([params.seed, number, index])
            scene = draw_scene(rng, (params.height, params.width))
            name = f"{split}_{index:04d}.jpg"
            write_bytes(out / "images" / split / name, _jpeg(scene))
            size = {"width": params.width, "height": params.height}
            images.append({"id": first + index, "file_name": name, **size})
            annotations += _annotations(scene, first + index, first * 10 + len(annotations))
            drawn.step()
        content = {
            "info": {"description": f"drawn from seed {params.seed}"},
            "categories": [{"id": i, "name": name} for i, name in enumerate(NAMES, start=1)],
            "images": images,
            "annotations": annotations,
        }
        write_json(out / "annotations" / f"instances_{split}.json", content)
        first += count


def _jpeg(scene: Scene) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(scene.image).save(buffer, format="JPEG", quality=QUALITY)
    return buffer.getvalue()


def _annotations(scene: Scene, image_id: int, first: int) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = []
    for category, mask in zip(scene.categories, scene.masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        x, y = int(columns[0]), int(rows[0])
        annotations.append(
            {
                "id": first + len(annotations),
                "image_id": image_id,
                "category_id": category,
                "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
                "area": int(mask.sum()),
                "iscrowd": 0,
                "segmentation": {"size": list(mask.shape), "counts": encode_rle(mask)},
            }
        )
    return annotations


if __name__ == "__main__":
    run(scenes)
