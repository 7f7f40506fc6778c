"""Mask R-CNN, trained on one source of instances: masks that a line has made, or the upper bound.

New heads on the classifier's backbone. Nothing is measured here but the loss; instances_eval does
that on the validation images.

Mask R-CNN: https://arxiv.org/abs/1703.06870.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from models.backbones import freeze_batch_norm
from models.cam import ClassifierSpec
from models.detection import Batch, DetectorSizes, as_batch
from models.fit import Schedule, build_optimizer, parameter_groups, shuffled, steps_per_epoch
from models.instance_views import instance_view
from models.maskrcnn import MaskRCNN, MaskRCNNSpec
from models.ops.augment import Jitter
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
from stages.io.data_set import Dataset
from stages.io.networks import read_network, read_spec, save_network
from stages.io.objects import Row, objects_by_image, read_targets


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params(Schedule, DetectorSizes):
    """Numbers of this stage; params.yaml says what each is."""

    any_class: bool
    crop: Annotated[int, Field(ge=32)]
    scales: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    jitter: Jitter
    optimizer: Literal["sgd", "adamw"]
    freeze_batch_norm: bool
    precision: Precision

    @property
    def sizes(self) -> DetectorSizes:
        """Of the network's parts."""
        return DetectorSizes(
            self.pyramid, self.hidden, self.anchor, self.proposals, self.sampled,
            self.detections, self.overlap,
        )  # fmt: skip


def maskrcnn_train(
    params: Params, data: Dataset, instances: Path, classifier: Path, out: Path
) -> None:
    """Train on the training images that have instances.

    Writes weights.pt, weights.json, curve.csv and metrics.json below `out`. Where no image has an
    instance (the upper bound of a data set without ground truth) there is nothing to train: only
    metrics.json is written, with 0 images.

    Args:
        params: see `Params`.
        data: the data set.
        instances: table; an instance without a mask fills its box.
        classifier: weights.pt of classifier_train, of which the backbone is taken.
        out: folder.

    Raises:
        InputError: a table that cannot be read or does not fit the images, weights of another
            network, a backbone without a pyramid, or a loss that is not finite.
    """
    set_training_threads()
    objects = objects_by_image(instances)
    every = data.images("train")
    images = [image for image in every if image.image_id in objects]
    trained = read_spec(classifier, ClassifierSpec)
    classes = 2 if params.any_class else max(data.class_names()) + 1
    spec = MaskRCNNSpec(trained.backbone, trained.width, classes, params.any_class, params.sizes)
    counts = {
        "images": len(images),
        "images_without_instances": len(every) - len(images),
        "instances": sum(len(objects[image.image_id]) for image in images),
    }
    if not images:
        print(f"maskrcnn_train: no instance in {instances}; nothing to train on")
        write_json(out / "metrics.json", counts)
        return
    pictures = TrainingImages(images)
    for image in counted(images, "maskrcnn_train", "masks read"):  # a bad one stops the run now
        read_targets(objects[image.image_id], image, any_class=params.any_class, where=instances)
    network = build_network(params, spec, classifier, trained)
    groups = parameter_groups(
        network.levels.pyramid.backbone,
        [network],
        learning_rate=params.learning_rate,
        weight_decay=params.weight_decay,
        head_factor=params.head_factor,
    )
    optimizer = build_optimizer(params.optimizer, groups, momentum=params.momentum)
    inputs = (data.table("images"), data.table("categories"), instances, classifier)
    with Checkpoint("maskrcnn_train", params, inputs) as checkpoint:
        curve = train(
            network,
            optimizer,
            partial(batches, params, pictures, objects, instances),
            loss,
            epochs=params.passes(len(images)),
            steps=steps_per_epoch(len(images), params.batch),
            seed=params.seed,
            precision=params.precision,
            checkpoint=checkpoint,
        )
        write_curve(out / "curve.csv", curve)
        write_json(out / "metrics.json", counts | {"loss": round(curve[-1]["loss"], 4)})
        save_network(out / "weights.pt", network, spec)


def build_network(
    params: Params, spec: MaskRCNNSpec, classifier: Path, trained: ClassifierSpec
) -> MaskRCNN:
    """New heads on the classifier's backbone.

    Raises:
        InputError: the classifier's weights do not fit, or its backbone has no pyramid.
    """
    torch.manual_seed(params.seed)
    backbone = read_network(classifier, trained).backbone
    try:
        network = spec.build()
    except ValueError as error:
        raise InputError(f"{classifier}: {error}") from error
    network.levels.pyramid.backbone.load_state_dict(backbone.state_dict(), strict=True)
    if params.freeze_batch_norm:
        freeze_batch_norm(network.levels.pyramid.backbone)
    return network


def batches(
    params: Params,
    pictures: TrainingImages,
    objects: Mapping[str, Sequence[Row]],
    where: Path,
    generator: torch.Generator,
) -> Iterator[Batch]:
    """One epoch of random views."""
    for indices in shuffled(len(pictures), params.batch, generator):
        views = []
        for index in indices:
            image = pictures.files[index]
            rows = objects[image.image_id]
            view = instance_view(
                pictures[index],
                read_targets(rows, image, any_class=params.any_class, where=where),
                crop=params.crop,
                factors=params.scales,
                jitter=params.jitter,
                generator=generator,
            )
            views.append(view)
        yield as_batch(*zip(*views, strict=True))


def loss(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Proposals, boxes, classes and masks, each with weight 1."""
    terms: dict[str, Tensor] = network(batch.images, batch.targets())
    return terms


if __name__ == "__main__":
    run(maskrcnn_train)
