"""A feature per salient instance, alike within a class (Fan et al. 2018, section 3.2).

A classifier with a centre loss learns from the data set's own instances: those of images with one
tag, which are taken to be of that class. (The paper learns from ImageNet, where every image has
one.) Or nothing is trained, and the backbone serves as it is.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from models.backbones import freeze_batch_norm
from models.cam import ClassifierSpec
from models.fit import Schedule, build_optimizer, parameter_groups, shuffled, steps_per_epoch
from models.ops.augment import Jitter, jitter_colours
from models.tag_assignment.centre_loss import CentreClassifier
from models.tag_assignment.features import FeatureNetwork, FeatureSpec
from stages.engine.command import run
from stages.engine.errors import InputError
from stages.engine.files import write_json
from stages.engine.progress import counted
from stages.engine.training import (
    Checkpoint,
    Curve,
    Precision,
    set_training_threads,
    train,
    write_curve,
)
from stages.io.box_masks import BoxMask, read_box_masks
from stages.io.data_set import Dataset, ImageFile
from stages.io.networks import read_network, read_spec, save_network
from stages.io.pretrained import initial_weights, initial_weights_files


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params(Schedule):
    """Numbers of this stage; params.yaml says what each is."""

    method: Literal["centre", "as_it_is"]
    backbone: Literal["classifier", "resnet18", "resnet50", "resnet101", "mobilenet_v2"]
    weights: str
    output_stride: Literal[8, 16, 32]
    side: Annotated[int, Field(ge=32)]
    masked: bool
    centre_weight: Annotated[float, Field(ge=0)]
    centre_rate: Annotated[float, Field(ge=0, le=1)]
    batch: Annotated[int, Field(ge=2)]  # batch norm wants two
    jitter: Jitter
    optimizer: Literal["sgd", "adamw"]
    freeze_batch_norm: bool
    precision: Precision

    @property
    def files(self) -> tuple[Path, ...]:
        """What `weights` names; `stages.engine.command.run` looks whether it changes meanwhile."""
        return () if self.backbone == "classifier" else initial_weights_files(self.weights)


class Batch(NamedTuple):
    """Crops (B, 3, side, side) in [0, 1] and their classes, int64 (B,) from 0."""

    crops: Tensor
    labels: Tensor


def feature_train(
    params: Params, data: Dataset, instances: Path, classifier: Path, out: Path
) -> None:
    """Train on the instances of the training images that have one tag alone.

    Writes weights.pt, weights.json, curve.csv and metrics.json below `out`. With fewer than two
    classes among them nothing is trained, and it is said.

    Args:
        params: see `Params`.
        data: the data set.
        instances: of instances_select.
        classifier: weights.pt of classifier_train, whose backbone serves where none is named.
        out: folder.

    Raises:
        InputError: an unreadable table, weights that do not fit the backbone, or a loss that is not
            finite.
    """
    set_training_threads()
    torch.manual_seed(params.seed)
    network, spec = _network(params, classifier)
    tags, masks = data.tags(), read_box_masks(instances)
    lessons = [
        (image, mask, tags[image.image_id][0])
        for image in data.images("train")
        if len(tags.get(image.image_id, ())) == 1
        for _, mask in masks.get(image.image_id, ())
    ]
    classes = sorted({tag for _, _, tag in lessons})
    curve: Curve = []
    if params.method == "centre" and len(classes) < 2:
        found = f"{len(lessons)} instances of {len(classes)} classes in images with one tag"
        print(f"feature_train: {found}; nothing to learn from, the backbone serves as it is")
    trains = params.method == "centre" and len(classes) > 1
    inputs = (data.table("images"), data.table("tags"), instances, classifier, *params.files)
    with Checkpoint("feature_train", params, inputs) as checkpoint:
        if trains:
            labels = torch.tensor([classes.index(tag) for _, _, tag in lessons])
            crops = _crops(spec, [lesson[:2] for lesson in lessons])
            learner = CentreClassifier(
                network,
                network.channels,
                len(classes),
                weight=params.centre_weight,
                rate=params.centre_rate,
            )
            groups = parameter_groups(
                network,
                [learner.head],
                learning_rate=params.learning_rate,
                weight_decay=params.weight_decay,
                head_factor=params.head_factor,
            )
            curve = train(
                learner,
                build_optimizer(params.optimizer, groups, momentum=params.momentum),
                partial(_batches, params, crops, labels),
                _loss,
                epochs=params.passes(len(lessons)),
                steps=steps_per_epoch(len(lessons), params.batch),
                seed=params.seed,
                precision=params.precision,
                checkpoint=checkpoint,
            )
        write_curve(out / "curve.csv", curve or [{"epoch": 0, "loss": math.nan}])
        metrics = {
            "instances": len(lessons),
            "classes": len(classes),
            "trained": trains,
            "loss": curve[-1]["loss"] if curve else None,
        }
        write_json(out / "metrics.json", metrics)
        save_network(out / "weights.pt", network, spec)


def _network(params: Params, classifier: Path) -> tuple[FeatureNetwork, FeatureSpec]:
    trained = read_spec(classifier, ClassifierSpec)
    own = params.backbone == "classifier"
    spec = FeatureSpec(
        trained.backbone if own else params.backbone,
        trained.width if own else 1.0,
        params.output_stride,
        params.side,
        params.masked,
    )
    try:
        network = spec.build()
        if own:
            state = read_network(classifier, trained).backbone.state_dict()
            network.backbone.load_state_dict(state, strict=True)
        else:
            published = initial_weights(params.weights, params.backbone)
            if published is not None:
                network.backbone.load_pretrained(published)
    except ValueError as error:
        raise InputError(f"params.yaml: feature_train.{error}") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        named = f"{params.weights!r} does not fit {spec.backbone}"
        raise InputError(f"params.yaml: feature_train.weights: {named}: {reason}") from error
    if params.freeze_batch_norm:
        freeze_batch_norm(network)
    return network.eval(), spec


def _crops(spec: FeatureSpec, lessons: Sequence[tuple[ImageFile, BoxMask]]) -> Tensor:
    """uint8 RGB (n, 3, side, side)."""
    crops = torch.empty(len(lessons), 3, spec.side, spec.side, dtype=torch.uint8)
    opened: ImageFile | None = None
    for row, (image, mask) in enumerate(counted(lessons, "feature_train", "instances read")):
        if image is not opened:
            opened, picture = image, image.read()
        crop = spec.crop(picture, mask.decode(image.size), mask.corners)
        crops[row] = torch.from_numpy(crop).permute(2, 0, 1)
    return crops


def _batches(
    params: Params, crops: Tensor, labels: Tensor, generator: torch.Generator
) -> Iterator[Batch]:
    """One epoch: mirrored with probability 1/2, colours changed."""
    for rows in shuffled(len(crops), params.batch, generator):
        views = []
        for row in rows:
            draws = torch.rand(5, generator=generator).tolist()
            crop = crops[row].flip(-1) if draws[0] < 0.5 else crops[row]
            views.append(jitter_colours(crop.float() / 255, params.jitter, draws[1:]))
        yield Batch(torch.stack(views), labels[rows])


def _loss(network: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
    terms: Mapping[str, Tensor] = network(batch.crops, batch.labels)
    return terms


if __name__ == "__main__":
    run(feature_train)
