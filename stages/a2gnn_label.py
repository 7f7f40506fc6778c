"""A graph network per image, trained on its confident seeds, labels the image.

A2GNN eq. 16-28 (https://arxiv.org/abs/2106.04054).

Writes maps/<id>.npz, the probabilities of the classes present on the graph's grid, and
labels/<id>.png, the most probable class of each pixel, 255 where only a crowd claims it. Each image
is a training run of its own: nothing is shared between images, and neither their order nor the
number of workers matters. An image that is known by no boxes is labelled without the terms that
need them (section 7); a whole mask stays as it is.
"""

import hashlib
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.a2gnn.network import Problem, Settings, label_image
from models.ops.boxes import inside_own_boxes, unknown_in_region, widened
from models.ops.cells import cells_to_pixels
from models.ops.colours import cell_colours
from models.ops.grid import cells_near_boxes
from stages.engine.command import run
from stages.engine.errors import InputError
from stages.engine.files import write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.io.crowds import crowd_region
from stages.io.data_set import Dataset, ImageFile, InUse
from stages.io.graphs import cropped_graph, read_graph
from stages.io.label_maps import UNKNOWN, encode_label_map, read_label_map
from stages.io.score_maps import ScoreMap, certain_scores, encode_score_map


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params(Settings):
    """Numbers of this stage; params.yaml says what each is."""

    seed: Annotated[int, Field(ge=0)]
    surroundings: Annotated[int, Field(ge=0)]
    inside_boxes: bool
    box_margin: Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Item:
    """One image's work."""

    image: ImageFile
    known: InUse
    graph: Path
    seeds: Path
    params: Params


def a2gnn_label(params: Params, data: Dataset, graphs: Path, seeds: Path, out: Path) -> None:
    """Label every training image that has a graph and confident seeds.

    Args:
        params: section a2gnn_label.
        data: the data set.
        graphs: folder of <id>.npz graphs.
        seeds: folder of <id>.png confident seeds.
        out: gets maps/, labels/ and metrics.json.

    Raises:
        InputError: a missing or unfitting input.
    """
    known = data.labels_in_use()
    items = {
        image.image_id: Item(
            image,
            known[image.image_id],
            graphs / f"{image.image_id}.npz",
            seeds / f"{image.image_id}.png",
            params,
        )
        for image in data.images("train")
    }
    for item in items.values():
        for path in (item.graph, item.seeds):
            if not path.is_file():
                raise InputError(f"{path}: missing; every training image needs one")
    stats = map_images(_one_image, items, out, stage="a2gnn_label")
    trained = [stat for stat in stats if stat["classes"] > 1]
    write_json(
        out / "metrics.json",
        {
            "images": len(items),
            "images_with_objects": len(trained),
            "mean_final_loss": _mean([stat["loss"] for stat in trained]),
            "seed_pixels": int(sum(stat["seeds"] for stat in stats)),
            "seed_pixels_left_out_last": int(sum(stat["removed"] for stat in stats)),
            "mean_foreground": _mean([stat["foreground"] for stat in stats]),
        },
    )


def _one_image(item: Item) -> Outcome:
    """Train on one image and label it."""
    if item.known.mask is not None:
        return _as_it_is(item.image, item.known.mask)
    torch.set_num_threads(1)  # the images run side by side; two threads on one cost 3.7x
    graph = read_graph(item.graph)
    size = item.image.size
    seeds = read_label_map(item.seeds, size)
    if graph.size != size:
        raise InputError(f"{item.graph}: size {graph.size}; expected {size}, that of the image")
    image = torch.from_numpy(item.image.read()).permute(2, 0, 1)[None] / 255
    colours = cell_colours(image, graph.stride)[0]
    boxes = [box.corners for box in item.known.boxes]
    categories = [box.category for box in item.known.boxes]
    rows, columns = slice(0, graph.grid[0]), slice(0, graph.grid[1])
    if item.params.surroundings and boxes:
        # differs from the paper, whose network sees all: far from every box there is background
        # for certain, and nothing to learn
        rows, columns = cells_near_boxes(boxes, size, graph.stride, item.params.surroundings)
    window = cropped_graph(graph, rows, columns)
    top, left = rows.start * graph.stride, columns.start * graph.stride
    problem = Problem(
        features=window.features,
        edges=window.edges,
        offsets=window.offsets,
        grid=window.grid,
        stride=window.stride,
        seeds=seeds[top : top + window.size[0], left : left + window.size[1]],
        colours=colours[:, rows, columns].flatten(1).t().numpy(),
        boxes=[(x0 - left, y0 - top, x1 - left, y1 - top) for x0, y0, x1, y1 in boxes],
        categories=categories,
        settings=item.params,
    )
    labelled = label_image(problem, torch.Generator().manual_seed(_seed_of(item)))
    probabilities = np.zeros((len(labelled.classes), *graph.grid), dtype=np.float32)
    probabilities[0] = 1
    probabilities[:, rows, columns] = labelled.probabilities
    scores = cells_to_pixels(probabilities, size, graph.stride)
    corners = [widened(box, item.params.box_margin) for box in boxes]
    if item.params.inside_boxes and item.known.kind == "box":
        # differs from the paper, which labels by the network alone: a box holds all of its object,
        # so a class outside its own boxes is wrong for certain (as far as the boxes are right)
        scores[~inside_own_boxes(corners, categories, labelled.classes, size)] = -1
    labels = np.array(labelled.classes, dtype=np.uint8)[scores.argmax(0)]
    labels = unknown_in_region(labels, crowd_region(item.known.crowds, size), corners, categories)
    score_map = ScoreMap(
        probabilities.astype(np.float16),
        np.array(labelled.classes, dtype=np.int64),
        size,
        graph.stride,
    )
    return Outcome(
        files={
            f"maps/{item.image.image_id}.npz": encode_score_map(score_map),
            f"labels/{item.image.image_id}.png": encode_label_map(labels),
        },
        stats={
            "classes": len(labelled.classes),
            "loss": labelled.loss,
            "seeds": labelled.seeds,
            "removed": labelled.removed,
            "foreground": float((labels > 0).mean()),
        },
    )


def _as_it_is(image: ImageFile, mask: Path) -> Outcome:
    """A whole mask as labels, byte for byte, and as probabilities."""
    labels = read_label_map(mask, image.size)
    return Outcome(
        files={
            f"maps/{image.image_id}.npz": encode_score_map(certain_scores(labels)),
            f"labels/{image.image_id}.png": mask.read_bytes(),
        },
        stats={
            "classes": 1,
            "loss": 0.0,
            "seeds": int((labels != UNKNOWN).sum()),
            "removed": 0,
            "foreground": float(((labels > 0) & (labels != UNKNOWN)).mean()),
        },
    )


def _seed_of(item: Item) -> int:
    """A seed of its own for each image, whatever the order."""
    text = f"{item.params.seed} {item.image.image_id}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0


if __name__ == "__main__":
    run(a2gnn_label)
