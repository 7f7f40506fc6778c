"""A2GNN: affinity attention graph neural network, trained anew on each image (section 4.4, 4.5).

The network (eq. 16-19) learns the classes of one image from the confident seeds on its pixels, its
boxes and its colours, and then labels all its cells. Two stages: first cross entropy and
multi-point loss (eq. 21, 26), then also regularised loss (eq. 22) and consistency checking (eq. 27,
28).

# differs from the paper: only classes present in the image have an output. The others have no
label, box or tag to learn from; with them the softmax has more terms, all to be driven to 0.

A2GNN: https://arxiv.org/abs/2106.04054.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from models.a2gnn.affinity_attention import (
    Neighbours,
    attend,
    attend_at,
    attention_weights,
    build_neighbours,
)
from models.a2gnn.consistency import (
    background_share,
    check_directions,
    consistent_seeds,
    seeds_in_boxes,
)
from models.a2gnn.grid_losses import (
    cells_on_pixels,
    colour_kernel,
    interpolation_matrix,
    regularized_loss,
    seed_weights,
)
from models.a2gnn.multi_point import (
    Picks,
    PixelBox,
    bilinear_taps,
    point_distance,
    point_weights,
    select_points,
)
from models.ops.boxes import BoxTuple, pixel_box
from models.ops.labels import UNKNOWN


@dataclass(frozen=True)
class Settings:
    """Numbers of the method, each described in params.yaml; a stage checks the ranges."""

    hidden: Annotated[int, Gt(0)]
    layers: Annotated[int, Gt(0)]
    cosine: bool
    beta: Annotated[float, Ge(0)]
    dropout: Annotated[float, Ge(0), Lt(1)]
    first_epochs: Annotated[int, Ge(0)]
    second_epochs: Annotated[int, Ge(0)]
    learning_rate: Annotated[float, Gt(0)]
    weight_decay: Annotated[float, Ge(0)]
    cross_entropy: Literal["mean", "balanced"]
    multi_point: Annotated[float, Ge(0)]
    points: Literal["probability", "logit"]
    regularizer: Annotated[float, Ge(0)]
    sigma_xy: Annotated[float, Gt(0)]
    sigma_rgb: Annotated[float, Gt(0)]
    consistency: bool


@dataclass(frozen=True)
class Labelled:
    """What the trained network says.

    Attributes:
        probabilities: float32 [C, h, w], summing to 1 over the classes.
        classes: the label value of each row, ascending, the first is 0.
        loss: of the last epoch.
        removed: labelled pixels that consistency checking left out in the last epoch.
        seeds: labelled pixels.
    """

    probabilities: npt.NDArray[np.float32]
    classes: tuple[int, ...]
    loss: float
    removed: int
    seeds: int


class A2GNN(nn.Module):
    """Eq. 16-19 on a graph of N nodes.

    `forward` stops before the last product of eq. 17. With H the input and P the weights of the
    last attention layer, the logits are (P H) W = P (H W): C columns instead of F, and P H itself
    is only needed where points were selected.
    """

    def __init__(
        self, inputs: int, hidden: int, layers: int, outputs: int, generator: torch.Generator
    ) -> None:
        """Draw the weights: Xavier uniform and no biases; w of eq. 18 uniform in [0, 1)."""
        super().__init__()
        device = generator.device
        self.embedding = nn.Parameter(torch.empty(inputs, hidden, device=device))
        self.attention = nn.Parameter(torch.empty(layers, device=device))
        self.output = nn.Parameter(torch.empty(hidden, outputs, device=device))
        nn.init.xavier_uniform_(self.embedding, generator=generator)
        nn.init.uniform_(self.attention, generator=generator)
        nn.init.xavier_uniform_(self.output, generator=generator)

    def forward(
        self,
        features: Tensor,
        neighbours: Neighbours,
        *,
        beta: float,
        dropout: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Everything but the last product.

        Args:
            features: [N, D].
            neighbours: of N nodes.
            beta: weight of the edges.
            dropout: [N, F] mask, 0 or 1 / (1 - dropout); None is no dropout.

        Returns:
            P [M] and H [N, F] of the last attention layer.
        """
        hidden = torch.relu(features @ self.embedding)  # [N, F]
        if dropout is not None:
            hidden = hidden * dropout
        for layer, weight in enumerate(self.attention):
            weights = attention_weights(hidden, weight, neighbours, beta=beta)  # [M]
            if layer < len(self.attention) - 1:
                hidden = attend(weights, hidden, neighbours)
        return weights, hidden


class Problem:
    """One image made ready: all that stays the same from epoch to epoch.

    Attributes:
        features: [N, D'] without the columns that are 0 everywhere (an exact saving).
        used: bool [D] those columns.
        classes: label value of each output.
        seeds: int64 [H W] output of each labelled pixel, -1 = unlabelled.
    """

    def __init__(
        self,
        *,
        features: npt.NDArray[np.floating],
        edges: npt.NDArray[np.floating],
        offsets: npt.NDArray[np.int64],
        grid: tuple[int, int],
        stride: int,
        seeds: npt.NDArray[np.uint8],
        colours: npt.NDArray[np.floating],
        boxes: Sequence[BoxTuple],
        categories: Sequence[int],
        settings: Settings,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """Make it ready.

        Args:
            features: [N, D] of the nodes (eq. 15).
            edges: [N, K] to the node at each offset (eq. 14).
            offsets: [K, 2] (dy, dx) in cells, as `build_neighbours` wants them.
            grid: (h, w) cells, N = h * w.
            stride: pixels per cell.
            seeds: [H, W] label values, 0 background, 255 unlabelled.
            colours: [N, 3] normalised RGB of the cells.
            boxes: (x0, y0, x1, y1) in pixels.
            categories: the label value of each box.
            settings: numbers.
            dtype: of all computation.
            device: where the network runs.
        """
        device = torch.device(device)
        self.settings = settings
        self.grid, self.stride, self.size = grid, stride, (seeds.shape[0], seeds.shape[1])
        self.neighbours = build_neighbours(edges, offsets, grid, dtype=dtype, device=device)
        self.used = torch.from_numpy((features != 0).any(0)).to(device)
        self.features = torch.from_numpy(features).to(device, dtype)[:, self.used].contiguous()
        labels = np.unique(seeds).tolist()
        self.classes = tuple(sorted({0, *categories, *labels} - {UNKNOWN}))
        rows = np.full(256, -1, dtype=np.int64)
        rows[list(self.classes)] = range(len(self.classes))
        self.seeds = torch.from_numpy(rows[seeds].ravel()).to(device)
        self.boxes: list[PixelBox] = [pixel_box(box, self.size) for box in boxes]
        self.rows = [self.classes.index(category) for category in categories]
        self.down, self.across = (
            interpolation_matrix(cells, pixels, stride, dtype).to(device)
            for cells, pixels in zip(grid, self.size, strict=True)
        )
        self.box_seeds = seeds_in_boxes(
            self.seeds, self.boxes, self.rows, self.size, grid[1], stride
        )
        self.weights_of_seeds = self.seed_weights(self.seeds)
        self.background = background_share(self.seeds, self.size, grid, stride).to(dtype)
        self.kernel: Tensor | None = None
        if settings.regularizer > 0 and settings.second_epochs > 0:
            self.kernel = colour_kernel(
                colours,
                grid,
                sigma_xy=settings.sigma_xy,
                sigma_rgb=settings.sigma_rgb,
                dtype=dtype,
                device=device,
            )

    def seed_weights(self, seeds: Tensor) -> Tensor:
        """`seed_weights` of these seeds for this problem: [C, H W]."""
        average = self.settings.cross_entropy
        return seed_weights(seeds, len(self.classes), average, self.features.dtype)


def image_loss(
    network: A2GNN, problem: Problem, dropout: Tensor | None, *, second: bool
) -> tuple[Tensor, int]:
    """The loss of eq. 20 in one of the two stages.

    Returns:
        The loss, and how many labelled pixels consistency checking has left out.
    """
    settings, neighbours = problem.settings, problem.neighbours
    weights, hidden = network(problem.features, neighbours, beta=settings.beta, dropout=dropout)
    logits = attend(weights, hidden @ network.output, neighbours)  # [N, C]
    on_pixels = cells_on_pixels(logits, problem.down, problem.across)  # [C, H, W]
    log_probabilities = F.log_softmax(on_pixels, dim=0)
    targets, removed = problem.weights_of_seeds, 0
    loss = logits.new_zeros(())
    pointed = bool(problem.boxes) and settings.multi_point > 0
    checked = bool(problem.boxes) and settings.consistency and second
    if pointed or checked:
        with torch.no_grad():
            scores = on_pixels if settings.points == "logit" else log_probabilities
            picks = select_points(scores.detach(), problem.boxes, problem.rows)
        features, counts = _point_features(weights, hidden, problem, picks)
        if checked:
            with torch.no_grad():
                seeds = _checked_seeds(weights, hidden, problem, features, counts)
                removed = int((seeds != problem.seeds).sum())
                if removed:
                    targets = problem.seed_weights(seeds)
        if pointed:
            targets = targets + settings.multi_point * point_weights(picks, log_probabilities)
            loss = loss + settings.multi_point * point_distance(features, counts)
    loss = loss - (targets * log_probabilities.reshape(len(targets), -1)).sum()
    if second and problem.kernel is not None:
        probabilities = torch.softmax(logits, dim=1)
        loss = loss + settings.regularizer * regularized_loss(probabilities, problem.kernel)
    return loss, removed


def _point_features(
    weights: Tensor, hidden: Tensor, problem: Problem, picks: Sequence[Picks]
) -> tuple[list[Tensor], list[Tensor]]:
    """The features of the different pixels of each box, and how often each was selected."""
    distinct = [torch.unique(pick.pixels, return_counts=True) for pick in picks]
    counts = [number.to(hidden.dtype) for _, number in distinct]
    pixels = torch.cat([different for different, _ in distinct])  # [n] of all boxes
    cells, shares = bilinear_taps(
        pixels, problem.size[1], problem.grid, problem.stride, hidden.dtype
    )
    nodes, column = torch.unique(cells, return_inverse=True)
    rows = attend_at(weights, hidden, problem.neighbours, nodes)  # [nodes, F]
    # a product with the table of shares adds up the four taps without a [pixels, 4, F] tensor
    table = shares.new_zeros(len(pixels), len(nodes)).scatter_add_(1, column, shares)
    return list(torch.split(table @ rows, [len(number) for number in counts])), counts


def _checked_seeds(
    weights: Tensor,
    hidden: Tensor,
    problem: Problem,
    features: Sequence[Tensor],
    counts: Sequence[Tensor],
) -> Tensor:
    prototypes = torch.stack(
        [count @ box / count.sum() for box, count in zip(features, counts, strict=True)]
    )
    backwards = weights.index_select(0, problem.neighbours.twin)
    background = attend(backwards, problem.background[:, None], problem.neighbours)[:, 0] @ hidden
    directions = check_directions(prototypes, background)
    scores = attend(weights, hidden @ directions.t(), problem.neighbours)  # [N, boxes]
    return consistent_seeds(problem.seeds, problem.box_seeds, scores)


def label_image(problem: Problem, generator: torch.Generator) -> Labelled:
    """Train a network on one image and label its cells with it.

    Args:
        problem: the image.
        generator: draws initial weights and dropout, on the device of the problem.

    Raises:
        FloatingPointError: the loss stopped being finite.
    """
    labelled = int((problem.seeds >= 0).sum())
    if len(problem.classes) == 1:
        ones = np.ones((1, *problem.grid), dtype=np.float32)
        return Labelled(ones, problem.classes, 0.0, 0, labelled)
    settings = problem.settings
    network = start_network(problem, generator)
    loss, removed = train_network(network, problem, generator)
    with torch.no_grad():
        weights, hidden = network(problem.features, problem.neighbours, beta=settings.beta)
        logits = attend(weights, hidden @ network.output, problem.neighbours)  # [N, C]
        probabilities = torch.softmax(logits, dim=1).t().reshape(-1, *problem.grid)  # [C, h, w]
    array = probabilities.float().cpu().numpy()
    return Labelled(np.ascontiguousarray(array), problem.classes, loss, removed, labelled)


def start_network(problem: Problem, generator: torch.Generator) -> A2GNN:
    """The untrained network; weights of columns that are 0 everywhere are drawn and left out."""
    settings = problem.settings
    inputs, outputs = len(problem.used), len(problem.classes)
    network = A2GNN(inputs, settings.hidden, settings.layers, outputs, generator)
    network.embedding = nn.Parameter(network.embedding.detach()[problem.used])
    if not settings.cosine:  # of eq. 18 the edges alone
        network.attention = nn.Parameter(torch.zeros_like(network.attention), requires_grad=False)
    return network.to(problem.features.dtype)


def train_network(
    network: A2GNN, problem: Problem, generator: torch.Generator
) -> tuple[float, int]:
    """Both stages, with Adam.

    Returns:
        Loss and removed seeds of the last epoch.

    Raises:
        FloatingPointError: the loss stopped being finite.
    """
    settings = problem.settings
    optimizer = torch.optim.Adam(
        network.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    value, removed = 0.0, 0
    for epoch in range(settings.first_epochs + settings.second_epochs):
        dropout = dropout_mask(len(problem.features), settings, generator).to(
            problem.features.dtype
        )
        second = epoch >= settings.first_epochs
        loss, removed = image_loss(network, problem, dropout, second=second)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(f"loss is {value} in epoch {epoch}")
    return value, removed


def dropout_mask(nodes: int, settings: Settings, generator: torch.Generator) -> Tensor:
    """[nodes, hidden] of 0 and 1 / (1 - dropout), the next one of the generator.

    A byte decides on each value, so that the probability is rounded to 1/256, at most 255/256.
    """
    total = nodes * settings.hidden
    words = torch.empty(-(-total // 8), dtype=torch.int64, device=generator.device)
    drawn = words.random_(-(2**63), None, generator=generator).view(torch.uint8)
    dropped = min(round(256 * settings.dropout), 255)
    dropout = (drawn[:total] >= dropped).reshape(nodes, settings.hidden)
    return dropout / (1 - dropped / 256)
