"""A random view of an image with the masks and boxes of its objects."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.detection import Targets
from models.ops.augment import Jitter, augment
from models.ops.boxes import pixel_box

#: An object of which less than this is left in a view, pixels along a side of its box, is dropped.
LEAST_SIDE = 3


def instance_view(
    image: Tensor,
    targets: Targets,
    *,
    crop: int,
    factors: tuple[float, float],
    jitter: Jitter,
    generator: torch.Generator,
) -> tuple[Tensor, Targets]:
    """Resize, mirror, crop and recolour an image and its objects at random, as `augment`.

    Args:
        image: uint8 RGB (3, H, W).
        targets: its objects; a box may be wider than its mask, and stays so.
        crop: as `augment` takes it; so are the others.
        factors: of the size.
        jitter: of the colours.
        generator: the only source of randomness.

    Returns:
        float32 RGB in [0, 1] (3, crop, crop), and the objects that are still in it.
    """
    count = len(targets.labels)
    filled = filled_masks(targets.boxes.tolist(), image.shape[-2:])
    layers = torch.cat([targets.masks, filled])  # [2 N, H, W]
    view, layers = augment(
        image, layers, crop=crop, factors=factors, jitter=jitter, generator=generator
    )
    inside = layers == 1  # what was padded is 255
    masks, boxes = inside[:count], mask_boxes(inside[count:])
    sides = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1) if count else boxes.new_zeros(0)
    keep = (sides >= LEAST_SIDE) & masks.flatten(1).any(dim=1)
    return view, Targets(boxes[keep], targets.labels[keep], masks[keep].to(torch.uint8))


def filled_masks(boxes: Sequence[Sequence[float]], size: Sequence[int]) -> Tensor:
    """Each box as a mask: uint8 (N, H, W)."""
    masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
    for mask, box in zip(masks, boxes, strict=True):
        x0, y0, x1, y1 = pixel_box((box[0], box[1], box[2], box[3]), (size[0], size[1]))
        mask[y0:y1, x0:x1] = 1
    return masks


def mask_boxes(masks: Tensor) -> Tensor:
    """The box of each mask (N, H, W), half open: float (N, 4); zeros where a mask is empty."""
    boxes = torch.zeros(len(masks), 4)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        if len(rows):
            corners = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
            box.copy_(torch.stack([corner[0] for corner in corners]))
    return boxes
