"""What an annotator in a hurry draws of a scene: points, strokes, and what catches the eye.

Drawn from a random stream apart from that of the scene, which stays as it is. A point lies well
inside its object, a stroke runs along its middle, the background gets one of each away from the
objects; nothing else is marked. What is salient is large and central; the grey map of it is
blurred, takes in some of what is near, and misses at random, as that of a saliency network.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from skimage.graph import route_through_array

from models.ops.labels import UNKNOWN
from models.scenes.creatures import Bools, Floats
from models.scenes.scenes import Scene

#: Of the most salient object's salience, from which an object is salient too.
SALIENT = 0.5


@dataclass(frozen=True)
class Marks:
    """What was marked on one image.

    Attributes:
        points: (category, x, y) of every object and of the background (0), in whole pixels.
        scribbles: uint8 [H, W], a stroke per class and for the background, 255 elsewhere.
        region: bool [H, W], the salient objects.
        saliency: uint8 [H, W], 0 to 255.
        salient: how many objects are salient.
    """

    points: tuple[tuple[int, int, int], ...]
    scribbles: npt.NDArray[np.uint8]
    region: Bools
    saliency: npt.NDArray[np.uint8]
    salient: int


def mark_scene(rng: np.random.Generator, scene: Scene) -> Marks:
    """Annotate a scene.

    Args:
        rng: decides everything.
        scene: as drawn.
    """
    ground = ~np.any(scene.masks, axis=0)
    marked = [*zip(scene.categories, scene.masks, strict=True), (0, ground)]
    points = tuple((category, *_point(rng, mask)) for category, mask in marked)
    scribbles = np.full(ground.shape, UNKNOWN, dtype=np.uint8)
    for category, mask in marked:
        scribbles[_stroke(rng, mask)] = category
    salience = _salience(scene)
    salient = [value >= SALIENT * max(salience) for value in salience]
    region = np.any([m for m, on in zip(scene.masks, salient, strict=True) if on], axis=0)
    return Marks(points, scribbles, region, _saliency(rng, scene, salience), sum(salient))


def _depth(mask: Bools) -> Floats:
    """How far each pixel of the mask is from its rim and from that of the image."""
    padded = np.pad(mask.astype(np.uint8), 1)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    return np.asarray(inside, dtype=np.float32)


def _point(rng: np.random.Generator, mask: Bools) -> tuple[int, int]:
    """(x, y) somewhere at least half as deep as the deepest pixel."""
    depth = _depth(mask)
    rows, columns = np.nonzero(depth >= 0.5 * depth.max())
    chosen = rng.integers(len(rows))
    return int(columns[chosen]), int(rows[chosen])


def _stroke(rng: np.random.Generator, mask: Bools) -> Bools:
    """A thin path along the middle of the mask, between two of its pixels that are far apart."""
    depth = _depth(mask)
    rows, columns = np.nonzero(depth >= 0.3 * depth.max())
    start = rng.integers(len(rows))
    far = np.hypot(rows - rows[start], columns - columns[start])
    # the end need not be reached on foot: where it is not, the stroke stops at the gap
    end = rng.choice(np.flatnonzero(far >= np.quantile(far, 0.8)))
    costs = np.where(mask, 1 / (depth + 1e-3), 1e6)
    path, _ = route_through_array(
        costs, (rows[start], columns[start]), (rows[end], columns[end]), geometric=True
    )
    stroke = np.zeros(mask.shape, dtype=np.uint8)
    corners = np.array(path)[:, ::-1].reshape(-1, 1, 2).astype(np.int32)
    cv2.polylines(stroke, [corners], False, 1, 2, cv2.LINE_8)
    return stroke.astype(bool) & mask


def _salience(scene: Scene) -> list[float]:
    """Of each object: its share of the image, less the further its centre is from the middle."""
    height, width = scene.image.shape[:2]
    found = []
    for mask in scene.masks:
        rows, columns = np.nonzero(mask)
        away = np.hypot(rows.mean() / height - 0.5, columns.mean() / width - 0.5)
        found.append(float(mask.mean() * (1 - away)))
    return found


def _saliency(
    rng: np.random.Generator, scene: Scene, salience: list[float]
) -> npt.NDArray[np.uint8]:
    height, width = scene.image.shape[:2]
    levels = np.zeros((height, width), dtype=np.float32)
    for mask, value in zip(scene.masks, salience, strict=True):
        levels[mask] = np.clip(value / max(salience), 0.3, 1) * rng.uniform(0.7, 1)
    blurred = cv2.GaussianBlur(levels, (0, 0), 0.02 * max(height, width))
    clutter = cv2.resize(rng.random((5, 6), dtype=np.float32), (width, height))
    values = 0.85 * blurred + 0.3 * np.clip(clutter - 0.6, 0, 1)
    return np.asarray(np.clip(np.rint(255 * values), 0, 255), dtype=np.uint8)
