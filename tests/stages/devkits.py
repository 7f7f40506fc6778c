"""Tiny data sets in the three formats, written by hand for the tests of the readers."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.sources.source import Source

WIDTH, HEIGHT = 48, 40


def faults(source: Source) -> list[str]:
    """Why images of a source are no good."""
    return [image.fault for image in source.images if image.fault is not None]


def picture(width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def picture_bytes(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return buffer.getvalue()


def voc_object(name: str, box: Sequence[object]) -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    corners = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"


def voc_annotation(objects: Sequence[str], width: int = WIDTH, height: int = HEIGHT) -> str:
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>{size}{''.join(objects)}</annotation>"


def write_voc(
    root: Path, annotations: dict[str, str], train: Sequence[str], val: Sequence[str]
) -> Path:
    """A devkit with a JPEG for every annotation; masks are for the test to add."""
    for number, (image_id, text) in enumerate(annotations.items()):
        save(root / "JPEGImages" / f"{image_id}.jpg", picture(seed=number))
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{image_id}.xml").write_text(text)
    sets = root / "ImageSets" / "Segmentation"
    sets.mkdir(parents=True, exist_ok=True)
    (sets / "train.txt").write_text("".join(f"{name}\n" for name in train))
    (sets / "val.txt").write_text("".join(f"{name}\n" for name in val))
    return root


def coco_image(key: int, name: str, **more: object) -> dict[str, object]:
    return {"id": key, "file_name": name, "width": WIDTH, "height": HEIGHT, **more}


def coco_box(image: int, category: int, box: object, **more: object) -> dict[str, object]:
    return {"id": 1, "image_id": image, "category_id": category, "bbox": box, **more}


def write_coco(
    root: Path,
    images: Sequence[dict[str, Any]],
    annotations: Sequence[dict[str, Any]] = (),
    name: str = "train",
    categories: Sequence[tuple[int, str]] = ((18, "dog"), (3, "car")),
) -> Path:
    """One json with a PNG for every image whose name stays inside; more calls add splits."""
    for number, entry in enumerate(images):
        if not entry["file_name"].startswith(("/", "..")):
            path = root / "images" / name / entry["file_name"]
            if not path.exists() and not path.is_symlink():
                save(path, picture(seed=number))
    content = {
        "images": list(images),
        "annotations": list(annotations),
        "categories": [{"id": key, "name": text} for key, text in categories],
    }
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))
    return root


def write_folder(root: Path, lines: Sequence[str], files: Sequence[str]) -> Path:
    """boxes.csv with the usual header, and a PNG for every file name."""
    for number, file in enumerate(files):
        save(root / file, picture(seed=number))
    root.mkdir(parents=True, exist_ok=True)
    header = "file,split,category,x0,y0,x1,y1"
    (root / "boxes.csv").write_text("\n".join([header, *lines]) + "\n")
    return root
