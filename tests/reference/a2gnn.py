"""A2GNN the obvious way: N x N attention, everything upsampled to pixels, loops over the boxes.

Settings, boxes, rows and seeds mean what they mean in models.a2gnn.network.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from models.a2gnn.network import Settings

PixelBox = tuple[int, int, int, int]


def dense_edges(
    edges: npt.NDArray[np.floating], offsets: npt.NDArray[np.int64], grid: tuple[int, int]
) -> Tensor:
    """E [N, N] of a table of edges; the diagonal holds the edge at (0, 0)."""
    height, width = grid
    dense = torch.zeros(height * width, height * width, dtype=torch.float64)
    for slot, (dy, dx) in enumerate(offsets):
        for y in range(max(0, -dy), min(height, height - dy)):
            for x in range(max(0, -dx), min(width, width - dx)):
                node = y * width + x
                dense[node, (y + dy) * width + x + dx] = float(edges[node, slot])
    return dense


def connected(dense: Tensor) -> Tensor:
    """Who is in S(i): an edge in either direction, or i itself."""
    return (dense > 0) | (dense.t() > 0) | torch.eye(len(dense), dtype=torch.bool)


def attention(
    hidden: Tensor, weight: Tensor, dense: Tensor, mask: Tensor, *, beta: float
) -> Tensor:
    """P of eq. 18, N x N."""
    norms = torch.linalg.vector_norm(hidden, dim=1)
    cosine = (hidden @ hidden.t()) / (norms[:, None] * norms[None] + 1e-7)
    score = weight * cosine + beta * (cosine > 0) * dense
    return torch.softmax(score.masked_fill(~mask, -torch.inf), dim=1)


def forward(
    features: Tensor,
    embedding: Tensor,
    attention_weights: Sequence[Tensor],
    output: Tensor,
    dense: Tensor,
    mask: Tensor,
    *,
    beta: float,
    kept: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Eq. 16-19: H^{L+1} [N, F] and the logits [N, C]."""
    hidden = torch.relu(features @ embedding)
    if kept is not None:
        hidden = hidden * kept
    for weight in attention_weights:
        hidden = attention(hidden, weight, dense, mask, beta=beta) @ hidden
    return hidden, hidden @ output


def upsampled(values: Tensor, grid: tuple[int, int], size: tuple[int, int], stride: int) -> Tensor:
    """[N, C] -> [C, H, W] with torch's interpolation."""
    cells = values.t().reshape(1, -1, *grid)
    pixels = F.interpolate(cells, scale_factor=stride, mode="bilinear", align_corners=False)
    return pixels[0, :, : size[0], : size[1]]


def cross_entropy(logits: Tensor, seeds: Tensor, average: str) -> Tensor:
    """Eq. 21 on logits [C, H, W] and seeds [H W], -1 = unlabelled."""
    pixels = logits.flatten(1).t()
    if average == "mean":
        return F.cross_entropy(pixels[seeds >= 0], seeds[seeds >= 0])
    losses = [F.cross_entropy(pixels[part], seeds[part]) for part in (seeds == 0, seeds > 0)]
    return losses[0] + losses[1]


def picked_points(
    scores: Tensor, boxes: Sequence[PixelBox], rows: Sequence[int]
) -> list[list[tuple[int, int]]]:
    """Eq. 23, 24: (y, x) of the best pixel of each row and column of each box."""
    picks = []
    for (x0, y0, x1, y1), row in zip(boxes, rows, strict=True):
        chosen = []
        for y in range(y0, y1):
            chosen.append((y, x0 + int(scores[row, y, x0:x1].argmax())))
        for x in range(x0, x1):
            chosen.append((y0 + int(scores[row, y0:y1, x].argmax()), x))
        picks.append(chosen)
    return picks


def multi_point(
    logits: Tensor,
    features: Tensor,
    picks: Sequence[Sequence[tuple[int, int]]],
    rows: Sequence[int],
) -> Tensor:
    """Eq. 26 on logits [C, H, W] and features [F, H, W], pair by pair in a table."""
    log_probabilities = torch.log_softmax(logits, dim=0)
    entropy, number = logits.new_zeros(()), 0
    distance, pairs = logits.new_zeros(()), 0
    for chosen, row in zip(picks, rows, strict=True):
        y, x = torch.tensor(chosen).t()
        entropy = entropy - log_probabilities[row, y, x].sum()
        number += len(chosen)
        units = F.normalize(features[:, y, x].t(), dim=1)
        different = (y[:, None] != y) | (x[:, None] != x)
        distance = distance + (1 - units @ units.t())[different].sum()
        pairs += int(different.sum())
    return entropy / number + distance / max(pairs, 1)


def colour_kernel(
    colours: npt.NDArray[np.floating], grid: tuple[int, int], sigma_xy: float, sigma_rgb: float
) -> Tensor:
    """G of eq. 13 (squared norms), all pairs, nothing left out."""
    ys, xs = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    place = (ys[:, None] - ys) ** 2 + (xs[:, None] - xs) ** 2
    colour = ((colours[:, None] - colours[None]) ** 2).sum(2)
    kernel = np.exp(-place / (2 * sigma_xy**2) - colour / (2 * sigma_rgb**2))
    np.fill_diagonal(kernel, 0)
    return torch.from_numpy(kernel)


def regularized_loss(probabilities: Tensor, kernel: Tensor) -> Tensor:
    """Eq. 22 as Potts, over a table of all pairs."""
    disagreement = 1 - probabilities @ probabilities.t()
    return (kernel * disagreement).sum() / len(probabilities)


def consistent_seeds(
    seeds: Tensor,
    boxes: Sequence[PixelBox],
    rows: Sequence[int],
    size: tuple[int, int],
    features: Tensor,
    prototypes: Sequence[Tensor],
    background: Tensor,
    grid: tuple[int, int],
    stride: int,
) -> Tensor:
    """The rule of models.a2gnn.consistency, pixel by pixel; features [N, F] of the cells."""
    verdicts: dict[int, list[bool]] = {}
    for (x0, y0, x1, y1), row, prototype in zip(boxes, rows, prototypes, strict=True):
        margin: dict[int, float] = {}
        members: list[tuple[int, int]] = []
        for y in range(y0, y1):
            for x in range(x0, x1):
                pixel, cell = y * size[1] + x, (y // stride) * grid[1] + x // stride
                if int(seeds[pixel]) == row:
                    members.append((pixel, cell))
                    near = features[cell] @ F.normalize(prototype, dim=0)
                    far = features[cell] @ F.normalize(background, dim=0)
                    margin[cell] = float(near - far)
        if not members:
            continue
        middle = sorted(margin.values())[(len(margin) - 1) // 2]
        for pixel, cell in members:
            verdicts.setdefault(pixel, []).append(margin[cell] >= min(0.0, middle))
    kept = seeds.clone()
    for pixel, agreed in verdicts.items():
        if not any(agreed):
            kept[pixel] = -1
    return kept


def total_loss(
    hidden: Tensor,
    logits: Tensor,
    *,
    grid: tuple[int, int],
    size: tuple[int, int],
    stride: int,
    seeds: Tensor,
    boxes: Sequence[PixelBox],
    rows: Sequence[int],
    kernel: Tensor,
    settings: Settings,
    second: bool,
) -> Tensor:
    """Eq. 20 in one of the two stages."""
    pixels = upsampled(logits, grid, size, stride)
    features = upsampled(hidden, grid, size, stride)
    scores = pixels if settings.points == "logit" else torch.softmax(pixels, dim=0)
    picks = picked_points(scores.detach(), boxes, rows)
    labels = seeds
    if second and settings.consistency:
        with torch.no_grad():
            prototypes = [
                torch.stack([features[:, y, x] for y, x in chosen]).mean(0) for chosen in picks
            ]
            ground = (seeds == 0).nonzero()[:, 0]
            cells = ground // size[1] // stride * grid[1] + ground % size[1] // stride
            labels = consistent_seeds(
                seeds, boxes, rows, size, hidden, prototypes, hidden[cells].mean(0), grid, stride
            )
    loss = cross_entropy(pixels, labels, settings.cross_entropy)
    loss = loss + settings.multi_point * multi_point(pixels, features, picks, rows)
    if second and settings.regularizer:
        probabilities = torch.softmax(logits, dim=1)
        loss = loss + settings.regularizer * regularized_loss(probabilities, kernel)
    return loss
