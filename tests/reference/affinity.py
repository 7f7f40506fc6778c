"""The pair losses of A2GNN section 4.3, one ordered pair of cells after the other."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor


def ordered_pairs(
    height: int, width: int, radius: int, window: str
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """All (i, j), i != j, of cells on the map within one another's window."""
    cells = [(y, x) for y in range(height) for x in range(width)]
    for i in cells:
        for j in cells:
            dy, dx = i[0] - j[0], i[1] - j[1]
            if window == "disc":
                near = math.sqrt(dy * dy + dx * dx) <= radius
            else:
                near = max(abs(dy), abs(dx)) <= radius
            if near and i != j:
                yield i, j


def distance(features: Tensor, i: tuple[int, int], j: tuple[int, int]) -> Tensor:
    """The exponent of eq. 8 for features [C, h, w]."""
    return (features[:, i[0], i[1]] - features[:, j[0], j[1]]).abs().mean()


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean() if values else torch.zeros((), dtype=torch.float64)


def affinity_loss(
    features: Tensor, labels: Tensor, radius: int, window: str, balance: str
) -> Tensor:
    """Eq. 6-8 and 10 over a batch [B, C, h, w] with labels [B, h, w]."""
    kinds: dict[str, list[Tensor]] = {"ground": [], "object": [], "unlike": []}
    for one, known in zip(features, labels, strict=True):
        for i, j in ordered_pairs(known.shape[0], known.shape[1], radius, window):
            a, b = int(known[i]), int(known[j])
            if 255 in (a, b):
                continue
            affinity = torch.exp(-distance(one, i, j))
            if a != b:
                kinds["unlike"].append(-torch.log(1 - affinity + 1e-5))
            else:
                kinds["object" if a else "ground"].append(-torch.log(affinity))
    if balance == "paper":
        return _mean(kinds["ground"] + kinds["object"]) + _mean(kinds["unlike"])
    return _mean(kinds["ground"]) / 4 + _mean(kinds["object"]) / 4 + _mean(kinds["unlike"]) / 2


def affinity_regularizer(
    features: Tensor,
    colours: Tensor,
    valid: Tensor,
    radius: int,
    window: str,
    sigma_xy: float,
    sigma_rgb: float,
) -> Tensor:
    """Eq. 11-13 as a mean over the pairs of valid cells."""
    terms = []
    for one, colour, mask in zip(features, colours, valid, strict=True):
        for i, j in ordered_pairs(mask.shape[0], mask.shape[1], radius, window):
            if mask[i] and mask[j]:
                place = (i[0] - j[0]) ** 2 + (i[1] - j[1]) ** 2
                shade = float(((colour[:, i[0], i[1]] - colour[:, j[0], j[1]]) ** 2).sum())
                weight = math.exp(-place / (2 * sigma_xy**2) - shade / (2 * sigma_rgb**2))
                terms.append(weight * distance(one, i, j))
    return _mean(terms)


def graph_edges(features: Tensor, radius: int, window: str, threshold: float) -> Tensor:
    """Eq. 14 as a dense [N, N] matrix; 0 outside the window, 1 on the diagonal."""
    _, height, width = features.shape
    edges = torch.eye(height * width, dtype=features.dtype)
    for i, j in ordered_pairs(height, width, radius, window):
        affinity = torch.exp(-distance(features, i, j))
        row, column = i[0] * width + i[1], j[0] * width + j[1]
        edges[row, column] = affinity if affinity > threshold else 0.0
    return edges
