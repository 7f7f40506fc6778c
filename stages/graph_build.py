"""The weighted graph of every training image: nodes, features and edges.

A2GNN eq. 14, 15 (https://arxiv.org/abs/2106.04054). A node is a cell of the image; an edge joins it
to each cell of the window that the affinity CNN was trained with. Writes graphs/<image_id>.npz.
"""

import dataclasses
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.a2gnn.affinity import (
    AffinityNet,
    AffinitySpec,
    Offset,
    graph_edges,
    node_features,
    window_offsets,
)
from models.a2gnn.superpixels import superpixel_cells, superpixel_means
from stages.engine.command import run
from stages.engine.files import write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.io.data_set import Dataset, ImageFile
from stages.io.graphs import Graph, encode_graph
from stages.io.networks import read_network, read_spec


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    features: Literal["concat", "affinity"]
    nodes: Literal["cells", "superpixels"]
    edges: Literal["affinity", "features"]
    threshold: Annotated[float, Field(ge=0, lt=1)]


@dataclasses.dataclass(frozen=True)
class Item:
    """One image and the network; `beside` is the network's weights.json."""

    image: ImageFile
    weights: Path
    beside: Path
    params: Params


def graph_build(params: Params, data: Dataset, weights: Path, out: Path) -> None:
    """Convert the training images to graphs.

    Args:
        params: see `Params`.
        data: the data set.
        weights: weights.pt of affinity_train, with weights.json beside it.
        out: gets graphs/ and metrics.json.

    Raises:
        InputError: weights of another network.
    """
    beside = weights.with_suffix(".json")
    items = {image.image_id: Item(image, weights, beside, params) for image in data.images("train")}
    stats = map_images(_one_image, items, out, stage="graph_build")
    edges = sum(each["edges"] for each in stats)
    metrics = {
        "images": len(items),
        "nodes": int(sum(each["nodes"] for each in stats)),
        "edges": int(edges),
        "mean_edge": round(sum(each["weight"] for each in stats) / max(edges, 1), 4),
    }
    write_json(out / "metrics.json", metrics)


def _one_image(item: Item) -> Outcome:
    network, offsets = _network(item.weights, item.weights.stat().st_mtime_ns)
    pixels, stride = item.image.read(), network.backbone.output_stride
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        taps, affinity = network(image)
        chosen = [tap[0] for tap in taps] if item.params.features == "concat" else [affinity[0]]
        compared = affinity[0] if item.params.edges == "affinity" else torch.cat(chosen)
        if item.params.nodes == "superpixels":
            superpixels = superpixel_cells(pixels, stride)
            chosen = [superpixel_means(part, superpixels) for part in chosen]
            compared = superpixel_means(compared, superpixels)
        edges = graph_edges(compared, offsets, item.params.threshold).half().numpy()
        features = node_features(chosen).half().numpy()
    rows, columns = affinity.shape[-2:]
    graph = Graph(
        features,
        edges,
        np.array(offsets, dtype=np.int64),
        (rows, columns),
        item.image.size,
        stride,
    )
    others = edges[:, [offset != (0, 0) for offset in offsets]]
    stats = {
        "nodes": len(edges),
        "edges": int(np.count_nonzero(others)),
        "weight": float(others.sum(dtype=np.float64)),
    }
    return Outcome({f"graphs/{item.image.image_id}.npz": encode_graph(graph)}, stats)


@lru_cache(maxsize=1)
def _network(weights: Path, modified: int) -> tuple[AffinityNet, list[Offset]]:
    """The network and its window, kept for the next image; `modified` tells versions apart."""
    spec = read_spec(weights, AffinitySpec)
    return read_network(weights, spec), window_offsets(spec.radius, spec.window)


if __name__ == "__main__":
    run(graph_build)
