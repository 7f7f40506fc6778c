"""CGCNet on weak labels, which its own predictions update (CGCNet section III.D, algorithm 1).

It learns first from the labels of region_label. Then, `updates` times: the network predicts the
mask of every labelled box, a dense CRF refines it, and a pixel that several labels hold goes to the
one that it speaks for most; or, as in the paper, it takes the label's place where the rule allows;
from the new labels it learns on, with the backbone as it is. labels.parquet holds the last
labels, updates.csv what became of them. A run that is killed goes on after its last epoch, or with
the images whose labels it had not updated yet.

CGCNet: https://arxiv.org/abs/2008.09246.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from models.backbones import freeze_batch_norm
from models.cam import ClassifierSpec
from models.cgcnet.network import CGCNet, CGCNetSpec, MaskBranch
from models.cgcnet.updating import refined_object, settled, update_label
from models.detection import Batch
from models.fit import build_optimizer, parameter_groups, steps_per_epoch
from models.ops.crf import Kernels
from stages.engine.command import run
from stages.engine.detectors import DetectorTraining, new_detector, view_batches
from stages.engine.errors import InputError
from stages.engine.files import write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.engine.training import (
    Checkpoint,
    Curve,
    TrainingImages,
    set_training_threads,
    train,
    write_curve,
)
from stages.io.data_set import Dataset, ImageFile
from stages.io.label_maps import decode_rle, encode_rle
from stages.io.networks import read_network, read_spec, save_network
from stages.io.objects import Row, objects_by_image, read_targets
from stages.io.tables import INSTANCES, write_table


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params(DetectorTraining, MaskBranch, Kernels):
    """Numbers of this stage; params.yaml says what each is."""

    updates: Annotated[int, Field(ge=0)]
    update_epochs: Annotated[int, Field(gt=0)]
    update_rate: Annotated[float, Field(gt=0)]
    update_threshold: float
    update_where: Literal["contested", "anywhere"]
    update_weight: float


@dataclasses.dataclass(frozen=True)
class Label:
    """A box (x0, y0, x1, y1) and the run lengths of its label."""

    box: tuple[float, float, float, float]
    mask: str


@dataclasses.dataclass(frozen=True)
class Item:
    """All that the next labels of an image depend on; `beside` is the network's json."""

    image: ImageFile
    weights: Path
    beside: Path
    labels: tuple[Label, ...]
    kernels: Kernels
    threshold: float
    contested: bool


def cgcnet_train(params: Params, data: Dataset, labels: Path, classifier: Path, out: Path) -> None:
    """Train on the weak labels and update them.

    Writes weights.pt, weights.json, labels.parquet, curve.csv, updates.csv and metrics.json.

    Args:
        params: see `Params`.
        data: the data set.
        labels: instances.parquet of region_label, or any with a mask for each box.
        classifier: weights.pt of classifier_train, of which the backbone is taken.
        out: folder.

    Raises:
        InputError: a table that cannot be read, is empty or does not fit the images, weights of
            another network, a backbone without a pyramid, or a loss that is not finite.
    """
    set_training_threads()
    objects = objects_by_image(labels)
    images = [image for image in data.images("train") if image.image_id in objects]
    if not images:
        raise InputError(f"{labels}: no label of a training image; expected one at least")
    for image in images:  # a bad mask stops the run now, not in an hour
        read_targets(objects[image.image_id], image, any_class=True, where=labels)
    trained = read_spec(classifier, ClassifierSpec)
    spec = CGCNetSpec(trained.backbone, trained.width, params.sizes, _part(MaskBranch, params))
    network = new_detector(params, spec, classifier, trained)
    pictures = TrainingImages(images)
    inputs = (data.table("images"), labels, classifier)
    curve: Curve = []
    updates: list[dict[str, float]] = []
    rounds = out / ".rounds.tmp"  # what the workers read the network from
    with ExitStack() as checkpoints:
        for turn in range(params.updates + 1):
            checkpoint = Checkpoint("cgcnet_train", (params, turn), inputs)
            rows = _train(
                params,
                network,
                (pictures, objects, labels),
                checkpoints.enter_context(checkpoint),
                turn,
            )
            start = len(curve)
            curve += [row | {"epoch": start + row["epoch"]} for row in rows]
            if turn < params.updates:
                weights = rounds / f"{turn}.pt"
                save_network(weights, network, spec)
                objects, counts = _updated(params, images, objects, weights, out)
                updates.append({"epoch": len(curve), **counts})
        final = [row for image in images for row in objects[image.image_id]]
        table = pd.DataFrame(final, columns=INSTANCES.names)
        write_table(out / "labels.parquet", table, INSTANCES)
        write_curve(out / "curve.csv", curve)
        write_curve(out / "updates.csv", updates or [{"epoch": len(curve), "kept": len(final)}])
        metrics = {"images": len(images), "labels": len(final), "loss": round(curve[-1]["loss"], 4)}
        if updates:
            metrics |= {"updated": updates[-1]["updated"], "kept": updates[-1]["kept"]}
        write_json(out / "metrics.json", metrics)
        save_network(out / "weights.pt", network, spec)
    _forget(rounds)


def _forget(folder: Path) -> None:
    for path in folder.glob("*"):
        path.unlink()
    if folder.is_dir():
        folder.rmdir()


def _train(
    params: Params,
    network: CGCNet,
    lessons: tuple[TrainingImages, Mapping[str, Sequence[Row]], Path],
    checkpoint: Checkpoint,
    turn: int,
) -> Curve:
    """The first turn trains everything; the later ones leave the backbone as it is."""
    backbone = network.levels.pyramid.backbone
    if turn:
        freeze_batch_norm(backbone)
        backbone.requires_grad_(False)
    groups = parameter_groups(
        backbone,
        [network],
        learning_rate=params.learning_rate * (params.update_rate if turn else 1),
        weight_decay=params.weight_decay,
        head_factor=params.head_factor,
    )
    count = len(lessons[0])
    return train(
        network,
        build_optimizer(params.optimizer, groups, momentum=params.momentum),
        partial(view_batches, params, *lessons, any_class=True),
        partial(loss, params.update_weight),
        epochs=params.update_epochs if turn else params.passes(count),
        steps=steps_per_epoch(count, params.batch),
        seed=params.seed + turn,
        precision=params.precision,
        checkpoint=checkpoint,
        is_last=turn == params.updates,
    )


def loss(update_weight: float, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Eq. 7: proposals, boxes, classes and masks with weight 1, and the update loss."""
    terms: dict[str, Tensor] = network(batch.images, batch.targets())
    return terms | {"update": update_weight * terms["update"]}


def _updated(
    params: Params,
    images: Sequence[ImageFile],
    objects: Mapping[str, Sequence[Row]],
    weights: Path,
    out: Path,
) -> tuple[dict[str, list[Row]], dict[str, float]]:
    """The next labels, and how many were updated and kept; each image's are kept on the disk."""
    items = {
        image.image_id: Item(
            image,
            weights,
            weights.with_suffix(".json"),
            tuple(_label(row) for row in objects[image.image_id]),
            _part(Kernels, params),
            params.update_threshold,
            params.update_where == "contested",
        )
        for image in images
    }
    stats = map_images(_next_labels, items, out, stage="cgcnet_train")
    following: dict[str, list[Row]] = {
        image_id: [
            {**row, "mask": new["mask"], "area": new["area"]}
            for row, new in zip(objects[image_id], each["labels"], strict=True)
        ]
        for image_id, each in zip(items, stats, strict=True)
    }
    every = [new for each in stats for new in each["labels"]]
    updated = sum(new["is_updated"] for new in every)
    return following, {
        "updated": updated,
        "kept": len(every) - updated,
        "k1": float(np.mean([new["before"] for new in every])),
        "k2": float(np.mean([new["after"] for new in every])),
    }


def _label(row: Row) -> Label:
    return Label((row["x0"], row["y0"], row["x1"], row["y1"]), row["mask"])


def _next_labels(item: Item) -> Outcome:
    torch.set_num_threads(1)  # the images run side by side
    picture = item.image.read()
    network = _network(item.weights, item.beside)
    boxes = torch.tensor([label.box for label in item.labels], dtype=torch.float32)
    view = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
    current = np.stack([decode_rle(label.mask, *item.image.size) for label in item.labels])
    predicted = network.masks_of(view, boxes).numpy()
    refined = np.stack(
        [
            refined_object(one, picture, label.box, item.kernels)
            for label, one in zip(item.labels, predicted, strict=True)
        ]
    )
    updates = [
        update_label(*maps, item.threshold)
        for maps in zip(current, predicted, refined, strict=True)
    ]
    following = [update.label for update in updates]
    if item.contested:
        following = list(settled(current, refined))
    rows = [
        {
            "mask": encode_rle(mask),
            "area": float(mask.sum()),
            "is_updated": not np.array_equal(mask, before),
            "before": update.before,
            "after": update.after,
        }
        for mask, before, update in zip(following, current, updates, strict=True)
    ]
    return Outcome({}, {"labels": rows})


@cache
def _network(weights: Path, beside: Path) -> CGCNet:
    return read_network(weights, read_spec(weights, CGCNetSpec))


def _part(kind: type[Any], params: Params) -> Any:
    """The fields of one of the dataclasses that `Params` inherits."""
    return kind(**{field.name: getattr(params, field.name) for field in dataclasses.fields(kind)})


if __name__ == "__main__":
    run(cgcnet_train)
