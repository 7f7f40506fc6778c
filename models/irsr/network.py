"""IRSR: a Mask R-CNN of salient instances that ranks what it finds (sections 4.1 and 4.2).

IRSR: https://arxiv.org/abs/2107.03824.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import (
    fastrcnn_loss,
    paste_masks_in_image,
    project_masks_on_boxes,
)
from torchvision.ops import MultiScaleRoIAlign, clip_boxes_to_image
from torchvision.transforms.v2 import functional as TF

from models.detection import (
    LEVELS,
    Detection,
    DetectorSizes,
    FeatureLevels,
    Targets,
    as_dicts,
    box_heads,
    build_levels,
    named_losses,
    padded,
    region_proposals,
)
from models.irsr.branch import Ranking, RankingBranch
from models.irsr.parts import MAP_STRIDE, BottomUpPath, FusedMasks, RankingMap
from models.ops.grid import grid_size

Levels = OrderedDict[str, Tensor]
#: Side of the mask branch's RoIs; masks are twice as wide.
MASK_SIDE = 14
BOX_SIDE = 7
#: Whether an object of no known class is a person is not asked.
UNKNOWN_PERSON = -1


class RankingNetwork(nn.Module):
    """Feature levels, region proposals, heads for box, mask and person, and the ranking branch.

    Attributes:
        size: (H, W) that every image is brought to.
        levels: with the backbone.
        path: from fine to coarse.
        proposals: where objects may be.
        heads: whether they are salient instances, and their boxes.
        masks: of boxes.
        person: features of the person head, which tell a person from all else.
        is_person: its logits.
        map: what instances are ranked on.
        branch: ranks them.
    """

    def __init__(
        self,
        levels: FeatureLevels,
        size: tuple[int, int],
        sizes: DetectorSizes,
        ranking: Ranking,
    ) -> None:
        """New heads on `levels`; raises as `FusedMasks` and `RankingBranch`."""
        super().__init__()
        self.size, self.variant = size, ranking.variant
        self.levels = levels
        self.path = BottomUpPath(sizes.pyramid)
        self.proposals = region_proposals(sizes)
        self.heads = box_heads(sizes, 2)
        self.mask_pool = MultiScaleRoIAlign(list(LEVELS), MASK_SIDE, 2)
        self.masks = FusedMasks(sizes.pyramid, MASK_SIDE)
        self.person = TwoMLPHead(sizes.pyramid * BOX_SIDE**2, sizes.hidden)
        self.is_person = nn.Linear(sizes.hidden, 2)
        self.map = RankingMap(levels.pyramid.channels[1:], sizes.pyramid, ranking.variant)
        self.branch = RankingBranch(sizes.pyramid, sizes.hidden, ranking)

    def forward(
        self,
        images: Tensor,
        targets: Sequence[Targets],
        ranks: Sequence[Tensor],
        persons: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """The loss terms of RGB in [0, 1] (B, 3, H, W) with the objects of each image.

        Args:
            images: brought to `size`.
            targets: of class 1, all of them.
            ranks: int64 (N) each, 1 = most salient.
            persons: int64 (N) each: 1 a person, 0 none, -1 not known.

        Returns:
            Those of Mask R-CNN, "persons" and "ranking".
        """
        batch, objects = padded(images), as_dicts(targets)
        levels, features = self._seen(batch)
        with torch.autocast(images.device.type, enabled=False):
            proposals, first = self.proposals(batch, levels, objects)
            second = self._head_terms(levels, batch, proposals, targets, persons)
            boxes = [one.boxes.float() for one in targets]
            known = torch.split(self._persons(levels, batch, boxes), list(map(len, boxes)))
            terms = [
                self.branch.term(
                    self.branch(features[index], boxes[index], known[index], image), ranks[index]
                )
                for index, image in enumerate(batch.image_sizes)
                if len(boxes[index])
            ]
        ranking = torch.stack(terms).mean() if terms else features.sum() * 0
        return named_losses(first) | second | {"ranking": ranking}

    @torch.inference_mode()
    def detect(self, image: Tensor, least_score: float) -> tuple[Detection, Tensor]:
        """The salient instances of RGB in [0, 1] (3, H, W) and their saliency; in eval mode.

        Args:
            image: of any size.
            least_score: detections below are left out: before they are ranked, as the paper says,
                or after it, as the public code does.

        Returns:
            The objects, most likely first, all of class 1, and (N), the larger the more salient.
        """
        batch, levels, features, scale = self._looked_at(image)
        proposals, _ = self.proposals(batch, levels)
        (found,), _ = self.heads(levels, proposals, batch.image_sizes)
        sure = found["scores"] >= least_score
        boxes = found["boxes"]
        if self.variant == "released":
            saliency = self._saliency(levels, batch, features, boxes)[sure]
        boxes = boxes[sure]
        if self.variant == "paper":
            saliency = self._saliency(levels, batch, features, boxes)
        height, width = image.shape[-2:]
        shares = self._mask_logits(levels, batch, [boxes]).sigmoid()
        placed = boxes * scale
        masks = paste_masks_in_image(shares[:, None], placed, (height, width))[:, 0]
        return Detection(placed, found["labels"][sure], found["scores"][sure], masks), saliency

    @torch.inference_mode()
    def saliency(self, image: Tensor, boxes: Tensor) -> Tensor:
        """The saliency (N) of given boxes (N, 4) of RGB in [0, 1] (3, H, W); in eval mode."""
        batch, levels, features, scale = self._looked_at(image)
        return self._saliency(levels, batch, features, boxes / scale)

    def _looked_at(self, image: Tensor) -> tuple[ImageList, Levels, Tensor, Tensor]:
        """A batch of one, its levels and map, and what makes its pixels those of the image."""
        height, width = image.shape[-2:]
        batch = padded(TF.resize(image, list(self.size), antialias=True)[None])
        scale = image.new_tensor([width / self.size[1], height / self.size[0]]).repeat(2)
        return batch, *self._seen(batch), scale

    def _seen(self, batch: ImageList) -> tuple[Levels, Tensor]:
        """Levels of a padded batch, and F of what is no padding, in float32 as boxes are."""
        maps = self.levels.maps(batch.tensors)
        levels = self.path(self.levels.joined(maps))
        rows, columns = grid_size(batch.image_sizes[0], MAP_STRIDE)
        features = self.map(maps)[..., :rows, :columns].float()
        return OrderedDict((name, level.float()) for name, level in levels.items()), features

    def _head_terms(
        self,
        levels: Levels,
        batch: ImageList,
        proposals: Sequence[Tensor],
        targets: Sequence[Targets],
        persons: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """The terms of the box, person and mask heads, of some of the proposals."""
        rois, own, labels, aims = self.heads.select_training_samples(
            list(proposals), as_dicts(targets)
        )
        pooled = self.heads.box_roi_pool(levels, rois, batch.image_sizes)
        logits, deltas = self.heads.box_predictor(self.heads.box_head(pooled))
        classes, boxes = fastrcnn_loss(logits, deltas, labels, aims)
        parts = zip(labels, own, persons, strict=True)
        asked = [
            torch.where(label > 0, person[each], 0) if len(person) else torch.zeros_like(label)
            for label, each, person in parts
        ]
        found = [label > 0 for label in labels]
        with torch.no_grad():  # masks learn on the boxes as the box head leaves them
            refined = torch.split(
                self.heads.box_coder.decode(deltas, rois)[:, 1], list(map(len, rois))
            )
            sure = [
                clip_boxes_to_image(each[is_object], size)
                for each, is_object, size in zip(refined, found, batch.image_sizes, strict=True)
            ]
        truths = [
            project_masks_on_boxes(one.masks.float(), each, index[is_object], 2 * MASK_SIDE)
            for one, each, index, is_object in zip(targets, sure, own, found, strict=True)
            if len(each)
        ]
        terms = {"masks": deltas.sum() * 0}
        if truths:
            drawn = self._mask_logits(levels, batch, sure)
            terms["masks"] = F.binary_cross_entropy_with_logits(drawn, torch.cat(truths))
        return named_losses({"loss_classifier": classes, "loss_box_reg": boxes}) | {
            **terms,
            "persons": known_cross_entropy(self.is_person(self.person(pooled)), torch.cat(asked)),
        }

    def _saliency(
        self, levels: Levels, batch: ImageList, features: Tensor, boxes: Tensor
    ) -> Tensor:
        if not len(boxes):
            return boxes.new_zeros(0)
        persons = self._persons(levels, batch, [boxes])
        outputs = self.branch(features[0], boxes, persons, batch.image_sizes[0])
        return self.branch.scores(outputs)

    def _persons(self, levels: Levels, batch: ImageList, boxes: list[Tensor]) -> Tensor:
        """Features of the person head, (all boxes, hidden)."""
        features: Tensor = self.person(self.heads.box_roi_pool(levels, boxes, batch.image_sizes))
        return features

    def _mask_logits(self, levels: Levels, batch: ImageList, boxes: list[Tensor]) -> Tensor:
        """(All boxes, 28, 28)."""
        logits: Tensor = self.masks(self.mask_pool(levels, boxes, batch.image_sizes))
        return logits


def known_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over those that are known; 0 if none is."""
    count = (labels != UNKNOWN_PERSON).sum().clamp(min=1)
    return F.cross_entropy(logits, labels, ignore_index=UNKNOWN_PERSON, reduction="sum") / count


@dataclass(frozen=True)
class RankingSpec:
    """What an IRSR network is made of.

    Attributes:
        backbone: a name of models.backbones.
        width: channel multiplier.
        size: (H, W) that every image is brought to.
        sizes: of the detector.
        ranking: of the branch.
    """

    backbone: str
    width: float
    size: tuple[int, int]
    sizes: DetectorSizes
    ranking: Ranking

    def build(self) -> RankingNetwork:
        """The network with random weights; raises as `build_levels` and `RankingNetwork`."""
        levels = build_levels(self.backbone, self.width, self.sizes.pyramid)
        return RankingNetwork(levels, self.size, self.sizes, self.ranking)
