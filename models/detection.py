"""What finds objects: a feature pyramid on any backbone, region proposals, box heads.

torchvision's detection parts (Faster R-CNN on FPN), sized for small images and data sets; what
makes masks of the boxes is added by those who use it.

FPN: https://arxiv.org/abs/1612.03144. Faster R-CNN: https://arxiv.org/abs/1506.01497.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from models.backbones import build_backbone
from models.ops.grid import grid_size
from models.pyramid import Pyramid

#: Strides of the levels that RoIs are taken of, and of the one more that proposals are made on.
STRIDES = (4, 8, 16, 32)
LEVELS = tuple(str(stride) for stride in STRIDES)
#: A class below this score is never a detection.
LEAST_SCORE = 0.05
LOSSES = {
    "loss_objectness": "proposals",
    "loss_rpn_box_reg": "proposal_boxes",
    "loss_classifier": "classes",
    "loss_box_reg": "boxes",
    "loss_mask": "masks",
}


@dataclass(frozen=True)
class DetectorSizes:
    """Numbers of a detector, described in params.yaml; a stage checks the ranges.

    Attributes:
        pyramid: channels of each level.
        hidden: features of the box head.
        anchor: side of the anchors of the finest level, pixels; each next level doubles it.
        proposals: at most so many RoIs per image, after their suppression at IoU 0.7.
        sampled: so many of them are trained on per image, a quarter of them objects.
        detections: at most so many per image.
        overlap: IoU above which the less likely of two boxes of a class is dropped.
    """

    pyramid: Annotated[int, Gt(0)]
    hidden: Annotated[int, Gt(0)]
    anchor: Annotated[int, Gt(0)]
    proposals: Annotated[int, Gt(0)]
    sampled: Annotated[int, Ge(4)]
    detections: Annotated[int, Gt(0)]
    overlap: Annotated[float, Gt(0), Le(1)]


class Targets(NamedTuple):
    """The objects of one image.

    Attributes:
        boxes: float (N, 4), pixels, half open.
        labels: int64 (N), 1 or more.
        masks: uint8 (N, H, W), 0 or 1.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor


class Detection(NamedTuple):
    """What was found in one image, most likely first.

    Attributes:
        boxes: float (N, 4), pixels, half open, inside the image.
        labels: int64 (N), 1 or more.
        scores: float (N), in [0, 1].
        masks: float (N, H, W), probability of the object.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    masks: Tensor


class Batch(NamedTuple):
    """Images of one size with as many places for objects as the fullest has; a loss takes it.

    Attributes:
        images: RGB in [0, 1], (B, 3, H, W).
        boxes: int64 (B, N, 4), whole pixels: what rounds floats to bfloat16 leaves them alone.
        labels: int64 (B, N); 0 is an empty place.
        masks: uint8 (B, N, H, W).
    """

    images: Tensor
    boxes: Tensor
    labels: Tensor
    masks: Tensor

    def targets(self) -> list[Targets]:
        """The objects image by image."""
        each = zip(self.boxes, self.labels, self.masks, strict=True)
        return [
            Targets(boxes[own > 0].float(), own[own > 0], masks[own > 0])
            for boxes, own, masks in each
        ]


def as_batch(images: Sequence[Tensor], targets: Sequence[Targets]) -> Batch:
    """Stack images (3, H, W) of one size with their objects."""
    places = max(len(one.labels) for one in targets)

    def filled(parts: Sequence[Tensor]) -> Tensor:
        blank = [part.new_zeros(places - len(part), *part.shape[1:]) for part in parts]
        return torch.stack([torch.cat(pair) for pair in zip(parts, blank, strict=True)])

    boxes, labels, masks = map(filled, zip(*targets, strict=True))
    return Batch(torch.stack(list(images)), boxes.round().to(torch.int64), labels, masks)


class FeatureLevels(nn.Module):
    """A backbone's maps at strides 4 to 32 with the same number of channels, and one at 64.

    Attributes:
        pyramid: the backbone with its shallow maps.
        levels: joins them.
    """

    def __init__(self, pyramid: Pyramid, channels: int) -> None:
        """New levels on `pyramid`.

        Raises:
            ValueError: it has no maps at these strides.
        """
        super().__init__()
        if pyramid.strides[1:] != STRIDES:
            raise ValueError(
                f"backbone: expected maps at strides {STRIDES}, got {pyramid.strides[1:]}"
            )
        self.pyramid = pyramid
        inputs = list(pyramid.channels[1:])
        self.levels = FeaturePyramidNetwork(inputs, channels, extra_blocks=LastLevelMaxPool())

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """RGB in [0, 1] (B, 3, H, W), H and W multiples of 32 -> levels "4" to "32", and "pool".

        Feature (i, j) of stride s stands for pixel (i s, j s), as RoIAlign takes it.
        """
        return self.joined(self.maps(images))

    def maps(self, images: Tensor) -> list[Tensor]:
        """The backbone's own maps at strides 4 to 32, each with its own channels."""
        maps: list[Tensor] = self.pyramid(images)[1:]
        return maps

    def joined(self, maps: Sequence[Tensor]) -> "OrderedDict[str, Tensor]":
        """The levels of `maps`."""
        levels: OrderedDict[str, Tensor] = self.levels(OrderedDict(zip(LEVELS, maps, strict=True)))
        return levels


def build_levels(backbone: str, width: float, channels: int) -> FeatureLevels:
    """Levels on a backbone with random weights.

    Raises:
        ValueError: as `build_backbone`; resnet38d has no stride but 8.
    """
    body = build_backbone(backbone, output_stride=32, width=width)
    return FeatureLevels(Pyramid(body, backbone), channels)


def region_proposals(sizes: DetectorSizes) -> RegionProposalNetwork:
    """Where objects may be: one anchor size per level, three shapes."""
    levels = range(len(STRIDES) + 1)
    anchors = AnchorGenerator(
        tuple((sizes.anchor * 2**level,) for level in levels), ((0.5, 1.0, 2.0),) * len(levels)
    )
    before = {"training": 4 * sizes.proposals, "testing": 4 * sizes.proposals}
    after = {"training": sizes.proposals, "testing": sizes.proposals}
    head = RPNHead(sizes.pyramid, 3)
    return RegionProposalNetwork(
        anchors, head, 0.7, 0.3, 4 * sizes.sampled, 0.5, before, after, 0.7
    )


def box_heads(sizes: DetectorSizes, classes: int) -> RoIHeads:
    """Class and box of each RoI; without masks."""
    pool = MultiScaleRoIAlign(list(LEVELS), 7, 2)
    head = TwoMLPHead(sizes.pyramid * 7 * 7, sizes.hidden)
    predictor = FastRCNNPredictor(sizes.hidden, classes)
    return RoIHeads(
        pool, head, predictor, 0.5, 0.5, sizes.sampled, 0.25, None,
        LEAST_SCORE, sizes.overlap, sizes.detections,
    )  # fmt: skip


def padded(images: Tensor) -> ImageList:
    """A batch (B, 3, H, W) with its last pixels repeated up to multiples of 32."""
    height, width = images.shape[-2:]
    rows, columns = grid_size((height, width), STRIDES[-1])
    below, right = STRIDES[-1] * rows - height, STRIDES[-1] * columns - width
    wider = F.pad(images, (0, right, 0, below), mode="replicate")
    return ImageList(wider, [(height, width)] * len(images))


def exact_levels(levels: FeatureLevels, images: Tensor) -> "OrderedDict[str, Tensor]":
    """The levels as float32: coordinates of boxes are computed in the type of the features."""
    return OrderedDict((name, level.float()) for name, level in levels(images).items())


def as_dicts(targets: Sequence[Targets]) -> list[dict[str, Tensor]]:
    """As torchvision's parts want them."""
    return [
        {"boxes": one.boxes.float(), "labels": one.labels, "masks": one.masks} for one in targets
    ]


def named_losses(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Torchvision's terms under our names."""
    return {LOSSES[name]: value for name, value in terms.items()}
