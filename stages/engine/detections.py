"""What every stage shares that finds the objects of images with a trained network."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from models.detection import Detection
from stages.engine.files import write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.io.data_set import ImageFile
from stages.io.objects import detection_rows, write_detections


@dataclasses.dataclass(frozen=True)
class Item:
    """One image and the network; `beside` is the network's weights.json."""

    image: ImageFile
    weights: Path
    beside: Path
    least_score: float

    def read(self) -> Tensor:
        """The image, RGB in [0, 1] (3, H, W); images run side by side, so in one thread each."""
        torch.set_num_threads(1)
        return torch.from_numpy(self.image.read()).permute(2, 0, 1).float() / 255

    def keep(self, found: Detection, *, any_class: bool) -> Outcome:
        """What was found in it and is sure enough, as rows without instance_id."""
        rows = detection_rows(self.image.image_id, found, any_class=any_class)
        return Outcome({}, {"rows": [row for row in rows if row["score"] >= self.least_score]})


def detect_images(
    one_image: Callable[[Item], Outcome],
    images: Sequence[ImageFile],
    weights: Path,
    least_score: float,
    out: Path,
    *,
    stage: str,
) -> None:
    """Write instances.parquet and metrics.json of what `one_image` keeps of each image.

    Args:
        one_image: a function of the stage's module, that is an `Item.keep`.
        images: the images.
        weights: weights.pt of the network, with weights.json beside it.
        least_score: detections below are left out.
        out: folder.
        stage: its name.
    """
    beside = weights.with_suffix(".json")
    items = {image.image_id: Item(image, weights, beside, least_score) for image in images}
    stats = map_images(one_image, items, out, stage=stage)
    rows = [row for of_image in stats for row in of_image["rows"]]
    write_detections(out / "instances.parquet", rows)
    write_json(out / "metrics.json", {"images": len(images), "instances": len(rows)})
