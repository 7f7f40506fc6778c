"""The final network, trained on one label source: the line's own labels, or the upper bound.

A DeepLab head on the classifier's backbone, cross entropy on the labelled pixels. Nothing is
measured here but the loss; labels_eval does that on the validation images.

DeepLab-v3: https://arxiv.org/abs/1706.05587. DeepLab-v2: https://arxiv.org/abs/1606.00915.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from models.backbones import Backbone, freeze_batch_norm
from models.cam import ClassifierSpec
from models.deeplab import DeepLab, DeepLabSpec, segmentation_loss
from models.fit import Schedule, build_optimizer, parameter_groups, shuffled, steps_per_epoch
from models.ops.augment import Jitter, augment
from stages.engine.command import run
from stages.engine.errors import InputError
from stages.engine.files import write_json
from stages.engine.progress import counted
from stages.engine.training import (
    Checkpoint,
    Precision,
    TrainingImages,
    set_training_threads,
    train,
    write_curve,
)
from stages.io.data_set import Dataset, ImageFile
from stages.io.label_maps import UNKNOWN, LabelMap, read_label_map
from stages.io.networks import read_network, read_spec, save_network


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params(Schedule):
    """Numbers of this stage; params.yaml says what each is."""

    head: Literal["aspp", "largefov"]
    channels: Annotated[int, Field(gt=0)]
    rates: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]
    output_stride: Literal[8, 16]
    batch: Annotated[int, Field(ge=2)]  # batch norm wants two
    crop: Annotated[int, Field(ge=32)]
    scales: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    jitter: Jitter
    optimizer: Literal["sgd", "adamw"]
    freeze_batch_norm: bool
    precision: Precision


class Batch(NamedTuple):
    """RGB in [0, 1] (B, 3, crop, crop) and label values (B, crop, crop), 255 = unknown."""

    images: Tensor
    labels: Tensor


def deeplab_train(
    params: Params,
    data: Dataset,
    labels: Path,
    classifier: Path,
    out: Path,
) -> None:
    """Train on the training images that have a label map.

    Writes weights.pt, weights.json, curve.csv and metrics.json below `out`. Where no image has a
    label map (the upper bound of a data set without ground truth) there is nothing to train: only
    metrics.json is written, with 0 images.

    Args:
        params: see `Params`.
        data: the data set.
        labels: folder of <image_id>.png, 255 = unknown.
        classifier: weights.pt of classifier_train, of which the backbone is taken.
        out: folder.

    Raises:
        InputError: a label map that does not fit its image or the categories, weights of another
            network, or a loss that is not finite.
    """
    set_training_threads()
    classes = max(data.class_names()) + 1
    every = data.images("train")
    images = [image for image in every if (labels / f"{image.image_id}.png").is_file()]
    trained = read_spec(classifier, ClassifierSpec)
    spec = DeepLabSpec(
        trained.backbone,
        trained.width,
        params.output_stride,
        classes,
        params.head,
        params.channels,
        params.rates,
    )
    counts = {"images": len(images), "images_without_labels": len(every) - len(images)}
    if not images:
        print(f"deeplab_train: no label map in {labels}; nothing to train on")
        write_json(out / "metrics.json", counts)
        return
    for image in counted(images, "deeplab_train", "labels read"):
        read_labels(labels, image, classes)  # so that a bad one stops the run now, not in an hour
    network = build_network(params, spec, read_network(classifier, trained).backbone)
    steps = steps_per_epoch(len(images), params.batch)
    groups = parameter_groups(
        network.backbone,
        [network.head],
        learning_rate=params.learning_rate,
        weight_decay=params.weight_decay,
        head_factor=params.head_factor,
    )
    optimizer = build_optimizer(params.optimizer, groups, momentum=params.momentum)
    inputs = (data.table("images"), data.table("categories"), labels, classifier)
    with Checkpoint("deeplab_train", params, inputs) as checkpoint:
        curve = train(
            network,
            optimizer,
            partial(batches, params, TrainingImages(images), labels, classes),
            loss,
            epochs=params.passes(len(images)),
            steps=steps,
            seed=params.seed,
            precision=params.precision,
            checkpoint=checkpoint,
        )
        write_curve(out / "curve.csv", curve)
        write_json(out / "metrics.json", counts | {"loss": round(curve[-1]["loss"], 4)})
        save_network(out / "weights.pt", network, spec)


def build_network(params: Params, spec: DeepLabSpec, trained: Backbone) -> DeepLab:
    """A new head on the classifier's backbone.

    Raises:
        InputError: the backbone has no such stride, or the head no such rates.
    """
    torch.manual_seed(params.seed)
    try:
        network = spec.build()
    except ValueError as error:
        raise InputError(f"deeplab_train.{error}") from error
    network.backbone.load_state_dict(trained.state_dict(), strict=True)
    if params.freeze_batch_norm:
        freeze_batch_norm(network.backbone)
    return network


def batches(
    params: Params,
    pictures: TrainingImages,
    labels: Path,
    classes: int,
    generator: torch.Generator,
) -> Iterator[Batch]:
    """One epoch of augmented crops."""
    for indices in shuffled(len(pictures), params.batch, generator):
        views = []
        for index in indices:
            view = augment(
                pictures[index],
                torch.from_numpy(read_labels(labels, pictures.files[index], classes)),
                crop=params.crop,
                factors=params.scales,
                jitter=params.jitter,
                generator=generator,
            )
            views.append(view)
        images, targets = zip(*views, strict=True)
        yield Batch(torch.stack(images), torch.stack(targets))


def loss(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Cross entropy of the labelled pixels."""
    return {"cross_entropy": segmentation_loss(network(batch.images), batch.labels)}


def read_labels(labels: Path, image: ImageFile, classes: int) -> LabelMap:
    """The label map of an image.

    Raises:
        InputError: of another size than the image, or a value is no category.
    """
    path = labels / f"{image.image_id}.png"
    label_map = read_label_map(path, image.size)
    foreign = np.unique(label_map[(label_map >= classes) & (label_map != UNKNOWN)])
    if len(foreign):
        raise InputError(
            f"{path}: expected labels below {classes} or {UNKNOWN}, found {foreign[0]}"
        )
    return label_map


if __name__ == "__main__":
    run(deeplab_train)
