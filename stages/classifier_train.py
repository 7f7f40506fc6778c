"""Train the multi-label classifier whose activation maps become seeds (A2GNN section 3).

It sees the training images and their tags, nothing else. metrics.json holds the losses and how well
the training tags themselves are learned.

CAM: https://arxiv.org/abs/1512.04150. SEAM: https://arxiv.org/abs/2004.04581.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from models.backbones import freeze_batch_norm
from models.cam import CamClassifier, ClassifierSpec, tag_average_precision, tag_loss
from models.fit import Schedule, build_optimizer, parameter_groups, shuffled, steps_per_epoch
from models.ops.augment import Jitter, augment
from models.seam import SeamClassifier, seam_losses
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
from stages.io.data_set import Dataset, ImageFile, Table
from stages.io.networks import save_network
from stages.io.pretrained import initial_weights, initial_weights_files


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params(Schedule):
    """Numbers of this stage; params.yaml says what each is."""

    method: Literal["cam", "seam"]
    backbone: Literal["resnet38d", "resnet18", "resnet50", "resnet101", "mobilenet_v2"]
    width: Annotated[float, Field(gt=0)]
    output_stride: Literal[8, 16]
    training_stride: Literal[8, 16]
    weights: str
    freeze_batch_norm: bool
    dropout: Annotated[float, Field(ge=0, lt=1)]
    crop: Annotated[int, Field(ge=16)]
    scales: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    jitter: Jitter
    optimizer: Literal["sgd", "adamw"]
    precision: Precision
    second_scale: Annotated[float, Field(gt=0, lt=1)]
    cross_share: Annotated[float, Field(gt=0, le=1)]
    min_pool: bool

    @property
    def files(self) -> tuple[Path, ...]:
        """What `weights` names; `stages.engine.command.run` looks whether it changes meanwhile."""
        return initial_weights_files(self.weights)


#: Below this average precision of the tags of its own images a network is undertrained.
LEARNED = 0.5


class Batch(NamedTuple):
    """Images (B, 3, crop, crop) in [0, 1] and their tags (B, categories), 1 or 0."""

    images: Tensor
    tags: Tensor


@plain_dataclass(frozen=True)
class _Batches:
    images: TrainingImages
    tags: Tensor
    params: Params

    def __call__(self, generator: torch.Generator) -> Iterator[Batch]:
        """The batches of one epoch."""
        params = self.params
        for rows in shuffled(len(self.images), params.batch, generator):
            views = [
                augment(
                    self.images[row],
                    None,
                    crop=params.crop,
                    factors=params.scales,
                    jitter=params.jitter,
                    generator=generator,
                )[0]
                for row in rows
            ]
            yield Batch(torch.stack(views), self.tags[rows])


def classifier_train(params: Params, data: Dataset, out: Path) -> None:
    """Train on split train; writes weights.pt, weights.json, curve.csv and metrics.json.

    An image that shows something, as its count says, and carries no tag is left out: nothing is
    known of its categories.

    Raises:
        InputError: no training image of known tags, no category, a tag that is none of the
            categories, weights that do not fit the backbone, or a loss that is not finite.
    """
    set_training_threads()
    torch.manual_seed(params.seed)
    labels = tuple(sorted(data.categories()))
    if not labels:
        raise InputError(f"{data.table('categories')}: no category")
    files = _of_known_tags(data)
    truth = _tag_matrix([file.image_id for file in files], labels, data)
    spec = ClassifierSpec(
        params.method, params.backbone, params.width, params.output_stride, labels
    )
    network = _network(params, spec)
    groups = parameter_groups(
        network.backbone,
        [part for name, part in network.named_children() if name != "backbone"],
        learning_rate=params.learning_rate,
        weight_decay=params.weight_decay,
        head_factor=params.head_factor,
    )
    optimizer = build_optimizer(params.optimizer, groups, momentum=params.momentum)
    pictures = TrainingImages(files)
    names: tuple[Table, ...] = ("images", "tags", "counts", "categories")
    tables = map(data.table, names)
    with Checkpoint("classifier_train", params, (*tables, *params.files)) as checkpoint:
        curve = train(
            network,
            optimizer,
            _Batches(pictures, truth, params),
            partial(_seam_loss, params) if params.method == "seam" else _cam_loss,
            epochs=params.passes(len(files)),
            steps=steps_per_epoch(len(files), params.batch),
            seed=params.seed,
            precision=params.precision,
            checkpoint=checkpoint,
        )
        logits = _logits(network, pictures)
        save_network(out / "weights.pt", network, spec)
        write_curve(out / "curve.csv", curve)
        metrics = {
            "images": len(files),
            "images_without_tags": int((truth.sum(1) == 0).sum()),
            "categories": len(labels),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "loss": curve[-1]["loss"],
            "tag_accuracy": float(((logits > 0) == (truth > 0)).float().mean()),
            "tag_average_precision": tag_average_precision(logits, truth),
        }
        write_json(out / "metrics.json", metrics)
    precision = metrics["tag_average_precision"]
    if precision < LEARNED:
        steps = len(curve) * steps_per_epoch(len(files), params.batch)
        print(
            f"classifier_train: after {steps} steps the tags of its own images are told with "
            f"{precision:.0%} average precision: undertrained; classifier_train.min_steps can be "
            "raised"
        )


def _cam_loss(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    return {"tags": tag_loss(network(batch.images), batch.tags)}


def _seam_loss(params: Params, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    first, second = network(batch.images, params.second_scale)
    tags = [tag_loss(view.logits, batch.tags) for view in (first, second)]
    others = seam_losses(
        first, second, batch.tags, share=params.cross_share, min_pool=params.min_pool
    )
    return {"tags": (tags[0] + tags[1]) / 2, **others}


def _network(params: Params, spec: ClassifierSpec) -> CamClassifier | SeamClassifier:
    try:
        training = replace(spec, output_stride=params.training_stride)
        network = training.build(dropout=params.dropout)
        state = initial_weights(params.weights, params.backbone)
        if state is not None:
            network.backbone.load_pretrained(state)
    except ValueError as error:
        raise InputError(f"params.yaml: classifier_train.{error}") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"params.yaml: classifier_train.weights: {params.weights!r} does not fit "
            f"{params.backbone}: {reason}"
        ) from error
    if params.freeze_batch_norm:
        freeze_batch_norm(network)
    return network


def _of_known_tags(data: Dataset) -> list[ImageFile]:
    tags, counts = data.tags(), data.counts()
    known = [
        image
        for image in data.images("train")
        if image.image_id in tags or not counts.get(image.image_id)
    ]
    if not known:
        raise InputError(f"{data.table('tags')}: no training image has a tag; expected one")
    return known


def _tag_matrix(image_ids: Sequence[str], labels: Sequence[int], data: Dataset) -> Tensor:
    tags = data.tags()
    matrix = torch.zeros(len(image_ids), len(labels))
    for row, image_id in enumerate(image_ids):
        for category in tags.get(image_id, ()):
            if category not in labels:
                where = f"{data.table('tags')}: image {image_id}"
                raise InputError(f"{where}: category {category} is not in {labels}")
            matrix[row, labels.index(category)] = 1
    return matrix


@torch.no_grad()
def _logits(network: CamClassifier | SeamClassifier, pictures: TrainingImages) -> Tensor:
    """Logits of the whole images, one by one as their sizes differ: (images, categories)."""
    indices = counted(range(len(pictures)), "classifier_train", "images measured")
    return torch.cat([network.logits(pictures[index][None].float() / 255) for index in indices])


if __name__ == "__main__":
    run(classifier_train)
