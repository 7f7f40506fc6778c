"""The ranking network on ranked instances: it learns to find, outline and order them (IRSR 4).

New heads on the classifier's backbone. First, as in the paper on another data set, all but the
ranking branch learns to find objects, salient or not, in random crops of all training images. Then
all of it learns on the ranked images, brought to one size and mirrored, never cropped: where an
instance lies is part of how salient it is. Nothing is measured here but the loss; ranking_eval does
that on the validation images. A run that is killed goes on after its last epoch.

IRSR: https://arxiv.org/abs/2107.03824.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from models.cam import ClassifierSpec
from models.detection import Targets
from models.fit import build_optimizer, parameter_groups, shuffled, steps_per_epoch
from models.irsr.branch import Ranking
from models.irsr.network import UNKNOWN_PERSON, RankingNetwork, RankingSpec
from models.irsr.views import RankedBatch, as_ranked_batch, ranked_view
from stages.engine.command import run
from stages.engine.detectors import DetectorTraining, new_detector, view_batches
from stages.engine.errors import InputError
from stages.engine.files import write_json
from stages.engine.progress import counted
from stages.engine.training import (
    Checkpoint,
    Curve,
    TrainingImages,
    set_training_threads,
    train,
    write_curve,
)
from stages.io.data_set import Dataset, ImageFile, images_of_split, read_class_names
from stages.io.networks import read_spec, save_network
from stages.io.objects import Row, objects_by_image, read_targets

Side = Annotated[int, Field(ge=32)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params(DetectorTraining, Ranking):
    """Numbers of this stage; params.yaml says what each is."""

    size: tuple[Side, Side]
    person: tuple[str, ...]
    first_epochs: Annotated[int, Field(ge=0)]

    @property
    def ranking(self) -> Ranking:
        """Of the network's branch."""
        names = [field.name for field in dataclasses.fields(Ranking)]
        return Ranking(**{name: getattr(self, name) for name in names})


def ranker_train(
    params: Params,
    data: Dataset,
    instances: Path,
    first_images: Path,
    first_instances: Path,
    categories: Path,
    classifier: Path,
    out: Path,
) -> None:
    """Train on the training images that have objects, then on those with ranked instances.

    Writes weights.pt, weights.json, curve.csv and metrics.json below `out`.

    Args:
        params: see `Params`.
        data: the ranked images; of its tables only that of the images is read.
        instances: their instances, every one with a rank, 1 = most salient; equal ranks teach
            nothing of each other's order. One without a mask fills its box.
        first_images: table of the images that it learns on first, their files below `data.root`.
        first_instances: the objects of these, ranked or not.
        categories: their names, for `params.person`.
        classifier: weights.pt of classifier_train, of which the backbone is taken.
        out: folder.

    Raises:
        InputError: a table that cannot be read, has no ranks or does not fit the images, a person
            that is no category, weights of another network, a backbone without a pyramid, numbers
            that do not go together, or a loss that is not finite.
    """
    set_training_threads()
    persons = person_categories(params.person, categories)
    objects = ranked_objects(instances)
    every = data.images("train")
    images = [image for image in every if image.image_id in objects]
    if not images:
        raise InputError(f"{instances}: no ranked instance of a training image; expected some")
    _read_all(images, objects, instances)
    first = objects_by_image(first_instances) if params.first_epochs else {}
    others = images_of_split(first_images, data.root, "train") if first else []
    others = [image for image in others if image.image_id in first]
    _read_all(others, first, first_instances)
    trained = read_spec(classifier, ClassifierSpec)
    spec = RankingSpec(trained.backbone, trained.width, params.size, params.sizes, params.ranking)
    network = new_detector(params, spec, classifier, trained)
    known = [Ranked(objects[image.image_id], persons, instances) for image in images]
    lessons: list[tuple[int, int, Callable[[torch.Generator], Iterable[RankedBatch]]]] = []
    if others:
        pictures = TrainingImages(others)
        crops = partial(unranked_batches, params, pictures, first, first_instances)
        lessons.append((params.first_epochs, len(others), crops))
    wholes = partial(ranked_batches, params, TrainingImages(images), known)
    lessons.append((params.passes(len(images)), len(images), wholes))
    inputs = (
        data.table("images"),
        instances,
        categories,
        classifier,
        first_images,
        first_instances,
    )
    curve: Curve = []
    with ExitStack() as checkpoints:
        for turn, (epochs, count, batches) in enumerate(lessons):
            checkpoint = Checkpoint("ranker_train", (params, turn), inputs)
            rows = train(
                network,
                new_optimizer(params, network),
                batches,
                loss,
                epochs=epochs,
                steps=steps_per_epoch(count, params.batch),
                seed=params.seed + turn,
                precision=params.precision,
                checkpoint=checkpoints.enter_context(checkpoint),
                is_last=turn == len(lessons) - 1,
            )
            start = len(curve)
            curve += [row | {"epoch": start + row["epoch"]} for row in rows]
        write_curve(out / "curve.csv", curve)
        counts = {
            "images": len(images),
            "images_without_instances": len(every) - len(images),
            "first_images": len(others),
            "instances": sum(len(each.rows) for each in known),
            "persons": sum(int((each.is_person() == 1).sum()) for each in known),
        }
        write_json(out / "metrics.json", counts | {"loss": round(curve[-1]["loss"], 4)})
        save_network(out / "weights.pt", network, spec)


def _read_all(
    images: Sequence[ImageFile], objects: Mapping[str, Sequence[Row]], where: Path
) -> None:
    """Read every mask once: a bad one stops the run now."""
    for image in counted(images, "ranker_train", "masks read"):
        read_targets(objects[image.image_id], image, any_class=True, where=where)


def new_optimizer(params: Params, network: RankingNetwork) -> torch.optim.Optimizer:
    """Over all its weights."""
    groups = parameter_groups(
        network.levels.pyramid.backbone,
        [network],
        learning_rate=params.learning_rate,
        weight_decay=params.weight_decay,
        head_factor=params.head_factor,
    )
    return build_optimizer(params.optimizer, groups, momentum=params.momentum)


@dataclasses.dataclass(frozen=True)
class Ranked:
    """What is known of the instances of an image.

    Attributes:
        rows: of their table.
        persons: the categories that are; None: it is not known which are.
        where: the table, for messages.
    """

    rows: Sequence[Row]
    persons: frozenset[int] | None
    where: Path

    def targets(self, image: ImageFile) -> Targets:
        """Boxes and masks, all of class 1."""
        return read_targets(self.rows, image, any_class=True, where=self.where)

    def ranks(self) -> Tensor:
        """int64 (N)."""
        return torch.tensor([row["rank"] for row in self.rows], dtype=torch.int64)

    def is_person(self) -> Tensor:
        """int64 (N): 1 a person, 0 none, -1 of no known category."""
        known = [
            UNKNOWN_PERSON
            if self.persons is None or row["category"] == 0
            else int(row["category"] in self.persons)
            for row in self.rows
        ]
        return torch.tensor(known, dtype=torch.int64)


def person_categories(names: Sequence[str], categories: Path) -> frozenset[int] | None:
    """The label values of the names; None where there are no names.

    Raises:
        InputError: a name that is no category, or an unreadable table.
    """
    if not names:
        return None
    labels = {name: label for label, name in read_class_names(categories).items()}
    for name in names:
        if name not in labels:
            known = ", ".join(labels)
            raise InputError(f"{categories}: ranker_train.person: {name!r} is none of {known}")
    return frozenset(labels[name] for name in names)


def ranked_objects(instances: Path) -> dict[str, list[Row]]:
    """The rows of every image that has any.

    Raises:
        InputError: an unreadable table, or an instance without a rank, or one below 1.
    """
    objects = objects_by_image(instances)
    for row in (row for rows in objects.values() for row in rows):
        if row["rank"] is None or row["rank"] < 1:
            name = f"{instances}: image_id {row['image_id']}, instance_id {row['instance_id']}"
            raise InputError(f"{name}: rank {row['rank']}; expected 1 (most salient) or more")
    return objects


def unranked_batches(
    params: Params,
    pictures: TrainingImages,
    objects: Mapping[str, Sequence[Row]],
    where: Path,
    generator: torch.Generator,
) -> Iterator[RankedBatch]:
    """One epoch of random crops with objects of which neither order nor kind is known."""
    for batch in view_batches(params, pictures, objects, where, generator, any_class=True):
        equal = torch.ones_like(batch.labels)
        yield RankedBatch(batch, equal, torch.full_like(equal, UNKNOWN_PERSON))


def ranked_batches(
    params: Params, pictures: TrainingImages, known: Sequence[Ranked], generator: torch.Generator
) -> Iterator[RankedBatch]:
    """One epoch of random views of the images with their ranked instances."""
    for indices in shuffled(len(pictures), params.batch, generator):
        yield as_ranked_batch(
            [
                ranked_view(
                    pictures[index],
                    known[index].targets(pictures.files[index]),
                    known[index].ranks(),
                    known[index].is_person(),
                    size=params.size,
                    jitter=params.jitter,
                    generator=generator,
                )
                for index in indices
            ]
        )


def loss(network: nn.Module, batch: RankedBatch) -> dict[str, Tensor]:
    """Those of Mask R-CNN, of the person head and of the ranking, each with weight 1."""
    terms: dict[str, Tensor] = network(
        batch.objects.images,
        batch.objects.targets(),
        batch.own(batch.ranks),
        batch.own(batch.persons),
    )
    return terms


if __name__ == "__main__":
    run(ranker_train)
