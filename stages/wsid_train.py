"""WSID-Net from tags and counts, with progressive training (WSID-Net sections 3, 4.2, algorithm 1).

Two CRFs of the class activations make the first labels. All branches learn from them: saliency from
what is an object, boundaries and centroids from pairs of cells; then the centroids learn from the
counts too. Where tags and counts are of different images batches alternate, and the subitizing loss
is of images with a count alone. Then, `rounds` times, the whole network finds the salient instances
of the training images, a dense CRF refines where they are, the saliency branch alone learns on from
that, and its weights become a running average over the rounds.

rounds/0/ holds the first labels and the whole network, rounds/<n>/ the labels of each round, its
numbers and the head of the saliency branch after it; rounds.csv what became of the counts;
first.parquet and labels.parquet the instances that the network finds in the training images before
the rounds and after the last. A run that is killed goes on after its last epoch, or with the images
whose labels it had not made yet.

WSID-Net: https://arxiv.org/abs/2111.10137.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache, partial
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from models.backbones import freeze_batch_norm
from models.cam import ClassifierSpec
from models.fit import Schedule, build_optimizer, parameter_groups, shuffled, steps_per_epoch
from models.ops.augment import Jitter, augment
from models.ops.cells import cells_to_pixels
from models.ops.crf import Kernels
from models.wsid.fusion import Fusion, as_detection
from models.wsid.labels import confident_labels, refined_labels
from models.wsid.learning import Batch, all_losses, averaged, saliency_loss
from models.wsid.network import CELL, Branches, WSIDNet, WSIDSpec
from models.wsid.subitizing import count_errors
from stages.engine.command import part_of, run
from stages.engine.errors import InputError
from stages.engine.files import write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.engine.training import (
    Checkpoint,
    Curve,
    Precision,
    TrainingImages,
    set_training_threads,
    train,
    write_curve,
)
from stages.io.data_set import Dataset, ImageFile
from stages.io.label_maps import UNKNOWN, encode_label_map, read_label_map
from stages.io.networks import read_network, read_spec, save_network
from stages.io.objects import detection_rows, write_detections
from stages.io.score_maps import read_score_map
from stages.io.weights import read_weights, save_weights


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params(Schedule, Branches, Fusion, Kernels):
    """Numbers of this stage; params.yaml says what each is."""

    output_stride: Literal[8, 16]
    train_backbone: bool
    high: Annotated[float, Field(gt=0, lt=1)]
    low: Annotated[float, Field(gt=0, lt=1)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    radius: Annotated[int, Field(ge=2)]
    subitizing: Annotated[float, Field(ge=0)]
    count_epochs: Annotated[int, Field(gt=0)]
    rounds: Annotated[int, Field(ge=0)]
    round_epochs: Annotated[int, Field(gt=0)]
    round_rate: Annotated[float, Field(gt=0)]
    keep_counted: bool
    batch: Annotated[int, Field(ge=2)]  # batch norm wants two
    crop: Annotated[int, Field(ge=32)]
    scales: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]]
    jitter: Jitter
    optimizer: Literal["sgd", "adamw"]
    freeze_batch_norm: bool
    precision: Precision


Lesson = Literal["labels", "counts", "saliency"]


@dataclasses.dataclass(frozen=True)
class FirstItem:
    """All that the first labels of an image depend on."""

    image: ImageFile
    cams: Path
    kernels: Kernels
    high: float
    low: float
    confidence: float


@dataclasses.dataclass(frozen=True)
class RoundItem:
    """All that the next labels of an image depend on; `beside` is the json of the network.

    Attributes:
        head: weights of the saliency branch.
        count: of salient things, of which the surest are kept; None: all are.
        following: which round the labels are for; None: none, the instances alone are wanted.
    """

    image: ImageFile
    weights: Path
    beside: Path
    head: Path
    count: int | None
    kernels: Kernels
    confidence: float
    following: int | None


@dataclasses.dataclass(frozen=True)
class Lessons:
    """What is learned from in one turn.

    Attributes:
        pictures: the images.
        labels: folder of <image_id>.png.
        labelled: indices of the images that have a label map.
        counted: indices of the others, of which the number alone is known.
        counts: by image id.
    """

    pictures: TrainingImages
    labels: Path
    labelled: Sequence[int]
    counted: Sequence[int]
    counts: Mapping[str, int]


def wsid_train(params: Params, data: Dataset, cams: Path, classifier: Path, out: Path) -> None:
    """Train on the tags' activations and on the counts.

    Writes weights.pt, weights.json, rounds/, first.parquet, labels.parquet, curve.csv, rounds.csv
    and metrics.json.

    Args:
        params: see `Params`.
        data: the data set.
        cams: folder of <image_id>.npz of classifier_infer.
        classifier: weights.pt of classifier_train, of which the backbone is taken.
        out: folder.

    Raises:
        InputError: no training image has a tag, or none a count though they are to be used;
            activations of another size than the image, weights of another network, a backbone
            without a pyramid, or a loss that is not finite.
    """
    set_training_threads()
    tags, counts = data.tags(), data.counts()
    known = tags.keys() | counts.keys()
    images = [image for image in data.images("train") if image.image_id in known]
    names = [image.image_id for image in images]
    every = range(len(images))
    tagged = [index for index in every if names[index] in tags or counts.get(names[index]) == 0]
    others = sorted({*every} - {*tagged})
    if not any(name in tags for name in names):
        raise InputError(f"{data.table('tags')}: no training image has a tag; expected one")
    if params.subitizing and not any(name in counts for name in names):
        expected = "expected one, or wsid_train.subitizing: 0"
        raise InputError(f"{data.table('counts')}: no training image has a count; {expected}")
    trained = read_spec(classifier, ClassifierSpec)
    spec = WSIDSpec(
        trained.backbone,
        trained.width,
        params.output_stride,
        params.crop,
        part_of(Branches, params),
        part_of(Fusion, params),
    )
    network = new_network(params, spec, classifier, trained)
    _first_labels(params, [images[index] for index in tagged], cams, out)
    first = Lessons(TrainingImages(images), out / "rounds/0/labels", tagged, others, counts)
    inputs = (data.table("images"), data.table("tags"), data.table("counts"), cams, classifier)
    rounds: Curve = []
    curve: Curve = []
    average: dict[str, Tensor] = {}
    with ExitStack() as checkpoints:
        for turn in range(params.rounds + 1):
            folder = out / f"rounds/{turn}"
            again = dataclasses.replace(first, labels=folder / "labels", labelled=every)
            for kind in _kinds(params, turn):
                checkpoint = Checkpoint("wsid_train", (params, turn, kind), inputs)
                learned = _train(
                    params,
                    network,
                    again if turn else first,
                    checkpoints.enter_context(checkpoint),
                    turn,
                    kind,
                )
                start = len(curve)
                curve += [row | {"epoch": start + row["epoch"], "turn": turn} for row in learned]
            average = averaged(average, network.saliency.state_dict(), turn)
            network.saliency.load_state_dict(average, strict=True)
            if not turn:
                save_network(folder / "weights.pt", network, spec)
            save_weights(folder / "saliency.pt", average, {"turn": turn})
            following = turn + 1 if turn < params.rounds else None
            rows = _found(params, images, counts, out, turn, following)
            numbers = _numbers(rows, counts) | {"loss": round(learned[-1]["loss"], 4)}
            write_json(folder / "metrics.json", numbers)
            rounds.append({"round": turn, **numbers})
            if not turn:
                _write_instances(out / "first.parquet", rows)
        _write_instances(out / "labels.parquet", rows)
        columns = dict.fromkeys(column for row in curve for column in row)
        write_curve(
            out / "curve.csv", [{name: row.get(name, 0.0) for name in columns} for row in curve]
        )
        write_curve(out / "rounds.csv", rounds)
        metrics = {
            "images": len(images),
            "images_with_tags": sum(name in tags for name in names),
            "images_with_counts": sum(name in counts for name in names),
            **numbers,
        }
        write_json(out / "metrics.json", metrics)
        save_network(out / "weights.pt", network, spec)


def new_network(
    params: Params, spec: WSIDSpec, classifier: Path, trained: ClassifierSpec
) -> WSIDNet:
    """New branches on the classifier's backbone.

    Raises:
        InputError: the backbone has no such stride, or the classifier's weights do not fit.
    """
    torch.manual_seed(params.seed)
    backbone = read_network(classifier, trained).backbone
    try:
        network = spec.build()
    except ValueError as error:
        raise InputError(f"wsid_train.{error}") from error
    network.pyramid.backbone.load_state_dict(backbone.state_dict(), strict=True)
    if params.freeze_batch_norm:
        freeze_batch_norm(network.pyramid.backbone)
    if not params.train_backbone:
        network.pyramid.backbone.requires_grad_(False)
    return network


def _kinds(params: Params, turn: int) -> list[Lesson]:
    """What is learned in a turn, one after the other.

    # differs from the paper, which learns labels and counts together: before the offsets lead
    # anywhere all numbers are wrong, and what the counts teach drowns what the labels do.
    """
    if turn:
        return ["saliency"]
    return ["labels", "counts"] if params.subitizing else ["labels"]


def _train(
    params: Params,
    network: WSIDNet,
    lessons: Lessons,
    checkpoint: Checkpoint,
    turn: int,
    kind: Lesson,
) -> Curve:
    """The first turn trains everything; the later ones the head of the saliency branch alone."""
    if turn == 1:
        freeze_batch_norm(network.pyramid.backbone)
        network.requires_grad_(False)
        network.saliency.requires_grad_(True)
    groups = parameter_groups(
        network.pyramid.backbone,
        [network],
        learning_rate=params.learning_rate * (1 if kind == "labels" else params.round_rate),
        weight_decay=params.weight_decay,
        head_factor=params.head_factor,
    )
    if kind != "counts":
        lessons = dataclasses.replace(lessons, counted=())
    weight = params.subitizing if kind == "counts" else 0.0
    learn = partial(all_losses, radius=params.radius, subitizing=weight, counting=params)
    count = len(lessons.labelled)
    later = {"counts": params.count_epochs, "saliency": params.round_epochs}
    return train(
        network,
        build_optimizer(params.optimizer, groups, momentum=params.momentum),
        partial(batches, params, lessons),
        saliency_loss if kind == "saliency" else learn,
        epochs=later.get(kind) or params.passes(count),
        steps=steps_per_epoch(count, params.batch) * (2 if lessons.counted else 1),
        seed=params.seed + turn,
        precision=params.precision,
        checkpoint=checkpoint,
        is_last=turn == params.rounds and kind == _kinds(params, turn)[-1],
    )


def batches(params: Params, lessons: Lessons, generator: torch.Generator) -> Iterator[Batch]:
    """One epoch over the labelled images; where others have counts alone, batches alternate."""

    def of(indices: Sequence[int]) -> Iterator[Batch]:
        if len(indices) < params.batch:  # batch norm wants more than one
            indices = [*indices] * -(-params.batch // len(indices))
        for chosen in shuffled(len(indices), params.batch, generator):
            yield as_batch(params, lessons, [indices[one] for one in chosen], generator)

    if not lessons.counted:
        yield from of(lessons.labelled)
        return
    others = (batch for indices in cycle([lessons.counted]) for batch in of(indices))
    for batch in of(lessons.labelled):
        yield batch
        yield next(others)


def as_batch(
    params: Params, lessons: Lessons, indices: Sequence[int], generator: torch.Generator
) -> Batch:
    """Random views of these images; each shows the whole image, so that its count holds."""
    images, labels, counts = [], [], []
    for index in indices:
        file, picture = lessons.pictures.files[index], lessons.pictures[index]
        path = lessons.labels / f"{file.image_id}.png"
        known = path.is_file()
        label_map = torch.from_numpy(read_label_map(path, file.size)) if known else None
        fitted = params.crop / max(file.size)
        view, own = augment(
            picture,
            label_map,
            crop=params.crop,
            factors=(fitted * params.scales[0], fitted * params.scales[1]),
            jitter=params.jitter,
            generator=generator,
        )
        images.append(view)
        labels.append(own[CELL // 2 :: CELL, CELL // 2 :: CELL])
        counts.append(lessons.counts.get(file.image_id, -1))
    return Batch(torch.stack(images), torch.stack(labels), torch.tensor(counts))


def _first_labels(params: Params, images: Sequence[ImageFile], cams: Path, out: Path) -> None:
    """Write rounds/0/labels/<image_id>.png."""
    items = {
        image.image_id: FirstItem(
            image,
            cams / f"{image.image_id}.npz",
            part_of(Kernels, params),
            params.high,
            params.low,
            params.confidence,
        )
        for image in images
    }
    map_images(_label_first, items, out, stage="wsid_train")


def _label_first(item: FirstItem) -> Outcome:
    found = read_score_map(item.cams, item.image.size)
    labels = confident_labels(
        cells_to_pixels(found.scores, item.image.size, found.stride),
        [int(label) for label in found.classes],
        item.image.read(),
        high=item.high,
        low=item.low,
        confidence=item.confidence,
        kernels=item.kernels,
    )
    return Outcome({f"rounds/0/labels/{item.image.image_id}.png": encode_label_map(labels)})


def _found(
    params: Params,
    images: Sequence[ImageFile],
    counts: Mapping[str, int],
    out: Path,
    turn: int,
    following: int | None,
) -> list[Mapping[str, Any]]:
    """What the network after a turn finds in each image, and the labels for the following one."""
    weights = out / "rounds/0/weights.pt"
    items = {
        image.image_id: RoundItem(
            image,
            weights,
            weights.with_suffix(".json"),
            out / f"rounds/{turn}/saliency.pt",
            counts.get(image.image_id) if params.keep_counted else None,
            part_of(Kernels, params),
            params.confidence,
            following,
        )
        for image in images
    }
    stats = map_images(_label_round, items, out, stage="wsid_train")
    return [{"image_id": image_id, **one} for image_id, one in zip(items, stats, strict=True)]


def _label_round(item: RoundItem) -> Outcome:
    torch.set_num_threads(1)  # the images run side by side
    picture = item.image.read()
    network, spec = _network(item.weights, item.beside, item.head)
    found = spec.detect(network, torch.from_numpy(picture).permute(2, 0, 1).float() / 255)
    kept = found if item.count is None else found[: item.count]
    rows = detection_rows(item.image.image_id, as_detection(kept, item.image.size), any_class=True)
    stats = {"rows": rows, "found": len(found)}
    if item.following is None:
        return Outcome({}, stats)
    if kept or item.count == 0:
        salient = np.zeros(item.image.size, dtype=np.uint8)
        for instance in kept:
            salient[instance.mask] = 1
        labels = refined_labels(salient, picture, item.confidence, item.kernels)
    else:  # there is something, and the network has not found it
        labels = np.full(item.image.size, UNKNOWN, dtype=np.uint8)
    name = f"rounds/{item.following}/labels/{item.image.image_id}.png"
    return Outcome({name: encode_label_map(labels)}, stats)


@cache
def _network(weights: Path, beside: Path, head: Path) -> tuple[WSIDNet, WSIDSpec]:
    spec = read_spec(weights, WSIDSpec)
    network = read_network(weights, spec)
    network.saliency.load_state_dict(read_weights(head), strict=True)
    return network, spec


def _write_instances(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    write_detections(path, [row for each in rows for row in each["rows"]])


def _numbers(rows: Sequence[Mapping[str, Any]], counts: Mapping[str, int]) -> dict[str, float]:
    """What the labels tell of a round: no truth is looked at."""
    errors = count_errors({each["image_id"]: each["found"] for each in rows}, counts)
    return {"instances": sum(len(each["rows"]) for each in rows), **errors}


if __name__ == "__main__":
    run(wsid_train)
