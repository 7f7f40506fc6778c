"""Mask R-CNN on any backbone with a pyramid, from torchvision's parts (He et al. 2017).

Class by class, or for whatever class: then every object is of class 1.

Mask R-CNN: https://arxiv.org/abs/1703.06870.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import MultiScaleRoIAlign

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

#: Side of the mask branch's RoIs; masks are twice as wide.
MASK_SIDE = 14
MASK_LAYERS = 2


class MaskRCNN(nn.Module):
    """Feature levels, region proposals, and heads for class, box and mask.

    Attributes:
        levels: with the backbone.
        proposals: where objects may be.
        heads: what they are.
    """

    def __init__(self, levels: FeatureLevels, classes: int, sizes: DetectorSizes) -> None:
        """New heads for `classes` label values (background included) on `levels`."""
        super().__init__()
        self.levels = levels
        self.proposals = region_proposals(sizes)
        self.heads = box_heads(sizes, classes)
        width = sizes.pyramid
        self.heads.mask_roi_pool = MultiScaleRoIAlign(list(LEVELS), MASK_SIDE, 2)
        self.heads.mask_head = MaskRCNNHeads(width, (width,) * MASK_LAYERS, 1)
        self.heads.mask_predictor = MaskRCNNPredictor(width, width, classes)

    def forward(self, images: Tensor, targets: Sequence[Targets]) -> dict[str, Tensor]:
        """The loss terms of RGB in [0, 1] (B, 3, H, W) with the objects of each image."""
        batch, objects = padded(images), as_dicts(targets)
        levels = exact_levels(self.levels, batch.tensors)
        with torch.autocast(images.device.type, enabled=False):
            proposals, first = self.proposals(batch, levels, objects)
            _, second = self.heads(levels, proposals, batch.image_sizes, objects)
        return named_losses(first | second)

    @torch.inference_mode()
    def detect(self, image: Tensor) -> Detection:
        """The objects of RGB in [0, 1] (3, H, W); in eval mode."""
        batch = padded(image[None])
        levels = exact_levels(self.levels, batch.tensors)
        proposals, _ = self.proposals(batch, levels)
        (found,), _ = self.heads(levels, proposals, batch.image_sizes)
        height, width = image.shape[-2:]
        masks = paste_masks_in_image(found["masks"], found["boxes"], (height, width))[:, 0]
        return Detection(found["boxes"], found["labels"], found["scores"], masks)


@dataclass(frozen=True)
class MaskRCNNSpec:
    """What a Mask R-CNN is made of.

    Attributes:
        backbone: a name of models.backbones.
        width: channel multiplier.
        classes: label values, background included; 2 for whatever class.
        any_class: its objects are of no known class.
        sizes: of its parts.
    """

    backbone: str
    width: float
    classes: int
    any_class: bool
    sizes: DetectorSizes

    def build(self) -> MaskRCNN:
        """The network with random weights; raises as `build_levels`."""
        levels = build_levels(self.backbone, self.width, self.sizes.pyramid)
        return MaskRCNN(levels, self.classes, self.sizes)
