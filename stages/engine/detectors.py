"""What the training of every detector of objects shares: numbers, first weights, random views."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Protocol, TypeVar

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.backbones import freeze_batch_norm
from models.cam import ClassifierSpec
from models.detection import Batch, DetectorSizes, FeatureLevels, as_batch
from models.fit import Schedule, shuffled
from models.instance_views import instance_view
from models.ops.augment import Jitter
from stages.engine.errors import InputError
from stages.engine.training import Precision, TrainingImages
from stages.io.networks import read_network
from stages.io.objects import Row, read_targets


class Detector(Protocol):
    """A network on feature levels, which hold its backbone."""

    levels: FeatureLevels


DetectorT = TypeVar("DetectorT", bound=Detector)
DetectorT_co = TypeVar("DetectorT_co", bound=Detector, covariant=True)


class DetectorSpec(Protocol[DetectorT_co]):
    """What a detector is made of."""

    def build(self) -> DetectorT_co:
        """The network with random weights; a ValueError where the backbone has no pyramid."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DetectorTraining(Schedule, DetectorSizes):
    """Numbers that such a stage inherits; params.yaml says what each is."""

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


def new_detector(
    params: DetectorTraining,
    spec: DetectorSpec[DetectorT],
    classifier: Path,
    trained: ClassifierSpec,
) -> DetectorT:
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
    own = network.levels.pyramid.backbone
    own.load_state_dict(backbone.state_dict(), strict=True)
    if params.freeze_batch_norm:
        freeze_batch_norm(own)
    return network


def view_batches(
    params: DetectorTraining,
    pictures: TrainingImages,
    objects: Mapping[str, Sequence[Row]],
    where: Path,
    generator: torch.Generator,
    *,
    any_class: bool,
) -> Iterator[Batch]:
    """One epoch of random views of the images with their objects.

    Args:
        params: crop, scales, jitter and batch of them.
        pictures: the images.
        objects: the rows of each, of `objects_by_image`.
        where: their table, for messages.
        generator: the only source of randomness.
        any_class: all objects are of class 1.
    """
    for indices in shuffled(len(pictures), params.batch, generator):
        views = []
        for index in indices:
            image = pictures.files[index]
            view = instance_view(
                pictures[index],
                read_targets(objects[image.image_id], image, any_class=any_class, where=where),
                crop=params.crop,
                factors=params.scales,
                jitter=params.jitter,
                generator=generator,
            )
            views.append(view)
        yield as_batch(*zip(*views, strict=True))
