"""CGCNet: a detector of objects of whatever class whose mask branch sees the whole image.

For each proposal the branch sees the feature map of the image with the other objects taken out
(GFR); LFR, RoIMasking and RoIAlign are what the paper compares it with (table II).

CGCNet: https://arxiv.org/abs/2008.09246.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Gt, Le
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes
from torchvision.ops import MultiScaleRoIAlign, box_iou

from models.cgcnet.refining import (
    LFR_MARGIN,
    cell_boxes,
    global_cells,
    inside_boxes,
    kept_features,
    local_cells,
    rivals,
    ternary_cells,
)
from models.cgcnet.updating import divergence
from models.detection import (
    LEVELS,
    Detection,
    DetectorSizes,
    FeatureLevels,
    Targets,
    as_dicts,
    box_heads,
    build_levels,
    exact_levels,
    named_losses,
    padded,
    region_proposals,
)

Levels = OrderedDict[str, Tensor]
Refining = Literal["gfr", "lfr", "roimasking", "roialign"]
#: Proposals whose maps are held at once.
AT_ONCE = 4
#: Side of the mask branch's RoIs with RoIAlign; masks are twice as wide.
ALIGNED_SIDE = 14


@dataclass(frozen=True)
class MaskBranch:
    """How masks are made, described in params.yaml; a stage checks the ranges.

    Attributes:
        refining: what the branch sees of the map.
        mask_stride: pixels per cell of the map it sees; not of RoIAlign, which takes any level.
        mask_channels: of its convolutions.
        mask_rois: per image at most, in training.
        rival_overlap: a box that overlaps by this IoU or more is the same object.
        rival_score: a detection below this takes nothing out of the others' maps.
    """

    refining: Refining
    mask_stride: Literal[4, 8]
    mask_channels: Annotated[int, Gt(0)]
    mask_rois: Annotated[int, Gt(0)]
    rival_overlap: Annotated[float, Gt(0), Le(1)]
    rival_score: Annotated[float, Gt(0), Le(1)]


class CGCNet(nn.Module):
    """Feature levels, region proposals, box heads of one class, and the mask branch.

    Attributes:
        levels: with the backbone.
        proposals: where objects may be.
        heads: whether they are, and their boxes.
        masks: four convolutions, a dilated one, and the logits.
    """

    def __init__(self, levels: FeatureLevels, sizes: DetectorSizes, branch: MaskBranch) -> None:
        """New heads on `levels`."""
        super().__init__()
        self.levels = levels
        self.proposals = region_proposals(sizes)
        self.heads = box_heads(sizes, 2)
        self.branch = branch
        self.overlap = sizes.overlap
        self.aligned = MultiScaleRoIAlign(list(LEVELS), ALIGNED_SIDE, 2)
        self.masks = mask_layers(sizes.pyramid, branch.mask_channels)

    def forward(self, images: Tensor, targets: Sequence[Targets]) -> dict[str, Tensor]:
        """The loss terms of RGB in [0, 1] (B, 3, H, W) with the objects of each image.

        Those of Mask R-CNN, and "update", -K1 of eq. 9, whose other half has no gradient.
        """
        batch, objects = padded(images), as_dicts(targets)
        levels = exact_levels(self.levels, batch.tensors)
        with torch.autocast(images.device.type, enabled=False):
            proposals, first = self.proposals(batch, levels, objects)
            # the heads sample from lists that they change
            _, second = self.heads(levels, list(proposals), batch.image_sizes, objects)
        terms = [
            self._mask_terms(self._of_image(levels, index), batch, one, boxes)
            for index, (one, boxes) in enumerate(zip(targets, proposals, strict=True))
            if len(one.labels)
        ]
        zero = next(self.masks.parameters()).sum() * 0
        masks, update = (
            torch.stack(parts).mean() for parts in zip(*(terms or [(zero, zero)]), strict=True)
        )
        return named_losses(first | second) | {"masks": masks, "update": update}

    @torch.inference_mode()
    def detect(self, image: Tensor) -> Detection:
        """The objects of RGB in [0, 1] (3, H, W), all of class 1; in eval mode."""
        batch = padded(image[None])
        levels = exact_levels(self.levels, batch.tensors)
        proposals, _ = self.proposals(batch, levels)
        (found,), _ = self.heads(levels, proposals, batch.image_sizes)
        boxes, scores = found["boxes"], found["scores"]
        sure = torch.where(scores >= self.branch.rival_score)[0]
        own = torch.full((len(boxes),), -1)
        own[sure] = torch.arange(len(sure))
        masks = self._masks(levels, batch, boxes, boxes[sure], own)
        keep = apart(masks > 0.5, self.overlap)
        return Detection(boxes[keep], found["labels"][keep], scores[keep], masks[keep])

    @torch.inference_mode()
    def masks_of(self, image: Tensor, boxes: Tensor) -> Tensor:
        """Probabilities (N, H, W) of the objects of given boxes (N, 4); in eval mode."""
        batch = padded(image[None])
        levels = exact_levels(self.levels, batch.tensors)
        return self._masks(levels, batch, boxes, boxes, torch.arange(len(boxes)))

    def _of_image(self, levels: Levels, index: int) -> Levels:
        return OrderedDict((name, level[index : index + 1]) for name, level in levels.items())

    def _mask_terms(
        self, levels: Levels, batch: ImageList, targets: Targets, proposals: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean cross entropy (eq. 8) and update loss of the masks of one image."""
        boxes, own = chosen_rois(proposals, targets.boxes.float(), self.branch.mask_rois)
        truth = targets.masks.float()
        if self.branch.refining == "roialign":
            logits = self._aligned_logits(levels, boxes, batch.image_sizes[:1])
            aims = project_masks_on_boxes(truth, boxes, own, logits.shape[-1])
            term = F.binary_cross_entropy_with_logits(logits, aims)
            return term, -divergence(logits.sigmoid(), aims).mean()
        seen = self._seen_cells(levels, boxes, targets.boxes.float(), own)
        margin = (boxes[:, 2:] - boxes[:, :2]) * LFR_MARGIN
        wider = torch.cat([boxes[:, :2] - margin, boxes[:, 2:] + margin], dim=1)
        size = truth.shape[1], truth.shape[2]
        window = inside_boxes(cell_boxes(wider, size, 1), size)
        features = self._map(levels)
        terms = [
            checkpoint(
                self._pixel_terms, features, seen[rows], truth[own[rows]], window[rows],
                use_reentrant=False,
            )
            for rows in torch.split(torch.arange(len(boxes), device=boxes.device), AT_ONCE)
        ]  # fmt: skip
        entropy, kept, total = (torch.stack(parts).sum() for parts in zip(*terms, strict=True))
        return entropy / total, -kept / len(boxes)

    def _pixel_terms(
        self, features: Tensor, seen: Tensor, truth: Tensor, window: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sums of the cross entropy in the windows, of K1, and the number of pixels.

        # differs from the paper, which takes all pixels of the image: nearly all are far away.
        """
        size = truth.shape[1], truth.shape[2]
        logits = self._logits(features, seen, size)
        losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        return (
            (losses * window).sum(),
            divergence(logits.sigmoid(), truth).sum(),
            window.sum(),
        )

    def _masks(
        self, levels: Levels, batch: ImageList, boxes: Tensor, others: Tensor, own: Tensor
    ) -> Tensor:
        """Probabilities (N, H, W), 0 outside of each box."""
        size = batch.image_sizes[0]
        if not len(boxes):
            return boxes.new_zeros(0, *size)
        if self.branch.refining == "roialign":
            shares = self._aligned_logits(levels, boxes, [size]).sigmoid()
            pasted: Tensor = paste_masks_in_image(shares[:, None], boxes, size)[:, 0]
            return pasted
        seen = self._seen_cells(levels, boxes, others, own)
        features = self._map(levels)
        parts = torch.split(seen, AT_ONCE)
        logits = torch.cat([self._logits(features, part, size) for part in parts])
        return logits.sigmoid() * inside_boxes(cell_boxes(boxes, size, 1), size)

    def _map(self, levels: Levels) -> Tensor:
        return levels[str(self.branch.mask_stride)][0]

    def _seen_cells(self, levels: Levels, boxes: Tensor, others: Tensor, own: Tensor) -> Tensor:
        """Which cells of the map the branch sees for each box: bool, or RoIMasking's signs."""
        stride = self.branch.mask_stride
        size = self._map(levels).shape[-2], self._map(levels).shape[-1]
        cells = cell_boxes(boxes, size, stride)
        if self.branch.refining == "roimasking":
            return ternary_cells(cells, size)
        other = inside_boxes(cell_boxes(others, size, stride), size)
        is_rival = rivals(boxes, others, own, self.branch.rival_overlap)
        kept = global_cells(inside_boxes(cells, size), other, is_rival)
        return local_cells(kept, boxes, stride) if self.branch.refining == "lfr" else kept

    def _logits(self, features: Tensor, seen: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits of pixels (N, H, W) from a map (C, h, w) and what is seen of it (N, h, w)."""
        if seen.dtype == torch.bool:
            maps = kept_features(features, seen)
        else:
            maps = features * seen[:, None]
        return cells_to_image(self.masks(maps).float(), self.branch.mask_stride, size)[:, 0]

    def _aligned_logits(
        self, levels: Levels, boxes: Tensor, size: Sequence[tuple[int, int]]
    ) -> Tensor:
        pooled = self.aligned(levels, [boxes], list(size))
        logits = self.masks(pooled).float()
        return F.interpolate(logits, scale_factor=2.0, mode="bilinear")[:, 0]


def mask_layers(inputs: int, channels: int) -> nn.Sequential:
    """Four 3x3 convolutions, one dilated by 2, and a logit, all at the map's own resolution."""
    layers: list[nn.Module] = []
    for index in range(5):
        rate = 2 if index == 4 else 1
        width = inputs if index == 0 else channels
        layers += [nn.Conv2d(width, channels, 3, padding=rate, dilation=rate), nn.ReLU()]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return nn.Sequential(*layers, nn.Conv2d(channels, 1, 1))


def cells_to_image(cells: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Bilinear between cells whose features stand for pixels 0, s, 2 s, ...: (N, 1, H, W)."""
    wider = F.pad(cells, (0, 1, 0, 1), mode="replicate")
    pixels = F.interpolate(wider, scale_factor=float(stride), mode="bilinear")
    shift = stride // 2
    return pixels[..., shift : shift + size[0], shift : shift + size[1]]


def chosen_rois(proposals: Tensor, boxes: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The boxes of the objects, and proposals that are one of them, at most so many, at random.

    Args:
        proposals: (P, 4).
        boxes: (N, 4), at least one.
        most: how many in all; where there are more objects, only some of them.

    Returns:
        (R, 4), and the object of each, int64 (R).
    """
    best, own = box_iou(proposals, boxes).max(dim=1)
    near = torch.where(best >= 0.5)[0]
    near = near[torch.randperm(len(near), device=near.device)]
    objects = torch.randperm(len(boxes), device=boxes.device)
    rois, matched = torch.cat([boxes[objects], proposals[near]]), torch.cat([objects, own[near]])
    return rois[:most], matched[:most]


def apart(masks: Tensor, overlap: float) -> Tensor:
    """Indices of the masks (N, H, W), best first, that overlap none kept before by this IoU."""
    flat = masks.flatten(1).float()
    both = flat @ flat.T
    areas = flat.sum(dim=1)
    ious = both / (areas[:, None] + areas - both).clamp(min=1)
    keep: list[int] = []
    for index in range(len(masks)):
        if not any(ious[index, other] > overlap for other in keep):
            keep.append(index)
    return torch.tensor(keep, dtype=torch.int64)


@dataclass(frozen=True)
class CGCNetSpec:
    """What a CGCNet is made of.

    Attributes:
        backbone: a name of models.backbones.
        width: channel multiplier.
        sizes: of the detector.
        branch: of the masks.
    """

    backbone: str
    width: float
    sizes: DetectorSizes
    branch: MaskBranch

    def build(self) -> CGCNet:
        """The network with random weights; raises as `build_levels`."""
        levels = build_levels(self.backbone, self.width, self.sizes.pyramid)
        return CGCNet(levels, self.sizes, self.branch)
