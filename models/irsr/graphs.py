"""What the instances of an image tell one another: IRSR's four graphs and their update (4.2).

Each graph sends a message to every instance: from all instances that compete with it, from what
surrounds its box, from the whole image cell by cell, and from what is known of persons. Messages
are sums over the nodes j that are connected with instance i,

    h_i = sum_j  a_ij W_a f_j,    a_ij = ReLU(w . [U f_i || V f_j]) / number of nodes,

in K subgraphs side by side. The functions take projected features: queries U f, keys V f, values
W_a f, each (..., nodes, D) with any leading dimensions, such as the subgraphs; and w, (..., 2 D).

IRSR: https://arxiv.org/abs/2107.03824 (TPAMI 2021).
"""

from typing import Literal

import torch
from torch import Tensor, nn

Cue = Literal["relation", "local", "global", "person"]
#: `released`, as the public code: projections have a bias, messages but those of instances are
#: scaled by weights that begin at 0, cells share by softmax, and one layer and a ReLU end it.
Variant = Literal["paper", "released"]
#: Standard deviation of new weights in the public code.
RELEASED_DEVIATION = 0.01


def pair_logits(queries: Tensor, keys: Tensor, weights: Tensor) -> Tensor:
    """Logits w . [q_i || k_j] of every instance i and node j: (..., N, M)."""
    own, other = weights[..., None].chunk(2, dim=-2)
    return queries @ own + (keys @ other).transpose(-1, -2)


def relation_message(queries: Tensor, keys: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """From all N instances, itself included (eq. 2, 3): (..., N, D)."""
    return torch.relu(pair_logits(queries, keys, weights)) @ values / keys.shape[-2]


def local_message(queries: Tensor, keys: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """From its own surroundings alone, node i for instance i (eq. 4, 5): (..., N, D)."""
    pairs = torch.cat([queries, keys], dim=-1)
    return torch.relu(pairs @ weights[..., None]) * values


def global_message(
    queries: Tensor, keys: Tensor, values: Tensor, weights: Tensor, variant: Variant
) -> Tensor:
    """From the M^2 cells of the image (eq. 6, 7): (..., N, D)."""
    logits = pair_logits(queries, keys, weights)
    if variant == "released":
        return logits.softmax(dim=-1) @ values
    return torch.relu(logits) @ values / keys.shape[-2]


def enlarged(boxes: Tensor, size: tuple[int, int], factor: float = 2.0) -> Tensor:
    """Boxes (N, 4) of `factor` times the area around the same centres, cut at an image of (H, W).

    "Enlarging the bounding-box twice" is the area in the public code, so each side by sqrt(2).
    """
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    reach = sides * factor**0.5 / 2
    corners = torch.cat([centres - reach, centres + reach], dim=1)
    limits = corners.new_tensor([size[1], size[0], size[1], size[0]])
    return corners.clamp(min=0).minimum(limits)


class Graph(nn.Module):
    """One of the three graphs with attention: its projections and its messages.

    Attributes:
        query: U, of the instances.
        key: V, of the nodes.
        value: W_a, of the nodes.
        weights: w, (K, 2 D).
        share: what the public code scales the messages by, (K, 1, 1); None: nothing does.
        update: W_u, (K, D, D); None where one layer serves all graphs.
    """

    def __init__(self, cue: Cue, width: int, nodes: int, subgraphs: int, variant: Variant) -> None:
        """New weights for instances of `width` channels and nodes of `nodes`."""
        super().__init__()
        self.cue, self.variant, self.subgraphs = cue, variant, subgraphs
        narrow, released = width // subgraphs, variant == "released"
        self.query = nn.Linear(width, width, bias=released)
        if cue == "global" and released:
            self.key: nn.Module = nn.Conv2d(nodes, width, 3, padding=1)
            self.value: nn.Module = nn.Conv2d(nodes, width, 3, padding=1)
        else:
            self.key = nn.Linear(nodes, width, bias=released)
            self.value = nn.Linear(nodes, width, bias=released)
        self.weights = nn.Parameter(torch.randn(subgraphs, 2 * narrow) / (2 * narrow) ** 0.5)
        scaled = released and cue != "relation"
        self.share = nn.Parameter(torch.zeros(subgraphs, 1, 1)) if scaled else None
        self.update = None if released else new_update(subgraphs, narrow)
        if released:
            nn.init.normal_(self.weights, std=RELEASED_DEVIATION)
            for part in (self.query, self.key, self.value):
                start_small(part)

    def forward(self, instances: Tensor, nodes: Tensor) -> Tensor:
        """Messages to instances (N, C) from nodes (M, C'), or cells (C', M, M): (K, N, D)."""
        queries = in_subgraphs(self.query(instances), self.subgraphs)
        keys, values = (
            in_subgraphs(self._projected(part, nodes), self.subgraphs)
            for part in (self.key, self.value)
        )
        if self.cue == "relation":
            messages = relation_message(queries, keys, values, self.weights)
        elif self.cue == "local":
            messages = local_message(queries, keys, values, self.weights)
        else:
            messages = global_message(queries, keys, values, self.weights, self.variant)
        if self.share is not None:
            messages = self.share * messages
        return messages if self.update is None else messages @ self.update.transpose(-1, -2)

    def _projected(self, part: nn.Module, nodes: Tensor) -> Tensor:
        """(nodes, K D)."""
        if isinstance(part, nn.Conv2d):
            projected: Tensor = part(nodes[None])[0].flatten(1).T
        else:
            projected = part(nodes.flatten(1).T if nodes.dim() == 3 else nodes)
        return projected


class PersonPrior(nn.Module):
    """Messages of the person head's features, weighted by a learned number (eq. 8).

    Attributes:
        value: W_a.
        share: alpha of each subgraph, (K, 1, 1).
    """

    def __init__(self, width: int, nodes: int, subgraphs: int, variant: Variant) -> None:
        """New weights; the paper does not say where alpha begins, the public code's begins at 0."""
        super().__init__()
        self.subgraphs = subgraphs
        self.value = nn.Linear(nodes, width, bias=variant == "released")
        start = torch.zeros if variant == "released" else torch.ones
        self.share = nn.Parameter(start(subgraphs, 1, 1))
        if variant == "released":
            start_small(self.value)

    def forward(self, persons: Tensor) -> Tensor:
        """Messages from features (N, C') of the instances themselves: (K, N, D)."""
        return self.share * in_subgraphs(self.value(persons), self.subgraphs)


class GraphReasoning(nn.Module):
    """Instance features, updated by the messages of some of the four graphs (eq. 9, 10).

    Attributes:
        graphs: those with attention, by cue.
        prior: the person prior graph; None without.
        joined: the public code's one layer for all messages; None in the paper.
    """

    def __init__(
        self, cues: tuple[Cue, ...], width: int, cells: int, subgraphs: int, variant: Variant
    ) -> None:
        """New graphs.

        Args:
            cues: which graphs there are; none leaves the features as they are.
            width: channels of instances, surroundings and persons.
            cells: channels of the cells.
            subgraphs: K.
            variant: see `Variant`.

        Raises:
            ValueError: the width is no multiple of K.
        """
        super().__init__()
        if width % subgraphs:
            raise ValueError(f"subgraphs: expected a divisor of {width} features, got {subgraphs}")
        nodes: dict[Cue, int] = {"relation": width, "local": width, "global": cells}
        self.graphs = nn.ModuleDict(
            {
                cue: Graph(cue, width, channels, subgraphs, variant)
                for cue, channels in nodes.items()
                if cue in cues
            }
        )
        has_prior, is_joined = "person" in cues, variant == "released" and bool(cues)
        self.prior = PersonPrior(width, width, subgraphs, variant) if has_prior else None
        self.joined = nn.Linear(width, width) if is_joined else None
        if self.joined is not None:
            start_small(self.joined)

    def forward(self, instances: Tensor, local: Tensor, cells: Tensor, persons: Tensor) -> Tensor:
        """Updated features (N, C).

        Args:
            instances: (N, C).
            local: of their surroundings, (N, C).
            cells: of the whole image, (C', M, M).
            persons: of the person head, (N, C).
        """
        nodes = {"relation": instances, "local": local, "global": cells}
        messages = [graph(instances, nodes[cue]) for cue, graph in self.graphs.items()]
        if self.prior is not None:
            messages.append(self.prior(persons))
        if not messages:
            return instances
        update = torch.stack(messages).sum(dim=0)  # [K, N, D]
        side_by_side = update.movedim(0, 1).flatten(1)  # [N, K D]
        if self.joined is None:
            return instances + side_by_side
        return torch.relu(instances + self.joined(side_by_side))


def in_subgraphs(features: Tensor, subgraphs: int) -> Tensor:
    """Features (N, K D) of each subgraph: (K, N, D)."""
    return features.reshape(len(features), subgraphs, -1).movedim(1, 0)


def new_update(subgraphs: int, narrow: int) -> nn.Parameter:
    """W_u of each subgraph, (K, D, D), as a linear layer begins."""
    bound = narrow**-0.5
    return nn.Parameter(torch.empty(subgraphs, narrow, narrow).uniform_(-bound, bound))


def start_small(layer: nn.Module) -> None:
    """Weights as the public code begins with."""
    if isinstance(layer, nn.Linear | nn.Conv2d):
        nn.init.normal_(layer.weight, std=RELEASED_DEVIATION)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
