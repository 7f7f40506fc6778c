"""Draw the embedded data set from a seed and write it in COCO format.

images/{train,val}/<number>.jpg, annotations/instances_{train,val}.json with boxes and masks as run
lengths, and beside them, as a user brings them, points.csv, tags.csv, counts.csv, scribbles/,
regions/ and saliency/ (stages/sources/beside.py), fixations.csv and votes.csv
(stages/sources/gaze.py).
ground_truth/ has what is hidden: ranks.csv, and planted.csv, the images that are no good for
ranking. What is drawn, and why it is hard, is told in models/scenes/scenes.py, how it is annotated
in models/scenes/annotator.py, how it is looked at in models/scenes/gaze.py. The same seed gives the
same bytes; each image has its own random stream, so another count leaves the first ones as they
were.

With a `mix` each training image carries labels of one kind alone: annotations without a bbox where
it is not box, and masks/ where it is mask.
"""

import csv
import io
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.scenes.annotator import Marks, mark_scene
from models.scenes.creatures import NAMES
from models.scenes.gaze import ANNOTATORS, Watched, watch_scene
from models.scenes.scenes import Scene, draw_scene
from stages.engine.command import run
from stages.engine.files import write_bytes, write_json
from stages.engine.progress import Count
from stages.io.data_set import BACKGROUND
from stages.io.label_maps import encode_label_map, encode_rle
from stages.io.salient_maps import encode_grey, encode_region

QUALITY = 90  # of the JPEG files
Kind = Literal["box", "scribble", "point", "tag", "mask"]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    seed: Annotated[int, Field(ge=0)]
    train_images: Annotated[int, Field(gt=0)]
    val_images: Annotated[int, Field(gt=0)]
    width: Annotated[int, Field(ge=64, le=2048)]
    height: Annotated[int, Field(ge=64, le=2048)]
    mix: dict[Kind, Annotated[int, Field(gt=0)]]


def scenes(params: Params, out: Path) -> None:
    """Write images and annotations of both splits below `out`."""
    total = params.train_images + params.val_images
    drawn = Count("scenes", total, "images")
    first = 1
    tables: dict[str, list[tuple[object, ...]]] = {
        "points": [("file", "category", "x", "y")],
        "tags": [("file", "category")],
        "counts": [("file", "count")],
        "fixations": [("file", "subject", "x", "y", "t")],
        "votes": [("file", "subject", "object", "reason")],
        "ground_truth/ranks": [("file", "object", "rank")],
        "ground_truth/planted": [("file", "reason")],
    }
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
            kind = _kind(params, index) if split == "train" else None
            entries = _annotations(scene, first + index, first * 10 + len(annotations))
            annotations += [
                {key: value for key, value in entry.items() if key != "bbox" or kind in _BOXED}
                for entry in entries
            ]
            marks = mark_scene(np.random.default_rng([params.seed, number, index, 1]), scene)
            file = f"images/{split}/{name}"
            if kind in (None, "point"):
                tables["points"] += [(file, _NAMED[label], x, y) for label, x, y in marks.points]
            if kind in (None, "tag"):
                shown = sorted(set(scene.categories))
                tables["tags"] += [(file, NAMES[label - 1]) for label in shown]
            tables["counts"].append((file, marks.salient))
            watched = watch_scene(np.random.default_rng([params.seed, number, index, 2]), scene)
            for table, rows in _watched(watched, file, [entry["id"] for entry in entries]).items():
                tables[table] += rows
            for folder, drawing in _maps(scene, marks, kind).items():
                write_bytes(out / folder / f"{Path(name).stem}.png", drawing)
            drawn.step()
        content = {
            "info": {"description": f"drawn from seed {params.seed}"},
            "categories": [{"id": i, "name": name} for i, name in enumerate(NAMES, start=1)],
            "images": images,
            "annotations": annotations,
        }
        write_json(out / "annotations" / f"instances_{split}.json", content)
        first += count
    for table, rows in tables.items():
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        write_bytes(out / f"{table}.csv", text.getvalue().encode())


_NAMED = (BACKGROUND, *NAMES)
_BOXED = (None, "box")


def _kind(params: Params, index: int) -> Kind | None:
    """The only kind of labels that a training image carries; None: all but a whole mask.

    The kinds come in rounds of as many images as the numbers of the mix sum to, each round in an
    order of its own.
    """
    if not params.mix:
        return None
    kinds = [kind for kind, count in params.mix.items() for _ in range(count)]
    around, place = divmod(index, len(kinds))
    order = np.random.default_rng([params.seed, around]).permutation(len(kinds))
    return kinds[int(order[place])]


def _maps(scene: Scene, marks: Marks, kind: Kind | None) -> dict[str, bytes]:
    """Its PNGs by folder."""
    maps = {
        "regions": encode_region(marks.region),
        "saliency": encode_grey(marks.saliency),
    }
    if kind in (None, "scribble"):
        maps["scribbles"] = encode_label_map(marks.scribbles)
    if kind == "mask":
        labels = np.zeros(marks.region.shape, dtype=np.uint8)
        for category, mask in zip(scene.categories, scene.masks, strict=True):
            labels[mask] = category
        maps["masks"] = encode_label_map(labels)
    return maps


def _watched(watched: Watched, file: str, ids: list[int]) -> dict[str, list[tuple[object, ...]]]:
    """Rows of its recordings by table; `ids` are those of the annotations."""
    votes: list[tuple[object, ...]] = []
    votes += [(file, annotator, ids[number], "") for annotator, number in watched.picked]
    votes += [(file, annotator, "", reason) for annotator, reason in watched.against]
    votes += [(file, annotator, "", "") for annotator in range(1, ANNOTATORS + 1)]
    order = sorted(range(len(ids)), key=lambda number: -watched.strengths[number])
    return {
        "fixations": [(file, *sample) for sample in watched.fixations],
        "votes": votes,
        "ground_truth/ranks": [(file, ids[number], r) for r, number in enumerate(order, start=1)],
        "ground_truth/planted": [(file, watched.planted)] if watched.planted else [],
    }


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
