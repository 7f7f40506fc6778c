"""Random walk of the fused seeds on the graphs: the baseline that A2GNN is measured against.

Every cell sends walkers; its probabilities are the shares of the classes among the seeds on which
they end (a background seed weighs less). Writes maps/<image_id>.npz, on the cells of the graph, and
labels/<image_id>.png, their arg-max on the pixels, 255 where only a crowd claims it.

PSA and SEAM walk so from class activation maps (https://arxiv.org/abs/1803.10464 and 2004.04581),
and so does an image that is known by its tags alone, with numbers of its own: its activations are
the scores, those of the background (1 - the highest)^power. A whole mask stays as it is.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.ops.boxes import inside_own_boxes, unknown_in_region, widened
from models.ops.cells import cells_to_pixels, pixels_to_cells, scores_to_cells
from models.ops.random_walk import affinity_matrix, walk
from stages.engine.command import run
from stages.engine.files import write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.io.crowds import crowd_region
from stages.io.data_set import Dataset, InUse
from stages.io.graphs import Graph, read_graph
from stages.io.label_maps import UNKNOWN, encode_label_map, read_label_map
from stages.io.score_maps import ScoreMap, certain_scores, encode_score_map, read_score_map


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is.

    A background seed weighs less because seeds of objects are few and small (a head): walkers from
    the rest of the object would end on the background around it. With a `tolerance`
    (models/ops/random_walk.py) cells of which hardly any walker finds a seed count as unreached.
    The boxes of `inside_boxes` are known to hold all of their class.
    """

    beta: Annotated[float, Field(gt=0)]
    steps: Annotated[int, Field(ge=0)]
    tolerance: Annotated[float, Field(ge=0, lt=1)]
    background: Annotated[float, Field(gt=0)]
    inside_boxes: bool
    box_margin: Annotated[float, Field(ge=0, le=1)]
    tag_beta: Annotated[float, Field(gt=0)]
    tag_steps: Annotated[int, Field(ge=0)]
    tag_power: Annotated[float, Field(gt=0)]


@dataclasses.dataclass(frozen=True)
class Item:
    """One image's graph and what it walks from; `cams` is None where that is its seeds."""

    image_id: str
    graph: Path
    seeds: Path
    cams: Path | None
    known: InUse
    params: Params


def walk_label(
    params: Params, data: Dataset, graphs: Path, seeds: Path, cams: Path, out: Path
) -> None:
    """Label the training images by a random walk.

    Args:
        params: see `Params`.
        data: the data set.
        graphs: folder of <image_id>.npz.
        seeds: folder of <image_id>.png, 255 = unknown: no seed of any class.
        cams: folder of <image_id>.npz, activations in [0, 1] of the tagged classes.
        out: gets maps/, labels/ and metrics.json.

    Raises:
        InputError: seeds of another size than the graph's image.
    """
    known = data.labels_in_use()
    items = {
        image.image_id: Item(
            image.image_id,
            graphs / f"{image.image_id}.npz",
            seeds / f"{image.image_id}.png",
            cams / f"{image.image_id}.npz" if known[image.image_id].kind == "tag" else None,
            known[image.image_id],
            params,
        )
        for image in data.images("train")
    }
    stats = map_images(_one_image, items, out, stage="walk_label")
    metrics = {
        "images": len(items),
        "images_without_seeds": int(sum(each["seedless"] for each in stats)),
        "nodes_unreached": int(sum(each["unreached"] for each in stats)),
        "foreground_share": round(float(np.mean([each["foreground"] for each in stats])), 4),
    }
    write_json(out / "metrics.json", metrics)


def _one_image(item: Item) -> Outcome:
    graph, params = read_graph(item.graph), item.params
    if item.known.mask is not None:
        return _as_it_is(item.image_id, item.known.mask, graph.size)
    classes, start = _activations(item, graph) if item.cams else _seeds(item, graph)
    seeded = (start > 0).any(axis=1)
    beta, steps = (params.tag_beta, params.tag_steps) if item.cams else (params.beta, params.steps)
    matrix = affinity_matrix(graph.edges, graph.offsets, graph.grid, beta, np.float32)
    scores = walk(matrix, start, steps, tolerance=params.tolerance)
    probabilities, unreached = _shares(scores, params.tolerance)
    grid = probabilities.reshape(len(classes), *graph.grid)
    pixels = cells_to_pixels(grid, graph.size, graph.stride)
    corners = [widened(box.corners, params.box_margin) for box in item.known.boxes]
    categories = [box.category for box in item.known.boxes]
    if params.inside_boxes and item.known.kind == "box":
        # differs from the paper, as in the stages that the walk is compared with
        pixels[~inside_own_boxes(corners, categories, classes.tolist(), graph.size)] = -1
    labels = classes[pixels.argmax(0)].astype(np.uint8)
    crowd = crowd_region(item.known.crowds, graph.size)
    labels = unknown_in_region(labels, crowd, corners, categories)
    score_map = ScoreMap(grid.astype(np.float16), classes, graph.size, graph.stride)
    files = {
        f"maps/{item.image_id}.npz": encode_score_map(score_map),
        f"labels/{item.image_id}.png": encode_label_map(labels),
    }
    stats = {
        "seedless": float(not seeded.any()),
        "unreached": unreached,
        "foreground": float((labels > 0).mean()),
    }
    return Outcome(files, stats)


def _seeds(item: Item, graph: Graph) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The classes, 0 first, and 1 on the cells of each that are seeds [C, N]; background less."""
    seeds = read_label_map(item.seeds, graph.size)
    cells = pixels_to_cells(seeds, graph.stride).ravel()
    classes = np.union1d(cells[cells != UNKNOWN], 0).astype(np.int64)
    start = (cells == classes[:, None]).astype(np.float32)
    start[0] *= item.params.background
    return classes, start


def _activations(item: Item, graph: Graph) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The classes, 0 first, and the activation of each cell [C, N]."""
    assert item.cams is not None
    found = read_score_map(item.cams, graph.size)
    pixels = cells_to_pixels(found.scores, graph.size, found.stride)
    cells = scores_to_cells(pixels, graph.stride).reshape(len(pixels), -1)
    peak = cells.max(axis=0, initial=0.0).clip(0, 1)
    background = (1 - peak) ** item.params.tag_power
    classes = np.concatenate([[0], found.classes]).astype(np.int64)
    return classes, np.concatenate([background[None], cells]).astype(np.float32)


def _as_it_is(image_id: str, mask: Path, size: tuple[int, int]) -> Outcome:
    """A whole mask as labels, byte for byte, and as probabilities."""
    labels = read_label_map(mask, size)
    files = {
        f"maps/{image_id}.npz": encode_score_map(certain_scores(labels)),
        f"labels/{image_id}.png": mask.read_bytes(),
    }
    foreground = float(((labels > 0) & (labels != UNKNOWN)).mean())
    return Outcome(files, {"seedless": 0.0, "unreached": 0, "foreground": foreground})


def _shares(scores: npt.NDArray[np.floating], least: float) -> tuple[npt.NDArray[np.floating], int]:
    """Scores [C, N] made to sum to 1; where they sum to at most `least`, all background (row 0)."""
    scores = scores.clip(min=0)
    total = scores.sum(0)
    unreached = total <= least
    shares = scores / np.where(unreached, 1, total)
    shares[:, unreached] = 0
    shares[0, unreached] = 1
    return shares, int(unreached.sum())


if __name__ == "__main__":
    run(walk_label)
