"""The affinity CNN, trained on the pairs of cells whose seeds are confident (A2GNN eq. 6-13).

The backbone starts from the classifier's weights and keeps its batch norm as it is (a batch is too
small for statistics; the public code freezes it too). With `train_backbone: false` it is run once
over every image and the head alone learns, from crops of those features: a fraction of the time
for float16 features in memory (stride 8, MobileNetV2, 500 x 375 pixels: 2.7 MB per image).

A2GNN: https://arxiv.org/abs/2106.04054.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from models.a2gnn.affinity import (
    AffinityNet,
    AffinitySpec,
    affinity_loss,
    affinity_regularizer,
    gaussian_weights,
    half_plane,
    pair_distances,
    pairs_within,
    window_offsets,
)
from models.backbones import Backbone, cell_features, freeze_batch_norm
from models.cam import ClassifierSpec
from models.fit import Schedule, parameter_groups, shuffled, steps_per_epoch
from models.ops.augment import Jitter, augment, crop_window
from models.ops.cells import pixels_to_cells
from models.ops.colours import cell_colours
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

    output_stride: Literal[8, 16]
    reduced: tuple[Annotated[int, Field(gt=0)], ...]
    radius: Annotated[int, Field(gt=0)]
    window: Literal["disc", "square"]
    balance: Literal["paper", "psa"]
    regularizer: Annotated[float, Field(ge=0)]
    sigma_xy: Annotated[float, Field(gt=0)]
    sigma_rgb: Annotated[float, Field(gt=0)]
    train_backbone: bool
    crop: Annotated[int, Field(ge=16)]
    jitter: Jitter
    precision: Precision


class Batch(NamedTuple):
    """Crops, cell by cell.

    Attributes:
        inputs: RGB in [0, 1] (B, 3, crop, crop), or the taps where the backbone is not trained.
        labels: uint8 (B, h, w), 255 = unknown.
        colours: normalised RGB (B, 3, h, w).
        valid: bool (B, h, w), False for padding.
    """

    inputs: Tensor | list[Tensor]
    labels: Tensor
    colours: Tensor
    valid: Tensor


def affinity_train(params: Params, data: Dataset, seeds: Path, classifier: Path, out: Path) -> None:
    """Train on the training images; writes weights.pt, weights.json, curve.csv and metrics.json.

    Args:
        params: see `Params`.
        data: the data set.
        seeds: folder of <image_id>.png, the confident seeds M_g.
        classifier: weights.pt of classifier_train, of which the backbone is taken.
        out: folder.

    Raises:
        InputError: seeds that do not fit their image, no labelled pair at all, weights of another
            network, or a loss that is not finite.
    """
    set_training_threads()
    images = data.images("train")
    trained = read_spec(classifier, ClassifierSpec)
    spec = AffinitySpec(
        trained.backbone,
        trained.width,
        params.output_stride,
        params.reduced,
        params.radius,
        params.window,
    )
    network = _network(params, spec, read_network(classifier, trained).backbone)
    stride = network.backbone.output_stride
    pictures = TrainingImages(images)
    known = [
        float((_seeds(seeds, image) != UNKNOWN).mean())
        for image in counted(images, "affinity_train", "seeds read")
    ]
    if not any(known):
        raise InputError(f"{seeds}: no labelled pixel in {len(images)} label maps")
    if params.train_backbone:
        batches = partial(_crops, params, pictures, seeds, stride)
        learner: nn.Module = network
    else:
        cells = [
            _cells(network, pictures[index], _seeds(seeds, image))
            for index, image in enumerate(counted(images, "affinity_train", "images"))
        ]
        batches = partial(_feature_crops, params, cells, network.backbone.channels, stride)
        learner = network.head
    groups = parameter_groups(
        network.backbone if params.train_backbone else nn.Module(),
        [network.head],
        learning_rate=params.learning_rate,
        weight_decay=params.weight_decay,
        head_factor=params.head_factor,
    )
    optimizer = torch.optim.SGD(groups, lr=params.learning_rate, momentum=params.momentum)
    inputs = (data.table("images"), seeds, classifier, classifier.with_suffix(".json"))
    with Checkpoint("affinity_train", params, inputs) as checkpoint:
        curve = train(
            learner,
            optimizer,
            batches,
            partial(_losses, params),
            epochs=params.passes(len(images)),
            steps=steps_per_epoch(len(images), params.batch),
            seed=params.seed,
            precision=params.precision,
            checkpoint=checkpoint,
        )
        write_curve(out / "curve.csv", curve)
        counts = {"images": len(images), "labelled_share": round(float(np.mean(known)), 4)}
        last = {name: round(value, 4) for name, value in curve[-1].items() if name != "epoch"}
        write_json(out / "metrics.json", counts | last)
        save_network(out / "weights.pt", network, spec)


def _network(params: Params, spec: AffinitySpec, trained: Backbone) -> AffinityNet:
    """A new head on the trained backbone at the stride of `params`; its batch norm is frozen.

    Raises:
        InputError: the backbone has no such stride, or another number of taps than `reduced`.
    """
    torch.manual_seed(params.seed)
    try:
        network = spec.build()
    except ValueError as error:
        raise InputError(f"affinity_train.{error}") from error
    network.backbone.load_state_dict(trained.state_dict(), strict=True)
    freeze_batch_norm(network.backbone)
    return network.eval()


def _seeds(seeds: Path, image: ImageFile) -> LabelMap:
    return read_label_map(seeds / f"{image.image_id}.png", image.size)


def _to_cells(labels: Tensor, stride: int) -> Tensor:
    return torch.from_numpy(pixels_to_cells(labels.numpy(), stride))


def _crops(
    params: Params,
    images: TrainingImages,
    seeds: Path,
    stride: int,
    generator: torch.Generator,
) -> Iterator[Batch]:
    """One epoch of augmented crops of images."""
    for indices in shuffled(len(images), params.batch, generator):
        pictures, labels, valid = [], [], []
        for index in indices:
            known = torch.from_numpy(_seeds(seeds, images.files[index]))
            # the second layer is padded like the first and so tells padding from unknown seeds
            layers = torch.stack([known, torch.zeros_like(known)])
            picture, layers = augment(
                images[index],
                layers,
                crop=params.crop,
                jitter=params.jitter,
                generator=generator,
            )
            pictures.append(picture)
            labels.append(_to_cells(layers[0], stride))
            valid.append(_to_cells(layers[1], stride) != UNKNOWN)
        batch = torch.stack(pictures)
        yield Batch(batch, torch.stack(labels), cell_colours(batch, stride), torch.stack(valid))


class _Cells(NamedTuple):
    """What training a head needs of one image: float16 features (C, h, w), colours, labels."""

    features: Tensor
    colours: Tensor
    labels: Tensor


def _cells(network: AffinityNet, picture: Tensor, seeds: LabelMap) -> _Cells:
    image = picture[None] / 255
    with torch.no_grad():
        taps = cell_features(network.backbone, image)
    stride = network.backbone.output_stride
    labels = torch.from_numpy(pixels_to_cells(seeds, stride))
    return _Cells(torch.cat(taps, 1)[0].half(), cell_colours(image, stride)[0], labels)


def _feature_crops(
    params: Params,
    cells: Sequence[_Cells],
    channels: Sequence[int],
    stride: int,
    generator: torch.Generator,
) -> Iterator[Batch]:
    """One epoch of crops of the features, padded with 0 where an image is smaller."""
    side = -(-params.crop // stride)
    for indices in shuffled(len(cells), params.batch, generator):
        features = torch.zeros(len(indices), sum(channels), side, side)
        colours = torch.zeros(len(indices), 3, side, side)
        labels = torch.full((len(indices), side, side), UNKNOWN, dtype=torch.uint8)
        valid = torch.zeros(len(indices), side, side, dtype=torch.bool)
        for row, index in enumerate(indices):
            places = torch.rand(2, generator=generator).tolist()
            window = crop_window(cells[index].labels.shape, side, (places[0], places[1]))
            top, left, height, width, _, _ = window
            here = np.s_[..., top : top + height, left : left + width]
            for target, values in zip((features, colours, labels), cells[index], strict=True):
                target[row, ..., :height, :width] = values[here]
            valid[row, :height, :width] = True
        yield Batch(list(torch.split(features, list(channels), 1)), labels, colours, valid)


def _losses(params: Params, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """The two terms of eq. 9."""
    output = network(batch.inputs)
    features = (output[1] if isinstance(output, tuple) else output).float()
    offsets = half_plane(window_offsets(params.radius, params.window))
    distances = pair_distances(features, offsets)
    weights = gaussian_weights(batch.colours, offsets, params.sigma_xy, params.sigma_rgb)
    pairs = pairs_within(batch.valid, offsets)
    return {
        "labelled": affinity_loss(distances, batch.labels, offsets, params.balance),
        "regularizer": params.regularizer * affinity_regularizer(distances, weights, pairs),
    }


if __name__ == "__main__":
    run(affinity_train)
