"""Image classifier for class activation maps (CAM), as in PSA: what A2GNN's seeds start from.

Global average pooling over the deepest features, then a linear layer without bias; so the layer,
applied to every cell, is a map of the evidence for each category.

CAM: https://arxiv.org/abs/1512.04150. PSA: https://arxiv.org/abs/1803.10464.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones import Backbone, build_backbone, cell_features
from models.seam import SeamClassifier


class CamClassifier(nn.Module):
    """Backbone, channel dropout and a 1x1 convolution without bias."""

    def __init__(self, backbone: Backbone, categories: int, *, dropout: float = 0.5) -> None:
        """Put a new classifier for `categories` categories on a backbone."""
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(backbone.channels[2], categories, 1, bias=False)
        nn.init.xavier_uniform_(self.head.weight)

    def forward(self, images: Tensor) -> Tensor:
        """RGB in [0, 1] (B, 3, H, W) -> logits (B, categories)."""
        return self.logits(images)

    def logits(self, images: Tensor) -> Tensor:
        """RGB in [0, 1] (B, 3, H, W) -> logits (B, categories): the means of the class maps."""
        features = self.dropout(self.backbone(images)[2])  # [B, D, h, w]
        return self.head(features.mean((2, 3), keepdim=True)).flatten(1)  # type: ignore[no-any-return]

    def class_maps(self, images: Tensor) -> Tensor:
        """RGB in [0, 1] (B, 3, H, W) -> evidence of any sign on the cells of the image.

        Returns:
            (B, categories, ceil(H / s), ceil(W / s)); cells as in `cell_features`.
        """
        return self.head(self.dropout(cell_features(self.backbone, images)[2]))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class ClassifierSpec:
    """What a classifier is made of.

    Attributes:
        method: "cam", `CamClassifier`; "seam", `models.seam.SeamClassifier`.
        backbone: a name of models.backbones.
        width: channel multiplier.
        output_stride: pixels per feature. Dilation changes where the kernels look, not the
            weights: they serve at either stride.
        categories: the label value of each logit, ascending.
    """

    method: Literal["cam", "seam"]
    backbone: str
    width: float
    output_stride: int
    categories: tuple[int, ...]

    def build(self, *, dropout: float = 0.5) -> CamClassifier | SeamClassifier:
        """The network with random weights; raises as `build_backbone`."""
        built = build_backbone(self.backbone, output_stride=self.output_stride, width=self.width)
        network = CamClassifier if self.method == "cam" else SeamClassifier
        return network(built, len(self.categories), dropout=dropout)


def tag_loss(logits: Tensor, tags: Tensor) -> Tensor:
    """Multi-label soft-margin loss, the mean over images and categories.

    Args:
        logits: (B, C).
        tags: 1 where the category is in the image, else 0; float (B, C).
    """
    return F.multilabel_soft_margin_loss(logits, tags)


def tag_average_precision(logits: Tensor, tags: Tensor) -> float:
    """Average precision of each category's ranking of the images, the mean over categories.

    Args:
        logits: (images, C).
        tags: 1 or 0, (images, C). A category that no image has does not count.

    Returns:
        In [0, 1]; nan when no image has a tag.
    """
    order = logits.argsort(dim=0, descending=True, stable=True)
    hits = tags.gather(0, order).double()
    ranks = torch.arange(1, len(hits) + 1, dtype=torch.float64, device=hits.device)[:, None]
    precision = hits.cumsum(0) / ranks
    return float(((precision * hits).sum(0) / hits.sum(0)).nanmean())
