"""A data set on the disk whose training images come, go and change."""

import json
import shutil
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps


class TrainingSet:
    """The training images of a COCO folder, which come and go."""

    def __init__(self, source: Path, root: Path) -> None:
        """Copy the data set `source` to `root`."""
        shutil.copytree(source, root)
        self._source = source / "images/train"
        self._folder = root / "images/train"
        self._json = root / "annotations/instances_train.json"
        self._all: dict[str, Any] = json.loads(self._json.read_bytes())
        self.names = [image["file_name"] for image in self._all["images"]]
        self._listed = set(self.names)

    def remove(self, name: str) -> None:
        """The image and its boxes are gone."""
        self._listed.remove(name)
        (self._folder / name).unlink()
        self._write()

    def add(self, name: str) -> None:
        """The image as it was drawn, and its boxes."""
        self._listed.add(name)
        shutil.copy(self._source / name, self._folder / name)
        self._write()

    def mirror(self, name: str) -> None:
        """Other pixels, the same boxes."""
        with Image.open(self._folder / name) as image:
            ImageOps.mirror(image).save(self._folder / name)

    def narrow(self, name: str) -> None:
        """Its first box loses a pixel on the right."""
        (number,) = (image["id"] for image in self._all["images"] if image["file_name"] == name)
        box = next(entry for entry in self._all["annotations"] if entry["image_id"] == number)
        box["bbox"][2] -= 1
        self._write()

    def _write(self) -> None:
        images = [image for image in self._all["images"] if image["file_name"] in self._listed]
        numbers = {image["id"] for image in images}
        annotations = [box for box in self._all["annotations"] if box["image_id"] in numbers]
        self._json.write_text(
            json.dumps(self._all | {"images": images, "annotations": annotations})
        )
