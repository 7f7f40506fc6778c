"""The bodies of the drawn creatures: outlines, limbs and a head, in a pose, on a fine canvas."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

NAMES = ("person", "dog", "fish", "beetle", "bird")
FINE = 2  # drawing is done at this many sub-pixels a side, then averaged

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Points = Sequence[tuple[float, float]]
Window = tuple[slice, slice]


@dataclass(frozen=True)
class Pose:
    """Where an object stands: local coordinates have the object within about [-0.5, 0.5]."""

    centre: tuple[float, float]
    scale: float
    angle: float
    flip: float

    def points(self, points: Points) -> npt.NDArray[np.int32]:
        """Local (x, y) to fine pixels with 4 fractional bits."""
        local = np.array(points, dtype=np.float64) * [self.flip, 1.0]
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turned = local @ np.array([[cos, sin], [-sin, cos]])
        fine = (turned * self.scale + self.centre) * FINE
        return np.asarray(np.rint(fine * 16), dtype=np.int32)

    def local(self, window: Window) -> tuple[Floats, Floats]:
        """Local coordinates of the fine pixels of a window: two arrays of its shape."""
        rows = np.arange(window[0].start, window[0].stop, dtype=np.float32)
        columns = np.arange(window[1].start, window[1].stop, dtype=np.float32)
        x = ((columns + 0.5) / FINE - self.centre[0])[None]
        y = ((rows + 0.5) / FINE - self.centre[1])[:, None]
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        u = (x * cos + y * sin) * np.float32(self.flip / self.scale)
        v = (y * cos - x * sin) * np.float32(1 / self.scale)
        return u.astype(np.float32), v.astype(np.float32)


@dataclass(frozen=True)
class Body:
    """Parts in local coordinates: filled outlines, limbs (path, width), and the head."""

    outlines: tuple[Points, ...]
    limbs: tuple[tuple[Points, float], ...]
    head: tuple[float, float, float]  # x, y, radius


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0) -> Points:
    """The outline of an ellipse around (x, y), turned by `angle` radians."""
    turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    px, py = rx * np.cos(turns), ry * np.sin(turns)
    cos, sin = np.cos(angle), np.sin(angle)
    corners = zip(x + px * cos - py * sin, y + px * sin + py * cos, strict=True)
    return [(float(a), float(b)) for a, b in corners]


def blob(rng: np.random.Generator, rx: float, ry: float, wobble: float) -> Points:
    """The outline of an ellipse around the origin whose radius varies by about `wobble`."""
    turns = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radius = np.ones(60)
    for wave in (2, 3, 4):
        radius += rng.normal(0, wobble / wave) * np.cos(wave * turns + rng.uniform(0, 6.28))
    radius = np.clip(radius, 0.5, 1.5)
    corners = zip(rx * radius * np.cos(turns), ry * radius * np.sin(turns), strict=True)
    return [(float(a), float(b)) for a, b in corners]


def creature(rng: np.random.Generator, category: int) -> Body:
    """A body of a category 1..5 (see NAMES), one in three with the trunk that all may have."""

    def vary(value: float, share: float = 0.2) -> float:
        return float(value * rng.uniform(1 - share, 1 + share))

    makers: tuple[Callable[[Callable[..., float]], Body], ...] = (
        _person,
        _dog,
        _fish,
        _beetle,
        _bird,
    )
    body = makers[category - 1](vary)
    if category > 1 and rng.random() < 0.33:
        x, y, radius = body.head
        trunk = blob(rng, vary(0.34), vary(0.27), 0.25)
        limbs = tuple(limb for limb in body.limbs if rng.random() < 0.5)
        body = Body((trunk,), (*limbs, (((0.0, 0.0), (x, y)), vary(0.1))), (x, y, radius))
    return body


def _person(vary: Callable[..., float]) -> Body:
    hip, shoulder = 0.12, -0.24
    stride, reach, hand = vary(0.13, 0.7), vary(0.2, 0.3), vary(0.08, 2.0)
    legs = [(((side * 0.06, hip), (side * stride, 0.48)), vary(0.12)) for side in (-1, 1)]
    arms = [
        (((side * 0.1, shoulder + 0.05), (side * reach, side * hand)), vary(0.085))
        for side in (-1, 1)
    ]
    left, right = vary(0.15), vary(0.15)
    trunk = [(-0.15, shoulder), (0.15, shoulder), (right, hip + 0.06), (-left, hip + 0.06)]
    return Body((trunk,), (*legs, *arms), (0.0, -0.36, vary(0.165, 0.1)))


def _dog(vary: Callable[..., float]) -> Body:
    rx, ry = vary(0.32), vary(0.18)
    legs = [
        (((x * rx, 0.0), (x * rx + vary(0.02, 2.0), vary(0.34))), vary(0.08))
        for x in (-0.85, -0.5, 0.45, 0.8)
    ]
    tail = (((-rx, -0.03), (-rx - 0.08, -0.1), (-rx - 0.1, -vary(0.22))), vary(0.05))
    neck = (((0.8 * rx, 0.0), (0.34, -0.16)), vary(0.16))
    return Body((ellipse(0, 0, rx, ry),), (*legs, tail, neck), (0.36, -0.18, vary(0.165, 0.1)))


def _fish(vary: Callable[..., float]) -> Body:
    rx, ry = vary(0.34), vary(0.22)
    tail = [(-0.6 * rx, 0.0), (-rx - 0.16, -vary(0.2)), (-rx - 0.08, 0.0), (-rx - 0.16, vary(0.2))]
    fin = [(-0.16, -0.6 * ry), (-0.14, -ry - vary(0.08)), (0.12, -0.8 * ry)]
    belly = [(-0.1, 0.8 * ry), (-0.14, ry + vary(0.08)), (0.1, 0.8 * ry)]
    outlines = (ellipse(0, 0, rx, ry), tail, fin, belly)
    return Body(outlines, (), (rx * 0.8, 0.0, vary(0.165, 0.1)))


def _beetle(vary: Callable[..., float]) -> Body:
    rx, ry = vary(0.3), vary(0.24)
    legs = [
        (((x, 0.0), (x * 1.3, side * vary(0.27)), (x * 1.7, side * vary(0.33))), vary(0.05))
        for x in (-0.16, 0.01, 0.15)
        for side in (-1, 1)
    ]
    head = rx + 0.03
    feelers = [(((head, 0.0), (head + 0.16, side * vary(0.14))), vary(0.035)) for side in (-1, 1)]
    return Body((ellipse(0, 0, rx, ry),), (*legs, *feelers), (head, 0.0, vary(0.165, 0.1)))


def _bird(vary: Callable[..., float]) -> Body:
    rx, ry = vary(0.3), vary(0.19)
    wing = [(0.16, -0.03), (0.0, -vary(0.36)), (-0.24, -vary(0.3)), (-0.2, 0.0)]
    tail = [(-0.6 * rx, -0.1), (-rx - 0.18, vary(0.05, 2.0)), (-rx - 0.12, 0.14), (-0.5 * rx, 0.12)]
    legs = [(((x, 0.05), (x + 0.04, vary(0.32))), vary(0.05)) for x in (-0.04, 0.09)]
    neck = (((0.6 * rx, 0.0), (0.28, -0.2)), vary(0.14))
    trunk = ellipse(0, 0, rx, ry, -0.2)
    return Body((trunk, wing, tail), (*legs, neck), (0.29, -0.22, vary(0.165, 0.1)))


def fill(
    outlines: Sequence[Points],
    limbs: Sequence[tuple[Points, float]],
    pose: Pose,
    fine: tuple[int, ...],
) -> Bools:
    """Which pixels of a fine canvas outlines and limbs cover: bool, of the canvas' shape."""
    cover = np.zeros(fine[:2], dtype=np.uint8)
    for outline in outlines:
        cv2.fillPoly(cover, [pose.points(outline)], 1, cv2.LINE_8, shift=4)
    for path, width in limbs:
        thickness = max(round(width * pose.scale * FINE), 2 * FINE)
        corners = [pose.points(path)]
        cv2.polylines(cover, corners, False, 1, thickness, cv2.LINE_8, shift=4)
    return cover.astype(bool)


def silhouette(body: Body, pose: Pose, fine: tuple[int, int]) -> tuple[Bools, Bools]:
    """(whole object, its head) on the fine canvas."""
    x, y, radius = body.head
    head = fill((ellipse(x, y, radius, radius),), (), pose, fine)
    return fill(body.outlines, body.limbs, pose, fine) | head, head
