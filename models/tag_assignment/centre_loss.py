"""Classification with a centre loss on cosines (Fan et al. 2018, eq. 3 and 4)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CentreClassifier(nn.Module):
    """A feature network with a classifier, and a centre per class that follows its features.

    Attributes:
        centres: (C, D), of no gradient; of a class that was never seen 0.
        seen: bool (C,).
    """

    centres: Tensor
    seen: Tensor

    def __init__(
        self, network: nn.Module, channels: int, classes: int, *, weight: float, rate: float
    ) -> None:
        """Put a new classifier on a network.

        Args:
            network: images (B, 3, H, W) -> features (B, D).
            channels: D.
            classes: C.
            weight: lambda of eq. 3. Paper: 1e-3.
            rate: alpha of eq. 4. Paper: 0.5.
        """
        super().__init__()
        self.network = network
        self.head = nn.Linear(channels, classes)
        self.register_buffer("centres", torch.zeros(classes, channels))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))
        self._weight, self._rate = weight, rate

    def forward(self, images: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """The two terms of eq. 3, lambda in the second; in training the centres move on afterwards.

        Args:
            images: RGB in [0, 1], (B, 3, H, W).
            labels: int64 (B,), 0..C-1.
        """
        features = self.network(images)
        classes = F.cross_entropy(self.head(features), labels)
        features = features.float()
        self._begin(features.detach(), labels)
        centre = centre_loss(features, self.centres, labels)
        if self.training:
            with torch.no_grad():
                self.centres.copy_(
                    moved_centres(self.centres, features.detach(), labels, self._rate)
                )
        return {"classes": classes, "centre": self._weight * centre}

    def _begin(self, features: Tensor, labels: Tensor) -> None:
        """A class's first feature is its first centre: from 0 no cosine is defined."""
        for feature, label in zip(features, labels.tolist(), strict=True):
            if self.training and not self.seen[label]:
                self.centres[label], self.seen[label] = feature, True


def centre_loss(features: Tensor, centres: Tensor, labels: Tensor) -> Tensor:
    """1 - cos of each feature and the centre of its class, the mean over samples (eq. 3).

    Args:
        features: (B, D).
        centres: (C, D); no gradient reaches them.
        labels: int64 (B,).
    """
    return 1 - F.cosine_similarity(features, centres.detach()[labels]).mean()


def moved_centres(centres: Tensor, features: Tensor, labels: Tensor, rate: float) -> Tensor:
    """Eq. 4, sample after sample: each centre goes this part of the way to its sample's feature.

    Args:
        centres: (C, D).
        features: (B, D).
        labels: int64 (B,).
        rate: alpha, in [0, 1].
    """
    moved = centres.clone()
    for feature, label in zip(features, labels.tolist(), strict=True):
        moved[label] += rate * (feature - moved[label])
    return moved
