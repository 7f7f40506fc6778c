"""Where people look in a drawn scene, drawn from a hidden mixture, and what annotators pick of it.

How strongly an object draws the eye is hidden from every stage but those that measure:

    strength = 0.7 size + 0.6 centre + 0.8 local contrast + 0.6 global contrast
               + 0.9 [person] - 0.7 competition

Size is the log of its share of the image; centre tells how near its middle is to that of the image;
local contrast is the distance of its mean colour (Lab) from that of what surrounds it in its box at
twice the area, global contrast from that of the whole image; competition is the share of the other
objects that are of its class, so that an odd one out wins. Each is brought to about 0 to 1 by fixed
numbers. Fixations fall on objects with probability softmax(strength / 0.35), six in ten on one part
of it, the others anywhere, less often at its rim, all with the error of an eye tracker; one in
eight falls anywhere near the middle of the image. Some samples are lost or lie outside.

Annotators pick the objects that are at most 1.2 weaker than the strongest, and err at times. In
some images a salient object is said to have no mask, or a mask to be wrong, by nearly all of them;
in all others, by hardly anyone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.scenes.creatures import Bools
from models.scenes.scenes import Scene

SUBJECTS, LOOKS = 20, 8  # subjects, fixations of each
ANNOTATORS = 5
WEAKEST = 1.2  # below the strongest object; weaker ones are not salient
ERROR = 0.06  # of an annotator, per object and per image
PLANTED = {"missing": 0.04, "segmentation": 0.04}  # share of the images


@dataclass(frozen=True)
class Watched:
    """What was recorded of one scene.

    Attributes:
        strengths: hidden; of each object.
        fixations: (subject from 1, x, y, milliseconds), pixels from 0; lost ones NaN.
        picked: (annotator from 1, object from 0) of every object that he finds salient.
        against: (annotator from 1, reason) of every annotator who calls the image inappropriate.
        planted: hidden; the reason why the image is inappropriate; empty: it is not.
    """

    strengths: tuple[float, ...]
    fixations: tuple[tuple[int, float, float, float], ...]
    picked: tuple[tuple[int, int], ...]
    against: tuple[tuple[int, str], ...]
    planted: str


def watch_scene(rng: np.random.Generator, scene: Scene) -> Watched:
    """Record gaze and votes.

    Args:
        rng: decides everything.
        scene: as drawn.
    """
    strengths = hidden_strengths(scene)
    draw = float(rng.random())
    planted = ""
    for reason, share in PLANTED.items():
        if 0 <= draw < share:
            planted = reason
        draw -= share
    picked, against = [], []
    for annotator in range(1, ANNOTATORS + 1):
        for number, strength in enumerate(strengths):
            salient = strength >= max(strengths) - WEAKEST
            if salient != (rng.random() < ERROR):
                picked.append((annotator, number))
        if bool(planted) != (rng.random() < ERROR):
            against.append((annotator, planted or str(rng.choice(list(PLANTED)))))
    return Watched(
        tuple(strengths),
        tuple(_fixations(rng, scene, strengths)),
        tuple(picked),
        tuple(against),
        planted,
    )


def hidden_strengths(scene: Scene) -> list[float]:
    """How strongly each object draws the eye; see the module."""
    height, width = scene.image.shape[:2]
    lab = cv2.cvtColor(scene.image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    whole = lab.reshape(-1, 3).mean(axis=0)
    found = []
    for number, (category, mask) in enumerate(zip(scene.categories, scene.masks, strict=True)):
        rows, columns = np.nonzero(mask)
        size = 1 + np.log10(mask.mean()) / 2.5
        away = np.hypot(rows.mean() / height - 0.5, columns.mean() / width - 0.5)
        own = lab[mask].mean(axis=0)
        ring = _surroundings(mask)
        local = np.linalg.norm(own - lab[ring].mean(axis=0)) / 40 if ring.any() else 0.0
        overall = np.linalg.norm(own - whole) / 40
        others = [*scene.categories[:number], *scene.categories[number + 1 :]]
        competition = others.count(category) / len(others) if others else 0.0
        strength = 0.7 * size + 0.6 * (1 - 2 * away) + 0.8 * local + 0.6 * overall
        found.append(float(strength + 0.9 * (category == 1) - 0.7 * competition))
    return found


def _surroundings(mask: Bools) -> Bools:
    """What is not the object in its box at twice the area."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    ring = np.zeros_like(mask)
    top, bottom = _stretched(int(rows[0]), int(rows[-1]) + 1, mask.shape[0])
    left, right = _stretched(int(columns[0]), int(columns[-1]) + 1, mask.shape[1])
    ring[top:bottom, left:right] = True
    return ring & ~mask


def _stretched(start: int, stop: int, limit: int) -> tuple[int, int]:
    more = (np.sqrt(2) - 1) / 2 * (stop - start)
    return max(round(start - more), 0), min(round(stop + more), limit)


def _fixations(
    rng: np.random.Generator, scene: Scene, strengths: Sequence[float]
) -> list[tuple[int, float, float, float]]:
    height, width = scene.image.shape[:2]
    total = SUBJECTS * LOOKS
    weights = np.exp((np.array(strengths) - max(strengths)) / 0.35)
    chosen = rng.choice(len(weights), size=total, p=weights / weights.sum())
    places = np.empty((total, 2))
    for number, mask in enumerate(scene.masks):
        own = chosen == number
        places[own] = _places(rng, mask, int(own.sum()))
    astray = rng.random(total) < 0.125
    anywhere = rng.normal([width / 2, height / 2], [0.22 * width, 0.22 * height], (total, 2))
    places[astray] = anywhere[astray]
    places[rng.random(total) < 0.01] = np.nan
    pauses = rng.integers(150, 450, (SUBJECTS, LOOKS))
    times = np.cumsum(pauses, axis=1) - pauses
    return [
        (1 + index // LOOKS, round(float(x), 1), round(float(y), 1), float(times.flat[index]))
        for index, (x, y) in enumerate(places)
    ]


def _places(rng: np.random.Generator, mask: Bools, count: int) -> npt.NDArray[np.float64]:
    """Points (x, y) on an object: most on one part of it, the others on any, deep ones first."""
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    rows, columns = np.nonzero(mask)
    shares = depth[rows, columns].astype(np.float64)
    spots = rng.choice(len(rows), size=count + 1, p=shares / shares.sum())
    spots[1:][rng.random(count) < 0.6] = spots[0]
    points = np.column_stack([columns, rows])[spots[1:]] + 0.5
    return np.asarray(points + rng.normal(0, 0.015 * mask.shape[1], (count, 2)))
