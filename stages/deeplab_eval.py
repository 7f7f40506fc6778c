"""The final network on the validation images, with and without CRF, against ground truth.

The network labels every image by itself; only then are its label maps compared with the ground
truth, with the ruler of labels_eval. All in percent. A data set without validation images, without
ground truth or (upper bound) without a trained network gets null values and a note.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.deeplab import DeepLab, DeepLabSpec, predict
from models.metrics import ConfusionMatrix
from models.ops.crf import Kernels, dense_crf
from stages.engine.command import run
from stages.engine.files import write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.engine.progress import counted
from stages.io.data_set import Dataset, ImageFile
from stages.io.label_maps import LabelMap, encode_label_map, read_label_map
from stages.io.measures import (
    count_pixels,
    labels_of,
    percent,
    read_truth,
    set_scores,
)
from stages.io.networks import read_network, read_spec

#: A class that is nowhere more likely than this takes no part in the CRF, which costs per class;
#: what it holds then moves the result by less than 0.2 % of the pixels.
LEAST_PROBABILITY = 0.05


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of the stage.

    Attributes:
        classes: names of classes to average over besides all of them; empty = only all.
        scales: factors of the image's size whose predictions are averaged.
        flip: average over mirrored images too.
        iterations: mean field steps of the CRF.
        gaussian_xy: pixels.
        gaussian_compat: weight of the Gaussian kernel.
        bilateral_xy: pixels.
        bilateral_rgb: of 255.
        bilateral_compat: weight of the bilateral kernel.
    """

    classes: list[str]
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
    flip: bool
    iterations: Annotated[int, Field(gt=0)]
    gaussian_xy: Annotated[float, Field(gt=0)]
    gaussian_compat: Annotated[float, Field(ge=0)]
    bilateral_xy: Annotated[float, Field(gt=0)]
    bilateral_rgb: Annotated[float, Field(gt=0)]
    bilateral_compat: Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Item:
    """One image's work."""

    image: ImageFile
    weights: Path
    beside: Path
    params: Params

    @property
    def image_id(self) -> str:
        """Which image."""
        return self.image.image_id


def deeplab_eval(
    params: Params,
    data: Dataset,
    weights: Path,
    ground_truth: Path,
    out: Path,
    name: str,
) -> None:
    """Label the validation images and measure the labels.

    Args:
        params: see `Params`.
        data: the data set.
        weights: weights.pt of deeplab_train, with weights.json beside it.
        ground_truth: folder of <image_id>.png; images that have none are not measured.
        out: gets <name>.json, <name>/plain/<image_id>.png and <name>/crf/<image_id>.png.
        name: of the label source the network was trained on.

    Raises:
        InputError: unreadable tables, weights or ground truth, or `params.classes` names an
            unknown class.
    """
    names = data.class_names()
    chosen = labels_of(params.classes, names, "deeplab_eval.classes")
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    trained = weights.is_file()
    has_images = data.has("val")
    samples = data.images("val") if trained and has_images else []
    if not samples:
        lack = "images in split 'val'" if trained else f"network in {weights.parent}"
        print(f"deeplab_eval: no {lack}; nothing to measure")
    beside = weights.with_suffix(".json")
    items = [Item(sample, weights, beside, params) for sample in samples]
    map_images(label_image, items, folder, stage="deeplab_eval")
    plain, measured = _measure(samples, folder / "plain", ground_truth, names)
    refined, _ = _measure(samples, folder / "crf", ground_truth, names)
    metrics = _joined(set_scores(plain, names), set_scores(refined, names))
    if params.classes:
        averages = [percent(matrix.miou(chosen)) for matrix in (plain, refined)]
        metrics |= {"miou_classes": averages[0], "miou_classes_crf": averages[1]}
    counts = {"images": measured, "images_without_truth": len(samples) - measured}
    write_json(out / f"{name}.json", metrics | counts)


def label_image(item: Item) -> Outcome:
    """The network's label map of an image, before and after the CRF."""
    network = _network(item.weights, item.beside)
    image = item.image.read()
    picture = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    params = item.params
    probabilities = predict(network, picture, params.scales, params.flip).numpy()
    kernels = Kernels(
        iterations=params.iterations,
        gaussian_xy=params.gaussian_xy,
        gaussian_compat=params.gaussian_compat,
        bilateral_xy=params.bilateral_xy,
        bilateral_rgb=params.bilateral_rgb,
        bilateral_compat=params.bilateral_compat,
    )
    refined = _refined(probabilities, image, kernels)
    plain = probabilities.argmax(0).astype(np.uint8)
    files = {
        f"plain/{item.image_id}.png": encode_label_map(plain),
        f"crf/{item.image_id}.png": encode_label_map(refined),
    }
    return Outcome(files)


def _refined(
    probabilities: npt.NDArray[np.float32], image: npt.NDArray[np.uint8], kernels: Kernels
) -> LabelMap:
    present = np.flatnonzero(probabilities.max(axis=(1, 2)) > LEAST_PROBABILITY)
    refined = dense_crf(probabilities[present], image, kernels)
    labels: LabelMap = present.astype(np.uint8)[refined.argmax(0)]
    return labels


@cache
def _network(weights: Path, beside: Path) -> DeepLab:
    return read_network(weights, read_spec(weights, DeepLabSpec))


def _measure(
    samples: Sequence[ImageFile], folder: Path, ground_truth: Path, names: Mapping[int, str]
) -> tuple[ConfusionMatrix, int]:
    matrix = ConfusionMatrix(max(names) + 1)
    measured = 0
    for sample in counted(samples, "deeplab_eval", "images measured"):
        truth = read_truth(ground_truth, sample.image_id)
        if truth is not None:
            path = folder / f"{sample.image_id}.png"
            count_pixels(matrix, truth, read_label_map(path), path)
            measured += 1
    return matrix, measured


def _joined(plain: Mapping[str, Any], refined: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "miou": plain["miou"],
        "miou_crf": refined["miou"],
        "accuracy": plain["precision"],
        "accuracy_crf": refined["precision"],
        "iou": plain["iou"],
        "iou_crf": refined["iou"],
    }


if __name__ == "__main__":
    run(deeplab_eval)
