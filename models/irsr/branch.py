"""The branch that scores the instances of an image, given their boxes (IRSR 4.2).

IRSR: https://arxiv.org/abs/2107.03824.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.ops import roi_align

from models.irsr.graphs import Cue, GraphReasoning, Variant, enlarged
from models.irsr.losses import classified_scores, rank_cross_entropy, ranking_loss
from models.irsr.parts import MAP_STRIDE

#: Cells along a side of an instance's features.
ROI_SIDE = 7


@dataclass(frozen=True)
class Ranking:
    """How instances are ranked, described in params.yaml; a stage checks the ranges.

    Attributes:
        variant: see models.irsr.graphs.
        reasoning: by graphs, or by two layers on all features side by side (the baselines).
        cues: what is known besides the instance's own feature; of graphs, which there are.
        subgraphs: K.
        global_nodes: M, cells of the image along a side.
        position: where its box lies and how large it is adds to an instance's feature.
        loss: of pairs, or with each rank as a class.
        gamma: of the pairs' weights.
        ranks: classes there are.
    """

    variant: Variant
    reasoning: Literal["graphs", "concatenation"]
    cues: tuple[Cue, ...]
    subgraphs: Annotated[int, Gt(0)]
    global_nodes: Annotated[int, Gt(0)]
    position: bool
    loss: Literal["pairs", "classes"]
    gamma: Annotated[float, Ge(0)]
    ranks: Annotated[int, Gt(1)]


class RankingBranch(nn.Module):
    """Scores of instances from the ranking map, their boxes and the person head.

    Attributes:
        instance: f, of the box.
        local: f_l, of the box at twice the area; None without that cue.
        position: what is added to f of the box itself; None without.
        graphs: None where features are only put side by side.
        fused: f_g, one feature of all cells; only then.
        predictor: the score, or the logits of the ranks.
    """

    def __init__(self, channels: int, width: int, ranking: Ranking) -> None:
        """New layers on a map of `channels`, with features of `width`.

        Raises:
            ValueError: as `GraphReasoning`; or instances are related without a graph.
        """
        super().__init__()
        self.ranking = ranking
        cues, cells = ranking.cues, ranking.global_nodes
        area = channels * ROI_SIDE**2
        self.instance = TwoMLPHead(area, width)
        self.local = TwoMLPHead(area, width) if "local" in cues else None
        self.position = TwoMLPHead(6, width) if ranking.position else None
        outputs = 1 if ranking.loss == "pairs" else ranking.ranks
        self.graphs: GraphReasoning | None = None
        self.fused: nn.Linear | None = None
        if ranking.reasoning == "graphs":
            self.graphs = GraphReasoning(cues, width, channels, ranking.subgraphs, ranking.variant)
            self.predictor: nn.Module = nn.Linear(width, outputs)
            return
        if "relation" in cues:
            raise ValueError("cues: expected no relation without graphs, got relation")
        if "global" in cues:
            self.fused = nn.Linear(channels * cells**2, width)
        self.predictor = nn.Sequential(
            nn.Linear(width * (1 + len(set(cues))), width), nn.ReLU(), nn.Linear(width, outputs)
        )

    def forward(
        self, features: Tensor, boxes: Tensor, persons: Tensor, size: tuple[int, int]
    ) -> Tensor:
        """What the loss takes: (N, 1), or the logits of the ranks (N, R).

        Args:
            features: F of one image, (C, h, w).
            boxes: (N, 4), pixels.
            persons: the person head's features, (N, width).
            size: (H, W) of the image.
        """
        cues = self.ranking.cues
        instances = self.instance(_rois(features, boxes))
        if self.position is not None:
            instances = instances + self.position(places(boxes, size))
        local = instances  # unused where there is none
        if self.local is not None:
            local = self.local(_rois(features, enlarged(boxes, size)))
        cells = F.adaptive_avg_pool2d(features, self.ranking.global_nodes)
        if self.graphs is not None:
            updated = self.graphs(instances, local, cells, persons)
            outputs: Tensor = self.predictor(updated)
            return outputs
        parts = [instances]
        if self.local is not None:
            parts.append(local)
        if self.fused is not None:
            parts.append(torch.relu(self.fused(cells.flatten())).expand(len(boxes), -1))
        if "person" in cues:
            parts.append(persons)
        outputs = self.predictor(torch.cat(parts, dim=1))
        return outputs

    def term(self, outputs: Tensor, ranks: Tensor) -> Tensor:
        """The loss of one image's outputs, given its ranks (N) from 1, the most salient."""
        if self.ranking.loss == "pairs":
            return ranking_loss(outputs[:, 0], ranks, self.ranking.gamma)
        return rank_cross_entropy(outputs, ranks)

    def scores(self, outputs: Tensor) -> Tensor:
        """Saliency (N), the more the larger, from `forward`'s outputs."""
        return outputs[:, 0] if self.ranking.loss == "pairs" else classified_scores(outputs)


def places(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Centre from the image's, its distance, sides and side of the square as large: (N, 6).

    All but the distance as shares of the image's sides; the centre from -1 to 1.
    """
    whole = boxes.new_tensor([size[1], size[0]])
    corners = boxes.view(-1, 2, 2) / whole
    centres, sides = corners.sum(dim=1) - 1, corners[:, 1] - corners[:, 0]
    far, large = centres.norm(dim=1, keepdim=True), sides.prod(dim=1, keepdim=True).sqrt()
    return torch.cat([centres, far, sides, large], dim=1)


def _rois(features: Tensor, boxes: Tensor) -> Tensor:
    pooled: Tensor = roi_align(features[None], [boxes], ROI_SIDE, 1 / MAP_STRIDE, 2)
    return pooled
