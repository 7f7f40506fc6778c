"""Networks that tell the object of a box from its background, whatever its class.

GrabCut is their teacher; in rounds after the first together with the network that did not learn
from the image. So there is one network per fold of the images. Lengths are steps, not passes: a
large data set costs no more than a small one.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from models.backbones import Backbone, freeze_batch_norm
from models.boxmask.losses import pairwise_loss, projection_loss, teacher_loss
from models.boxmask.network import BoxMaskNet, BoxMaskSpec, box_channels, predict_masks
from models.boxmask.teacher import first_lesson, folds_of, next_lesson
from models.cam import ClassifierSpec
from models.fit import build_optimizer, parameter_groups
from models.ops.augment import Jitter, jitter_colours
from models.ops.crops import cut_mask, cut_out, window_of
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
from stages.io.box_masks import BoxMask, fills_its_box, read_box_masks
from stages.io.data_set import Dataset, ImageFile
from stages.io.networks import read_network, read_spec, save_network

#: Steps between two checkpoints, which are also two points of the curve.
STEPS = 20
#: Boxes that are predicted at once.
AT_ONCE = 32
#: Boxes of a fold on which networks and GrabCut are compared at the end, at most.
SAMPLE = 200


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    seed: Annotated[int, Field(ge=0)]
    folds: Annotated[int, Field(gt=0)]
    rounds: Annotated[int, Field(gt=0)]
    steps: Annotated[int, Field(gt=0)]
    batch: Annotated[int, Field(ge=2)]  # batch norm wants two
    crop: Annotated[int, Field(ge=32, multiple_of=16)]
    margin: Annotated[float, Field(ge=0)]
    stride: Literal[1, 2]
    channels: tuple[Annotated[int, Field(gt=0)], ...]
    projection: Annotated[float, Field(ge=0)]
    pairwise: Annotated[float, Field(ge=0)]
    closeness: Annotated[float, Field(gt=0)]
    jitter: Jitter
    learning_rate: Annotated[float, Field(gt=0)]
    head_factor: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    precision: Precision


class Lessons(NamedTuple):
    """Boxes as the network sees them, and what it is to say.

    Attributes:
        images: uint8 RGB (N, 3, S, S).
        boxes: (N, 4), corners as shares of the crop.
        cuts: float16 (N, s, s), what GrabCut made of each.
        known: bool (N,), whether it told object from background.
        targets: float16 (N, s, s).
        weights: float16 (N, s, s).
    """

    images: Tensor
    boxes: Tensor
    cuts: Tensor
    known: Tensor
    targets: Tensor
    weights: Tensor


class Batch(NamedTuple):
    """Crops (B, 3, S, S) in [0, 1], their boxes (B, 4), targets and weights (B, s, s)."""

    images: Tensor
    boxes: Tensor
    targets: Tensor
    weights: Tensor


def boxmask_train(params: Params, data: Dataset, cuts: Path, classifier: Path, out: Path) -> None:
    """Train a network per fold on the boxes of the other folds' images.

    Writes networks/<fold>.pt and .json, curve.csv and metrics.json below `out`. Without boxes there
    is nothing to train and networks/ stays empty.

    Args:
        params: see `Params`.
        data: the data set.
        cuts: instances.parquet of grabcut_seeds: a mask per box, the whole box where GrabCut told
            nothing.
        classifier: weights.pt of classifier_train, of which the backbone is taken.
        out: folder.

    Raises:
        InputError: an unreadable input, weights of another network, or a loss that is not finite.
    """
    set_training_threads()
    trained = read_spec(classifier, ClassifierSpec)
    spec = BoxMaskSpec(
        trained.backbone,
        trained.width,
        params.crop,
        params.margin,
        params.stride,
        params.channels,
    )
    backbone = read_network(classifier, trained).backbone
    lessons = _read_lessons(params, data, cuts)
    inputs = (data.table("images"), cuts, classifier, classifier.with_suffix(".json"))
    networks: list[BoxMaskNet] = []
    curve: Curve = []
    with ExitStack() as checkpoints:
        for turn in range(1, params.rounds + 1):
            if turn > 1:
                lessons = [
                    _teach_next(network, own)
                    for network, own in zip(networks, lessons, strict=True)
                ]
            networks = []
            for fold in range(len(lessons)):
                network = _network(params, spec, backbone, turn * len(lessons) + fold)
                checkpoint = Checkpoint("boxmask_train", (params, turn, fold), inputs)
                rows = _train(
                    params,
                    network,
                    _others(lessons, fold),
                    checkpoints.enter_context(checkpoint),
                    is_last=(turn, fold) == (params.rounds, len(lessons) - 1),
                )
                start = len(curve)
                curve += [row | {"epoch": start + row["epoch"]} for row in rows]
                networks.append(network)
        (out / "networks").mkdir(parents=True, exist_ok=True)
        write_curve(out / "curve.csv", curve)
        write_json(out / "metrics.json", _metrics(params, networks, lessons))
        for fold, network in enumerate(networks):
            save_network(out / "networks" / f"{fold}.pt", network, spec)


def _read_lessons(params: Params, data: Dataset, cuts: Path) -> list[Lessons]:
    """The boxes of each fold with their first lesson; as many as the steps can see, at random."""
    masks = {name: [mask for _, mask in rows] for name, rows in read_box_masks(cuts).items()}
    images = [image for image in data.images("train") if image.image_id in masks]
    folds = folds_of([image.image_id for image in images], params.folds)
    generator = torch.Generator().manual_seed(params.seed)
    found = []
    for fold in range(max(folds.values(), default=-1) + 1):
        own = [image for image in images if folds[image.image_id] == fold]
        boxes = [(image, mask) for image in own for mask in masks[image.image_id]]
        order = torch.randperm(len(boxes), generator=generator)[: params.steps * params.batch]
        chosen = [boxes[index] for index in sorted(order.tolist())]
        found.append(_lessons(params, chosen))
    return found


def _lessons(params: Params, boxes: Sequence[tuple[ImageFile, BoxMask]]) -> Lessons:
    side, cells = params.crop, params.crop // params.stride
    images = torch.empty(len(boxes), 3, side, side, dtype=torch.uint8)
    cuts = torch.empty(len(boxes), cells, cells, dtype=torch.float16)
    places, known = torch.empty(len(boxes), 4), torch.empty(len(boxes), dtype=torch.bool)
    opened: ImageFile | None = None
    for row, (image, box) in enumerate(counted(boxes, "boxmask_train", "boxes read")):
        if image is not opened:
            opened, picture = image, image.read()
        mask, window = box.decode(image.size), window_of(box.corners, image.size, params.margin)
        images[row] = torch.from_numpy(cut_out(picture, window, side)).permute(2, 0, 1)
        cuts[row] = torch.from_numpy(cut_mask(mask, window, cells)) / 255
        places[row] = torch.tensor(window.shares)
        known[row] = not fills_its_box(mask, box.corners)
    targets, weights = first_lesson(cuts.float(), known, _inside(places, cells))
    return Lessons(images, places, cuts, known, targets.half(), weights.half())


def _inside(boxes: Tensor, side: int) -> Tensor:
    return box_channels(boxes, side)[:, 0]


def _teach_next(network: BoxMaskNet, lessons: Lessons) -> Lessons:
    """The same boxes with a prediction beside GrabCut as their teacher."""
    inside = _inside(lessons.boxes, lessons.cuts.shape[-1])
    predicted = _predict(network, lessons)
    targets, weights = next_lesson(lessons.cuts.float(), lessons.known, inside, predicted)
    return lessons._replace(targets=targets.half(), weights=weights.half())


def _predict(network: BoxMaskNet, lessons: Lessons) -> Tensor:
    """Probabilities (N, s, s)."""
    starts = range(0, len(lessons.images), AT_ONCE)
    found = [
        predict_masks(network, lessons.images[rows] / 255, lessons.boxes[rows])
        for rows in (
            slice(start, start + AT_ONCE)
            for start in counted(starts, "boxmask_train", "predictions")
        )
    ]
    return torch.cat(found or [lessons.cuts.float()])


def _others(lessons: Sequence[Lessons], fold: int) -> Lessons:
    """What the network of a fold learns from: the other folds; where there is one fold, that."""
    chosen = [own for index, own in enumerate(lessons) if index != fold] or list(lessons)
    return Lessons(*(torch.cat(tensors) for tensors in zip(*chosen, strict=True)))


def _network(params: Params, spec: BoxMaskSpec, backbone: Backbone, seed: int) -> BoxMaskNet:
    """A new decoder on the classifier's backbone, whose batch norm and shallow part stay.

    Raises:
        InputError: another number of `channels` than levels.
    """
    torch.manual_seed(params.seed + seed)
    try:
        network = spec.build()
    except ValueError as error:
        raise InputError(f"boxmask_train.{error}") from error
    network.pyramid.backbone.load_state_dict(backbone.state_dict(), strict=True)
    freeze_batch_norm(network.pyramid)
    network.pyramid.freeze_shallow()
    return network.to(memory_format=torch.channels_last)  # a third faster on a processor


def _train(
    params: Params, network: BoxMaskNet, lessons: Lessons, checkpoint: Checkpoint, *, is_last: bool
) -> Curve:
    groups = parameter_groups(
        network.pyramid,
        [network.head],
        learning_rate=params.learning_rate,
        weight_decay=params.weight_decay,
        head_factor=params.head_factor,
    )
    steps = min(params.steps, STEPS)
    return train(
        network,
        build_optimizer("adamw", groups, momentum=0),
        partial(_batches, params, lessons, steps),
        partial(_losses, params),
        epochs=-(-params.steps // steps),
        steps=steps,
        seed=params.seed,
        precision=params.precision,
        checkpoint=checkpoint,
        is_last=is_last,
    )


def _batches(
    params: Params, lessons: Lessons, steps: int, generator: torch.Generator
) -> Iterator[Batch]:
    """So many batches; every box once before one comes again."""
    count, wanted = len(lessons.images), steps * params.batch
    orders = [torch.randperm(count, generator=generator) for _ in range(-(-wanted // count))]
    for rows in torch.split(torch.cat(orders)[:wanted], params.batch):
        draws = torch.rand(len(rows), 5, generator=generator)
        images = torch.stack(
            [
                jitter_colours(lessons.images[row] / 255, params.jitter, draw[1:].tolist())
                for row, draw in zip(rows.tolist(), draws, strict=True)
            ]
        )
        batch = Batch(
            images,
            lessons.boxes[rows],
            lessons.targets[rows].float(),
            lessons.weights[rows].float(),
        )
        yield _mirrored(batch, draws[:, 0] < 0.5)


def _mirrored(batch: Batch, turned: Tensor) -> Batch:
    """The batch with those samples mirrored that `turned`, bool (B,), names."""
    images, boxes, targets, weights = (tensor.clone() for tensor in batch)
    for tensor in (images, targets, weights):
        tensor[turned] = tensor[turned].flip(-1)
    boxes[turned, 0::2] = 1 - boxes[turned][:, [2, 0]]
    return Batch(images.contiguous(memory_format=torch.channels_last), boxes, targets, weights)


def _losses(params: Params, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    logits = network(batch.images, batch.boxes).float()
    side = logits.shape[-1]
    inside = _inside(batch.boxes, side)
    colours = adaptive_avg_pool2d(batch.images, side)
    return {
        "teacher": teacher_loss(logits, batch.targets, batch.weights),
        "projection": params.projection * projection_loss(logits, inside),
        "pairwise": params.pairwise * pairwise_loss(logits, colours, inside, params.closeness),
    }


def _metrics(
    params: Params, networks: Sequence[BoxMaskNet], lessons: Sequence[Lessons]
) -> dict[str, Any]:
    """Counts, and how the networks agree with GrabCut on boxes that they have not learned from.

    A network that agrees no better than the filled boxes do has learned nothing from its images.
    """
    boxes = sum(len(own.images) for own in lessons)
    found: dict[str, Any] = {
        "boxes": boxes,
        "boxes_without_a_cut": sum(int((~own.known).sum()) for own in lessons),
        "folds": len(lessons),
        "passes": round(params.steps * params.batch / max(boxes, 1), 2),
    }
    overlaps = [
        pair
        for network, own in zip(networks, lessons, strict=True)
        for pair in _overlaps(network, Lessons(*(tensor[own.known][:SAMPLE] for tensor in own)))
    ]
    if overlaps:
        network_mean, filled_mean = torch.tensor(overlaps).mean(0).tolist()
        found |= {
            "agreement": round(network_mean, 4),
            "agreement_of_filled_boxes": round(filled_mean, 4),
            "undertrained": network_mean <= filled_mean,
        }
        if network_mean <= filled_mean:
            print(
                f"boxmask_train: undertrained: GrabCut's masks overlap the networks' by "
                f"{network_mean:.0%}, whole boxes by {filled_mean:.0%}; more "
                f"boxmask_train.steps than {params.steps} may help"
            )
    return found


def _overlaps(network: BoxMaskNet, lessons: Lessons) -> Iterator[tuple[float, float]]:
    """IoU of each of GrabCut's masks with the network's, and with the whole box."""
    cuts = lessons.cuts > 0.5
    inside = _inside(lessons.boxes, cuts.shape[-1]) > 0.5
    own = (_predict(network, lessons) > 0.5) & inside
    for cut, mask, box in zip(cuts, own, inside, strict=True):
        yield iou(cut, mask), iou(cut, box)


def iou(first: Tensor, second: Tensor) -> float:
    """Intersection over union of two masks; 0 where both are empty."""
    return float((first & second).sum() / (first | second).sum().clamp(min=1))


if __name__ == "__main__":
    run(boxmask_train)
