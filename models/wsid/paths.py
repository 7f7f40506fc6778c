"""Pairs of near cells and the cells between them: is there a boundary on the way (IRN, section 3)?

A path leads from a cell to a destination within the radius; on it are the cells whose centres lie
less than one cell from the segment. The affinity of a pair is 1 - the strongest boundary on its
path. Everything about pairs is a table (B, K, h, w) over K paths: entry [b, k, y, x] is the pair of
(y, x) and (y + dy_k, x + dx_k); 0 where the destination leaves the map.

IRN: https://arxiv.org/abs/1904.05044.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

Cell = tuple[int, int]


@dataclass(frozen=True)
class CellPath:
    """The way from (0, 0) to `offset`.

    Attributes:
        offset: (dy, dx) of the destination.
        cells: (y, x) of all on the way, from (0, 0) to the destination, these two included.
    """

    offset: Cell
    cells: tuple[Cell, ...]


def search_paths(radius: int) -> list[CellPath]:
    """The paths to every cell nearer than `radius`, one of each unordered pair.

    Args:
        radius: cells, >= 2; the distance is strictly less. IRN: 10 in training, 5 for the walk.
    """
    reach = range(-radius + 1, radius)
    offsets = [
        (dy, dx)
        for dy in range(radius)
        for dx in reach
        if (dy, dx) > (0, 0) and dy * dy + dx * dx < radius * radius
    ]
    return [CellPath((dy, dx), _between(dy, dx)) for dy, dx in offsets]


def _between(dy: int, dx: int) -> tuple[Cell, ...]:
    near = [
        (y, x)
        for y in range(dy + 1)
        for x in range(min(dx, 0), max(dx, 0) + 1)
        if (dy * x - dx * y) ** 2 < dy * dy + dx * dx
    ]
    return tuple(sorted(near, key=lambda cell: abs(cell[0]) + abs(cell[1])))


def sources(size: tuple[int, int], offset: Cell, shift: Cell = (0, 0)) -> tuple[slice, slice]:
    """Rows and columns of the cells whose destination at `offset` is on the map, moved by `shift`.

    Args:
        size: (h, w) of the map.
        offset: (dy, dx) with dy >= 0.
        shift: of a cell on the path; `offset` itself gives the destinations.
    """
    (height, width), (dy, dx), (down, right) = size, offset, shift
    first = max(-dx, 0)
    rows, columns = max(height - dy, 0), max(width - abs(dx), 0)
    return slice(down, down + rows), slice(first + right, first + right + columns)


def whole_sources(size: tuple[int, int], radius: int) -> Tensor:
    """The cells of which no destination leaves the map, the only ones that IRN learns from.

    Returns:
        bool (h, w).
    """
    inside = torch.zeros(size, dtype=torch.bool)
    reach = radius - 1
    inside[: max(size[0] - reach, 0), reach : max(size[1] - reach, reach)] = True
    return inside


class _PathMaxima(torch.autograd.Function):
    """Keeps which cell was the strongest, where autograd would keep every cell of every path."""

    @staticmethod
    def forward(ctx: FunctionCtx, edges: Tensor, paths: tuple[CellPath, ...]) -> Tensor:
        batch, height, width = edges.shape
        size = (height, width)
        maxima = edges.new_zeros(batch, len(paths), height, width)
        strongest = torch.zeros_like(maxima, dtype=torch.uint8)
        for k, path in enumerate(paths):
            rows, columns = sources(size, path.offset)
            best = edges[:, rows, columns]  # of the first cell, (0, 0)
            at = torch.zeros_like(best, dtype=torch.uint8)
            for number, cell in enumerate(path.cells[1:], start=1):
                rows_there, columns_there = sources(size, path.offset, cell)
                there = edges[:, rows_there, columns_there]
                higher = there > best
                best = torch.where(higher, there, best)
                at.masked_fill_(higher, number)
            maxima[:, k, rows, columns] = best
            strongest[:, k, rows, columns] = at
        ctx.save_for_backward(strongest)
        ctx.paths = paths  # type: ignore[attr-defined]
        return maxima

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        (strongest,) = ctx.saved_tensors  # type: ignore[attr-defined]
        batch, _, height, width = strongest.shape
        size = (height, width)
        grad = grads[0].new_zeros(batch, height, width)
        for k, path in enumerate(ctx.paths):  # type: ignore[attr-defined]
            rows, columns = sources(size, path.offset)
            own, at = grads[0][:, k, rows, columns], strongest[:, k, rows, columns]
            for number, cell in enumerate(path.cells):
                rows_there, columns_there = sources(size, path.offset, cell)
                grad[:, rows_there, columns_there] += own * (at == number)
        return grad, None


def path_maxima(edges: Tensor, paths: Sequence[CellPath]) -> Tensor:
    """The strongest boundary on each path; of equals, the first has the gradient.

    Args:
        edges: probability of a boundary (B, h, w).
        paths: K of `search_paths`.

    Returns:
        (B, K, h, w), 0 where the destination leaves the map.
    """
    maxima: Tensor = _PathMaxima.apply(edges, tuple(paths))
    return maxima


def path_affinities(edges: Tensor, paths: Sequence[CellPath]) -> Tensor:
    """1 - the strongest boundary on each path.

    Args:
        edges: probability of a boundary (B, h, w), in [0, 1].
        paths: K of `search_paths`.

    Returns:
        (B, K, h, w), 0 where the destination leaves the map.
    """
    _, height, width = edges.shape
    on_map = torch.zeros(len(paths), height, width, dtype=torch.bool, device=edges.device)
    for k, path in enumerate(paths):
        on_map[k][sources((height, width), path.offset)] = True
    return (1 - path_maxima(edges, paths)) * on_map
