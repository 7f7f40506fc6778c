"""Random views of a training image and its label map, on a generator of the caller's.

Images are uint8 RGB (3, H, W), label maps uint8 (H, W) with 255 = unknown.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from models.ops.colours import MEAN_COLOUR
from models.ops.labels import UNKNOWN

Strength = Annotated[float, Ge(0), Le(1)]
#: Strengths of brightness, contrast, saturation and hue; see `jitter_colours`.
Jitter = tuple[Strength, Strength, Strength, Annotated[float, Ge(0), Le(0.5)]]


def augment(
    image: Tensor,
    labels: Tensor | None,
    *,
    crop: int,
    factors: tuple[float, float] = (1.0, 1.0),
    jitter: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Random size, horizontal flip with probability 1/2, colour jitter and a random square crop.

    Args:
        image: uint8 RGB (3, H, W).
        labels: uint8 (H, W), or several layers (L, H, W), or None for an image without (then all
            unknown come back).
        crop: side of the result in pixels.
        factors: least and largest factor of the size; both sides keep their ratio.
        jitter: strengths as `jitter_colours` takes them; 0 leaves a property alone.
        generator: the only source of randomness; the number of draws depends on nothing else.

    Returns:
        float32 RGB in [0, 1] (3, crop, crop), padded with the mean colour, which a
        backbone takes for nothing, and uint8 labels
        ([L,] crop, crop), padded with 255.
    """
    if labels is None:
        labels = image.new_full(image.shape[-2:], UNKNOWN)
    draws = torch.rand(8, generator=generator).tolist()
    factor = factors[0] + (factors[1] - factors[0]) * draws[0]
    image, labels = resize(image, labels, factor)
    if draws[1] < 0.5:
        image, labels = image.flip(-1), labels.flip(-1)
    window = crop_window(image.shape[-2:], crop, (draws[2], draws[3]))
    top, left, height, width, above, before = window
    image = image[..., top : top + height, left : left + width]
    labels = labels[..., top : top + height, left : left + width]
    image = jitter_colours(TF.to_dtype(image, torch.float32, scale=True), jitter, draws[4:])
    inside = (slice(above, above + height), slice(before, before + width))
    view = image.new_tensor(MEAN_COLOUR).view(3, 1, 1).repeat(1, crop, crop)
    view[:, *inside] = image
    cropped = labels.new_full((*labels.shape[:-2], crop, crop), UNKNOWN)
    cropped[..., *inside] = labels
    return view, cropped


def resize(image: Tensor, labels: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """Scale both sides by `factor`: bilinear with antialiasing, labels by the nearest."""
    if factor == 1.0:
        return image, labels
    size = [max(round(side * factor), 1) for side in image.shape[-2:]]
    nearest = InterpolationMode.NEAREST_EXACT
    return (
        TF.resize(image, size, antialias=True),
        TF.resize(labels[None], size, interpolation=nearest)[0],
    )


def crop_window(
    size: Sequence[int], crop: int, draws: tuple[float, float]
) -> tuple[int, int, int, int, int, int]:
    """Where a square crop lies: along each side, inside the image or around it.

    Args:
        size: (H, W) of the image.
        crop: side of the crop.
        draws: two numbers in [0, 1): where, of all places there are.

    Returns:
        (top, left, height, width) of the part of the image, and (above, before): the padding
        before it.
    """
    spans = []
    for side, draw in zip(size, draws, strict=True):
        start = int(draw * (abs(side - crop) + 1))
        spans.append((start, crop, 0) if side >= crop else (0, side, start))
    (top, height, above), (left, width, before) = spans
    return top, left, height, width, above, before


def jitter_colours(image: Tensor, strengths: Sequence[float], draws: Sequence[float]) -> Tensor:
    """Change brightness, contrast, saturation and hue at random.

    Args:
        image: float RGB in [0, 1], (3, H, W).
        strengths: of the four; a factor is drawn from [1 - s, 1 + s], the hue's shift from
            [-s, s] with s at most 0.5 (a whole turn is 1). PSA: (0.3, 0.3, 0.3, 0.1).
        draws: four numbers in [0, 1).
    """
    changes = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation)
    for change, strength, draw in zip(changes, strengths[:3], draws[:3], strict=True):
        if strength > 0:
            image = change(image, max(1 + strength * (2 * draw - 1), 0.0))
    if strengths[3] > 0:
        image = TF.adjust_hue(image, strengths[3] * (2 * draws[3] - 1))
    return image
