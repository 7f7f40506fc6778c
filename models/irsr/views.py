"""A random view of a whole image with its ranked objects: a crop would move its centre."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from models.detection import Batch, Targets, as_batch
from models.instance_views import LEAST_SIDE
from models.ops.augment import Jitter, jitter_colours


class RankedBatch(NamedTuple):
    """Images of one size with their ranked objects; a loss takes it.

    Attributes:
        objects: with labels 1, 0 in empty places.
        ranks: int64 (B, N), 1 = most salient; 0 in empty places.
        persons: int64 (B, N): 1 a person, 0 none, -1 not known; 0 in empty places.
    """

    objects: Batch
    ranks: Tensor
    persons: Tensor

    def own(self, values: Tensor) -> list[Tensor]:
        """The values (B, N) of each image's objects."""
        return [row[labels > 0] for row, labels in zip(values, self.objects.labels, strict=True)]


class RankedView(NamedTuple):
    """A view: RGB in [0, 1] (3, H, W), its objects, and the ranks and persons of these (N)."""

    image: Tensor
    targets: Targets
    ranks: Tensor
    persons: Tensor


def ranked_view(
    image: Tensor,
    targets: Targets,
    ranks: Tensor,
    persons: Tensor,
    *,
    size: tuple[int, int],
    jitter: Jitter,
    generator: torch.Generator,
) -> RankedView:
    """Bring an image and its objects to `size`, mirror and recolour it at random.

    Args:
        image: uint8 RGB (3, H, W).
        targets: its objects.
        ranks: of them, (N).
        persons: whether they are, (N).
        size: (H, W) of the view.
        jitter: of the colours.
        generator: the only source of randomness; five draws.

    Returns:
        Those objects whose boxes are still some pixels wide.
    """
    draws = torch.rand(5, generator=generator).tolist()
    factors = image.new_tensor([size[1], size[0]], dtype=torch.float32) / torch.tensor(
        [image.shape[-1], image.shape[-2]]
    )
    nearest = InterpolationMode.NEAREST_EXACT
    view = TF.resize(image, list(size), antialias=True)
    masks = TF.resize(targets.masks, list(size), interpolation=nearest)
    boxes = targets.boxes * factors.repeat(2)
    if draws[0] < 0.5:
        view, masks = view.flip(-1), masks.flip(-1)
        boxes = torch.stack(
            [size[1] - boxes[:, 2], boxes[:, 1], size[1] - boxes[:, 0], boxes[:, 3]], dim=1
        )
    view = jitter_colours(TF.to_dtype(view, torch.float32, scale=True), jitter, draws[1:])
    keep = (boxes[:, 2:] - boxes[:, :2] >= LEAST_SIDE).all(dim=1)
    kept = Targets(boxes[keep], targets.labels[keep], masks[keep])
    return RankedView(view, kept, ranks[keep], persons[keep])


def as_ranked_batch(views: Sequence[RankedView]) -> RankedBatch:
    """Stack views of one size."""
    objects = as_batch([view.image for view in views], [view.targets for view in views])
    ranks, persons = (torch.zeros_like(objects.labels) for _ in range(2))
    for row, view in enumerate(views):
        ranks[row, : len(view.ranks)] = view.ranks
        persons[row, : len(view.persons)] = view.persons
    return RankedBatch(objects, ranks, persons)
