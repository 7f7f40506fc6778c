"""Colours that tell instances apart, and that nobody takes for those of classes."""

from collections.abc import Collection, Sequence
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from stages.io.pictures import UNKNOWN_COLOUR, Colour

COUNT = 12  # colours; more would be too alike
STEPS = np.arange(0, 256, 17)  # of each channel, among which the colours are chosen
LEAST_LIGHTNESS, LEAST_CHROMA = 40, 25  # CIELAB; darker or greyer vanishes on a photograph
NEAR = 4.0  # pixels between two boxes that count as neighbours

Corners = tuple[float, float, float, float]


def instance_colours(boxes: Sequence[Corners], classes: Collection[Colour]) -> list[Colour]:
    """A colour for each instance of an image; no two neighbours have the same.

    With more than `COUNT` instances that are all neighbours, some must.

    Args:
        boxes: (x0, y0, x1, y1) of each instance, pixels.
        classes: the colours of the classes, which are not used.
    """
    colours = _palette(frozenset(classes))
    chosen: list[int] = []
    for index, box in enumerate(boxes):
        taken = [chosen[other] for other in range(index) if _are_near(box, boxes[other])]
        wish = [(index + step) % COUNT for step in range(COUNT)]
        chosen.append(min(wish, key=taken.count))  # the first of those that are there least
    return [colours[choice] for choice in chosen]


def _are_near(first: Corners, second: Corners) -> bool:
    apart_x = max(first[0], second[0]) - min(first[2], second[2])
    apart_y = max(first[1], second[1]) - min(first[3], second[3])
    return apart_x <= NEAR and apart_y <= NEAR


@lru_cache(maxsize=8)
def _palette(classes: frozenset[Colour]) -> list[Colour]:
    """`COUNT` colours, each as far as can be from the classes' and from those before it."""
    grid = np.stack(np.meshgrid(STEPS, STEPS, STEPS, indexing="ij"), axis=-1)
    colours = grid.reshape(-1, 3).astype(np.uint8)
    lab = _lab(colours)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    is_seen = (lab[:, 0] >= LEAST_LIGHTNESS) & (chroma >= LEAST_CHROMA)
    colours, lab = colours[is_seen], lab[is_seen]
    taken = _lab(np.array([*sorted(classes), UNKNOWN_COLOUR], dtype=np.uint8))
    distance = np.linalg.norm(lab[:, None] - taken, axis=2).min(axis=1)
    chosen: list[Colour] = []
    for _ in range(COUNT):
        best = int(distance.argmax())
        red, green, blue = colours[best].tolist()
        chosen.append((red, green, blue))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[best], axis=1))
    return chosen


def _lab(colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """CIELAB [N, 3] of sRGB [N, 3]; there, distances are as large as they look."""
    scaled = colours.astype(np.float32)[None] / 255
    return np.asarray(cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB)[0], dtype=np.float32)
