"""Weighted graphs of images: one <image_id>.npz per image, no pickle.

Nodes are the cells of a grid, row by row; an edge joins a node to the node at a fixed offset, so
edges are a table [N, K] over K offsets and never an N x N matrix.
"""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.engine.errors import InputError


@dataclass(frozen=True)
class Graph:
    """The graph of one image.

    Attributes:
        features: float16 [N, D] node features; rows sum to 1 (eq. 15) unless all zero.
        edges: float16 [N, K] affinity in [0, 1] to the node at each offset; 0 outside the grid
            and below the threshold of eq. 14.
        offsets: int64 [K, 2] (dy, dx) in cells; symmetric, contains (0, 0).
        grid: (h, w) cells, N = h * w; h = ceil(H / stride), w = ceil(W / stride).
        size: (H, W) of the image in pixels.
        stride: side of a cell in pixels.
    """

    features: npt.NDArray[np.float16]
    edges: npt.NDArray[np.float16]
    offsets: npt.NDArray[np.int64]
    grid: tuple[int, int]
    size: tuple[int, int]
    stride: int

    def __post_init__(self) -> None:
        nodes = self.grid[0] * self.grid[1]
        if self.features.ndim != 2 or len(self.features) != nodes:
            raise ValueError(f"features: expected [{nodes}, D], got {self.features.shape}")
        if self.edges.shape != (nodes, len(self.offsets)):
            expected = (nodes, len(self.offsets))
            raise ValueError(f"edges: expected {expected}, got {self.edges.shape}")


def cropped_graph(graph: Graph, rows: slice, columns: slice) -> Graph:
    """The graph of a window of cells, as if the image ended there.

    Args:
        graph: of the whole image.
        rows: from a cell to another, both in the grid.
        columns: the same.
    """
    height, width = rows.stop - rows.start, columns.stop - columns.start
    nodes = np.arange(len(graph.features)).reshape(graph.grid)[rows, columns].ravel()
    y, x = np.divmod(np.arange(height * width)[:, None], width)
    to_y, to_x = y + graph.offsets[:, 0], x + graph.offsets[:, 1]
    inside = (to_y >= 0) & (to_y < height) & (to_x >= 0) & (to_x < width)
    return Graph(
        graph.features[nodes],
        np.where(inside, graph.edges[nodes], np.float16(0)),
        graph.offsets,
        (height, width),
        (
            min(rows.stop * graph.stride, graph.size[0]) - rows.start * graph.stride,
            min(columns.stop * graph.stride, graph.size[1]) - columns.start * graph.stride,
        ),
        graph.stride,
    )


def encode_graph(graph: Graph) -> bytes:
    """The bytes of the .npz file; the same graph always gives the same bytes."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        "features": graph.features.astype(np.float16, copy=False),
        "edges": graph.edges.astype(np.float16, copy=False),
        "offsets": graph.offsets.astype(np.int64, copy=False),
        "grid": np.array(graph.grid, dtype=np.int64),
        "size": np.array(graph.size, dtype=np.int64),
        "stride": np.array(graph.stride, dtype=np.int64),
    }
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_graph(path: Path) -> Graph:
    """Read what `encode_graph` wrote.

    Raises:
        InputError: missing or unreadable file, or a missing array.
    """
    try:
        # opened here, because np.load leaves a broken archive open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            rows, columns = (int(side) for side in arrays["grid"])
            height, width = (int(side) for side in arrays["size"])
            return Graph(
                arrays["features"],
                arrays["edges"],
                arrays["offsets"],
                (rows, columns),
                (height, width),
                int(arrays["stride"]),
            )
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such graph") from error
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a graph: {error}") from error
