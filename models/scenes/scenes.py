"""Drawn scenes: textured creatures on cluttered ground, for the embedded data set.

What makes them hard, and for which part of the box line:

* Every class shows itself by a small head alone, in colours of its own. The body's shape is partly
  shared between the classes (one in three has a plain blob), its colours and its texture wholly: a
  classifier that learns from tags looks at heads, so class activation maps are partial.
* Bodies carry two tones in a pattern (stripes, dots, checks). Their palette overlaps with that of
  the ground and of the other bodies, and now and then a tone is taken from the ground: colour
  models leak, leave holes or lose a whole body, so GrabCut is right where colours differ and wrong
  where they repeat. Ground is noise, soft blobs and gradients, never a pattern: what tells a body
  from the ground is texture, which features of a network see and colours do not.
* Things of no class (stones, poles) take the bodies' colours and stand in and around the boxes.
* Legs, tails, arms and feelers are 2 to 5 pixels thin and fill little of their box.
* One to four objects, often of one class, overlap; boxes are tight around what is visible.
* A slanting illumination and sensor noise shift colours within one object.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.scenes.creatures import (
    FINE,
    NAMES,
    Body,
    Bools,
    Floats,
    Pose,
    Window,
    blob,
    creature,
    fill,
    silhouette,
)

GROUND_TONE = 0.08  # the share of bodies with a tone of the ground: how often GrabCut fails


@dataclass(frozen=True)
class Scene:
    """One drawn image.

    Attributes:
        image: uint8 RGB [H, W, 3].
        categories: label values 1..5, one per object; see NAMES.
        masks: bool [H, W] of the visible part of each object; none is empty, none overlap.
    """

    image: npt.NDArray[np.uint8]
    categories: tuple[int, ...]
    masks: tuple[Bools, ...]


def draw_scene(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """Draw a scene of one to four objects.

    Args:
        rng: decides everything.
        size: (H, W) in pixels, at least 48 each.
    """
    fine = (size[0] * FINE, size[1] * FINE)
    ground = _ground(rng, fine)
    canvas = ground.copy()
    for _ in range(rng.integers(2, 5)):
        _draw_thing(rng, canvas, size)
    count = int(rng.choice([1, 2, 3, 4], p=[0.15, 0.3, 0.33, 0.22]))
    categories: list[int] = []
    covers: list[Bools] = []
    heads: list[Bools] = []
    for _ in range(40):
        if len(covers) == count:
            break
        again = bool(categories) and rng.random() < 0.15
        category = categories[-1] if again else int(rng.integers(1, len(NAMES) + 1))
        pose = _pose(rng, size)
        body = creature(rng, category)
        cover, head = silhouette(body, pose, fine)
        if not _room(cover, head, covers, heads):
            continue
        _paint(rng, canvas, ground, (cover, head), pose, body, category)
        covers = [earlier & ~cover for earlier in covers] + [cover]
        heads = [*heads, head]
        categories.append(category)
    if rng.random() < 0.5:
        covers = _draw_pole_in_front(rng, canvas, ground, covers)
    image = _photograph(rng, canvas, size)
    masks = tuple(_average(cover.astype(np.float32), size) > 0.5 for cover in covers)
    return Scene(image, tuple(categories), masks)


# --- ground and things of no class -----------------------------------------------------------


def _noise(rng: np.random.Generator, size: tuple[int, int], cell: float, octaves: int) -> Floats:
    """Smooth noise in [0, 1]; its largest features are `cell` fine pixels wide."""
    total = np.zeros(size, dtype=np.float32)
    for octave in range(octaves):
        step = max(cell / 2**octave, 2.0)
        grid = rng.random((int(size[0] / step) + 3, int(size[1] / step) + 3), dtype=np.float32)
        total += cv2.resize(grid, size[::-1], interpolation=cv2.INTER_CUBIC) * 0.6**octave
    low, high = np.percentile(total[::8, ::8], [2, 98])
    return np.asarray(np.clip((total - low) / (high - low + 1e-6), 0, 1), dtype=np.float32)


def _hsv(hue: float, saturation: float, value: float) -> Floats:
    """RGB 0..255 of a hue in degrees, a saturation and a value in [0, 1]."""
    colour = np.array([[[hue, saturation, value]]], dtype=np.float32)
    return np.asarray(cv2.cvtColor(colour, cv2.COLOR_HSV2RGB)[0, 0] * 255, dtype=np.float32)


def _dull(rng: np.random.Generator) -> Floats:
    """A colour of the ground."""
    return _hsv(rng.uniform(0, 360), rng.uniform(0.05, 0.32), rng.uniform(0.3, 0.8))


def _bright(rng: np.random.Generator) -> Floats:
    """A colour of bodies, and of some things of no class."""
    return _hsv(rng.uniform(0, 360), rng.uniform(0.3, 0.7), rng.uniform(0.25, 0.95))


def _mix(first: Floats, second: Floats, share: Floats) -> Floats:
    """Two colours mixed by a map of shares [h, w]: [h, w, 3]."""
    return (first + (second - first) * share[..., None]).astype(np.float32)


def _window(cover: Bools) -> Window:
    """The smallest window around a cover that is not empty."""
    rows, columns = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _near(rng: np.random.Generator, colour: Floats, spread: float) -> Floats:
    return np.clip(colour + rng.normal(0, spread, 3), 10, 245).astype(np.float32)


def _ground(rng: np.random.Generator, fine: tuple[int, int]) -> Floats:
    """Two to four regions with wavy borders, each noise, blobs or a gradient."""
    layers = int(rng.integers(2, 4))
    ground = _ground_layer(rng, fine)
    for _ in range(layers - 1):
        share = _noise(rng, fine, fine[1] * rng.uniform(0.35, 0.7), 3)
        edge = 1 / (1 + np.exp(-(share - rng.uniform(0.45, 0.65)) * 60))
        ground += (_ground_layer(rng, fine) - ground) * edge[..., None].astype(np.float32)
    return ground


def _ground_layer(rng: np.random.Generator, fine: tuple[int, int]) -> Floats:
    first = _dull(rng)
    second = _near(rng, first, 24)
    kind = rng.integers(3)
    if kind == 0:  # rough noise
        share = _noise(rng, fine, rng.uniform(10, 40), 4)
    elif kind == 1:  # soft blobs
        share = (_noise(rng, fine, rng.uniform(24, 50), 1) > 0.6).astype(np.float32)
        share = np.asarray(cv2.GaussianBlur(share, (0, 0), 4.0), dtype=np.float32)
    else:  # a gradient
        rows, columns = np.mgrid[: fine[0], : fine[1]].astype(np.float32)
        angle = rng.uniform(0, 2 * np.pi)
        slope = rows / fine[0] * np.sin(angle) + columns / fine[1] * np.cos(angle)
        share = (slope - slope.min()) / np.ptp(slope)
    return _mix(first, second, share.astype(np.float32))


def _ground_colour(rng: np.random.Generator, ground: Floats) -> Floats:
    """A colour that stands somewhere on the ground, nearly."""
    spot = ground[rng.integers(ground.shape[0]), rng.integers(ground.shape[1])]
    return _near(rng, spot, 8)


def _draw_thing(rng: np.random.Generator, canvas: Floats, size: tuple[int, int]) -> None:
    """A stone of noise with a soft shade, anywhere; it belongs to no class."""
    pose = Pose(
        (rng.uniform(0, size[1]), rng.uniform(0, size[0])),
        float(rng.uniform(20, 55)),
        float(rng.uniform(0, 2 * np.pi)),
        1.0,
    )
    cover = fill((blob(rng, 0.5, 0.3, 0.25),), (), pose, canvas.shape[:2])
    if not cover.any():
        return
    window = _window(cover)
    inside = cover[window]
    first = _bright(rng) if rng.random() < 0.5 else _dull(rng)
    colours = _mix(first, _near(rng, first, 22), _noise(rng, inside.shape, 16, 4))
    _, v = pose.local(window)
    canvas[window][inside] = (colours * (1 - 0.5 * v)[..., None])[inside]


def _draw_pole_in_front(
    rng: np.random.Generator, canvas: Floats, ground: Floats, covers: list[Bools]
) -> list[Bools]:
    """A thin pole before everything, where it leaves at least 4/5 of every object visible."""
    height, width = canvas.shape[:2]
    x = rng.uniform(0, width)
    top, bottom = (round(x), -5), (round(x + rng.uniform(-40, 40)), height + 5)
    pole = np.zeros((height, width), dtype=np.uint8)
    thickness = int(rng.integers(2, 5) * FINE)
    cv2.line(pole, top, bottom, 1, thickness, cv2.LINE_8)
    cut = pole.astype(bool)
    colour = _near(rng, _ground_colour(rng, ground), 20)
    grain = _noise(rng, (height, width), 12, 3)
    if any((cover & cut).sum() > 0.2 * cover.sum() for cover in covers):
        return covers
    canvas[cut] = _mix(colour, _near(rng, colour, 25), grain)[cut]
    return [cover & ~cut for cover in covers]


# --- objects ---------------------------------------------------------------------------------


def _pose(rng: np.random.Generator, size: tuple[int, int]) -> Pose:
    height, width = size
    return Pose(
        (rng.uniform(0.14, 0.86) * width, rng.uniform(0.18, 0.82) * height),
        float(rng.uniform(0.42, 0.8) * min(size)),
        float(rng.normal(0, 0.3)),
        float(rng.choice([-1.0, 1.0])),
    )


def _room(cover: Bools, head: Bools, covers: Sequence[Bools], heads: Sequence[Bools]) -> bool:
    """Whether the object may stand here: mostly in the picture, and hiding no other too much."""
    border = np.concatenate([head[0], head[-1], head[:, 0], head[:, -1]])
    if not head.any() or border.any() or cover.sum() < 500 * FINE:
        return False
    for earlier, its_head in zip(covers, heads, strict=True):
        if (earlier & cover).sum() > 0.25 * earlier.sum():
            return False
        if (its_head & cover).sum() > 0.1 * its_head.sum():
            return False
    return True


def _pattern(rng: np.random.Generator, u: Floats, v: Floats) -> Floats:
    """Stripes, dots or checks over local pixels: shares in [0, 1] of the second tone."""
    angle = rng.uniform(0, np.pi)
    period = rng.uniform(6.0, 9.0)
    a = (u * np.cos(angle) + v * np.sin(angle)) * (2 * np.pi / period)
    b = (-u * np.sin(angle) + v * np.cos(angle)) * (2 * np.pi / period)
    kind = rng.integers(3)
    if kind == 0:
        wave = np.sin(a + 0.5 * np.sin(0.4 * b))
    elif kind == 1:
        wave = np.sin(a) * np.sin(b) * 2
    else:
        wave = np.sin(a) + np.sin(b) - 0.4
    return np.asarray(1 / (1 + np.exp(-5 * wave)), dtype=np.float32)


def _two_tones(rng: np.random.Generator, ground: Floats) -> tuple[Floats, Floats]:
    """Two tones far enough apart to see the pattern; often one is the ground's."""
    for _ in range(50):
        first = _ground_colour(rng, ground) if rng.random() < GROUND_TONE else _bright(rng)
        second = _bright(rng)
        if np.abs(first - second).sum() > 130:
            break
    return first, second


def _emblem(category: int, u: Floats, v: Floats) -> Floats:
    """The head of a class: RGB [h, w, 3] over coordinates with the head's rim at radius 1."""
    radius = np.hypot(u, v)
    turn = np.arctan2(v, u)
    if category == 1:  # a pale face under a magenta cap, two eyes
        inner, outer = (255.0, 206.0, 170.0), (226.0, 8.0, 150.0)
        pattern = (v < -0.15) | (np.hypot(np.abs(u) - 0.4, v - 0.3) < 0.22)
    elif category == 2:  # a target: red rings on white
        inner, outer = (248.0, 244.0, 240.0), (214.0, 12.0, 24.0)
        pattern = ((radius > 0.3) & (radius < 0.62)) | (radius > 0.88)
    elif category == 3:  # yellow and black quarters
        inner, outer = (246.0, 214.0, 16.0), (20.0, 20.0, 24.0)
        pattern = np.sin(2 * turn) > 0
    elif category == 4:  # a blue cross on white
        inner, outer = (240.0, 244.0, 250.0), (14.0, 44.0, 214.0)
        pattern = (np.abs(u) < 0.26) | (np.abs(v) < 0.26)
    else:  # a bright green disc with a black rim and a black slit
        inner, outer = (16.0, 22.0, 16.0), (60.0, 236.0, 20.0)
        pattern = (radius < 0.82) & (np.abs(v) > 0.16)
    return np.where(pattern[..., None], outer, inner).astype(np.float32)


def _paint(
    rng: np.random.Generator,
    canvas: Floats,
    ground: Floats,
    covers: tuple[Bools, Bools],
    pose: Pose,
    body: Body,
    category: int,
) -> None:
    cover, head = covers
    window = _window(cover)
    picture, inside = canvas[window], cover[window]
    u, v = pose.local(window)
    first, second = _two_tones(rng, ground)
    colours = _mix(first, second, _pattern(rng, u * pose.scale, v * pose.scale))
    shade = 1 + rng.uniform(-0.5, 0.5) * u + rng.uniform(-0.5, 0.5) * v
    picture[inside] = (colours * shade[..., None])[inside]
    tint = rng.uniform(0.9, 1.08, 3)
    x, y, radius = body.head
    window = _window(head)
    u, v = pose.local(window)
    emblem = _emblem(category, (u - x) / radius, (v - y) / radius) * tint
    canvas[window][head[window]] = emblem.astype(np.float32)[head[window]]


# --- the camera ------------------------------------------------------------------------------


def _average(values: Floats, size: tuple[int, int]) -> Floats:
    shape = (size[0], FINE, size[1], FINE, *values.shape[2:])
    return np.asarray(values.reshape(shape).mean(axis=(1, 3)), dtype=np.float32)


def _photograph(
    rng: np.random.Generator, canvas: Floats, size: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Sub-pixels averaged, a slanting illumination, sensor noise, 8 bits."""
    image = _average(canvas, size)
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = (rows / size[0] - 0.5) * np.sin(angle) + (columns / size[1] - 0.5) * np.cos(angle)
    lit = image * (1 + 0.45 * slope)[..., None] + rng.normal(0, 4.0, image.shape)
    return np.asarray(np.clip(np.rint(lit), 0, 255), dtype=np.uint8)
