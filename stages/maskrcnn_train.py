"""Mask R-CNN, trained on one source of instances: masks that a line has made, or the upper bound.

New heads on the classifier's backbone. Nothing is measured here but the loss; instances_eval does
that on the validation images.

Mask R-CNN: https://arxiv.org/abs/1703.06870.
"""

from functools import partial
from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from models.cam import ClassifierSpec
from models.detection import Batch
from models.fit import build_optimizer, parameter_groups, steps_per_epoch
from models.maskrcnn import MaskRCNNSpec
from stages.engine.command import run
from stages.engine.detectors import DetectorTraining, new_detector, view_batches
from stages.engine.files import write_json
from stages.engine.progress import counted
from stages.engine.training import (
    Checkpoint,
    TrainingImages,
    set_training_threads,
    train,
    write_curve,
)
from stages.io.data_set import Dataset
from stages.io.networks import read_spec, save_network
from stages.io.objects import objects_by_image, read_targets


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params(DetectorTraining):
    """Numbers of this stage; params.yaml says what each is."""

    any_class: bool


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
    network = new_detector(params, spec, classifier, trained)
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
            partial(view_batches, params, pictures, objects, instances, any_class=params.any_class),
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


def loss(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Proposals, boxes, classes and masks, each with weight 1."""
    terms: dict[str, Tensor] = network(batch.images, batch.targets())
    return terms


if __name__ == "__main__":
    run(maskrcnn_train)
