"""Images brought to another size by seams, objects spared by their ranks (IRSR section 5.6).

A seam is a path from edge to edge, a pixel per row; taking one out costs the differences between
the pixels that then meet (forward energy: Rubinstein et al., 2008). The paper multiplies the energy
map by the ranking map.

differs from the paper: times 0 the ground would have no structure left, and a flat object no energy
to multiply, so the cost is here times (1 + multiply * level) plus add * level. Several seams are
taken out at a time, which makes it fast: of each bundle of paths that meet the cheapest, the
cheapest bundles first, no path sharing a pixel with another. `together` 1 is one by one.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
#: At most this share of the width is inserted in one round, so that no seam is stretched alone.
ROUND = 0.5


@dataclass(frozen=True)
class Costs:
    """What spares an object.

    Attributes:
        multiply: the energy of the most salient instance is larger by this factor.
        add: grey levels that each of its pixels costs besides.
        together: seams that are taken out at a time, at most.
    """

    multiply: Annotated[float, Field(ge=0)]
    add: Annotated[float, Field(ge=0)]
    together: Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Retargeted:
    """An image of another size.

    Attributes:
        image: uint8 [H', W', 3].
        source: int32 [H', W'], the index of each pixel in the flattened image that it is from.
    """

    image: Image
    source: Ints


def retarget(image: Image, levels: Floats, size: tuple[int, int], costs: Costs) -> Retargeted:
    """Carve seams out of an image, or put them in: first the width, then the height.

    Args:
        image: uint8 [H, W, 3].
        levels: [H, W], 0 to 1: how much a pixel is to be spared; 0 everywhere is plain carving.
        size: (H', W') wanted, each at least 2.
        costs: see `Costs`.

    Raises:
        ValueError: a side below 2.
    """
    if min(size) < 2:
        raise ValueError(f"size {size}: expected sides of 2 pixels at least")
    height, width = image.shape[:2]
    source = np.arange(height * width, dtype=np.int32).reshape(height, width)
    colours = image.astype(np.float32)
    colours, source = _to_width(colours, source, levels, size[1], costs)
    turned = np.ascontiguousarray(colours.transpose(1, 0, 2)), np.ascontiguousarray(source.T)
    colours, source = _to_width(*turned, levels, size[0], costs)
    colours, source = colours.transpose(1, 0, 2), np.ascontiguousarray(source.T)
    return Retargeted(np.rint(colours).clip(0, 255).astype(np.uint8), source)


def _to_width(
    colours: Floats, source: Ints, levels: Floats, width: int, costs: Costs
) -> tuple[Floats, Ints]:
    while colours.shape[1] < width:
        more = min(width - colours.shape[1], max(int(ROUND * colours.shape[1]), 1))
        gone = ~kept_pixels(colours, levels.ravel()[source], more, costs)
        colours, source = _inserted(colours, source, gone)
    if colours.shape[1] > width:
        kept = kept_pixels(colours, levels.ravel()[source], colours.shape[1] - width, costs)
        rows = colours.shape[0]
        return colours[kept].reshape(rows, width, 3), source[kept].reshape(rows, width)
    return colours, source


def _inserted(colours: Floats, source: Ints, gone: npt.NDArray[np.bool_]) -> tuple[Floats, Ints]:
    """Each pixel of a seam twice: as it is, and mixed with its right neighbour."""
    rows, width = source.shape
    places = np.repeat(np.arange(gone.size), 1 + gone.ravel())
    second = np.zeros(len(places), dtype=bool)
    second[1:] = places[1:] == places[:-1]
    right = np.where((places + 1) % width == 0, places, places + 1)
    flat = colours.reshape(-1, 3)
    mixed = flat[places]
    mixed[second] = (flat[places[second]] + flat[right[second]]) / 2
    return mixed.reshape(rows, -1, 3), source.ravel()[places].reshape(rows, -1)


def kept_pixels(colours: Floats, levels: Floats, seams: int, costs: Costs) -> npt.NDArray[np.bool_]:
    """Which pixels stay when so many vertical seams are taken out: bool [H, W].

    Args:
        colours: [H, W, 3], 0 to 255.
        levels: [H, W].
        seams: fewer than W.
        costs: see `Costs`.
    """
    rows, width = levels.shape
    grey = colours.mean(axis=2, dtype=np.float32)
    index = np.arange(rows * width, dtype=np.int32).reshape(rows, width)
    left = seams
    while left:
        paths = _seams(grey, levels, costs, min(left, costs.together))
        keep = np.ones(grey.shape, dtype=bool)
        keep[np.arange(rows)[:, None], paths] = False
        left -= paths.shape[1]
        grey, levels, index = (each[keep].reshape(rows, -1) for each in (grey, levels, index))
    kept = np.zeros(rows * width, dtype=bool)
    kept[index.ravel()] = True
    return kept.reshape(rows, width)


def _seams(grey: Floats, levels: Floats, costs: Costs, most: int) -> npt.NDArray[np.int64]:
    """Columns [H, n] of the cheapest seams that share no pixel, 1 to `most` of them."""
    total, step = cheapest_paths(*seam_costs(grey, levels, costs))
    rows, width = grey.shape
    column = np.arange(width)
    paths = np.empty((rows, width), dtype=np.int64)
    for row in range(rows - 1, -1, -1):
        paths[row] = column
        column = column + step[row, column]
    # paths that meet stay together up to the first row: one of each bundle is taken
    order = np.argsort(total, kind="stable")
    _, first = np.unique(paths[0, order], return_index=True)
    return paths[:, order[np.sort(first)[:most]]]


def seam_costs(grey: Floats, levels: Floats, costs: Costs) -> tuple[Floats, Floats, Floats]:
    """What a seam pays at each pixel if it comes from above left, above, above right: [H, W] each.

    Beyond the image lies the pixel at its edge.
    """
    wide = np.pad(grey, ((0, 0), (1, 1)), mode="edge")
    above = np.pad(grey, ((1, 0), (0, 0)), mode="edge")[:-1]
    west, east = wide[:, :-2], wide[:, 2:]
    straight = np.abs(east - west)
    found = [above - west, straight, above - east]
    for one in (found[0], found[2]):
        np.abs(one, out=one)
        one += straight
    if levels.any():
        factor, spared = 1 + np.float32(costs.multiply) * levels, np.float32(costs.add) * levels
        for one in found:
            one *= factor
            one += spared
    return found[0], found[1], found[2]


def cheapest_paths(
    from_left: Floats, straight: Floats, from_right: Floats
) -> tuple[Floats, npt.NDArray[np.int8]]:
    """The cost of the cheapest path down to each pixel of the last row, and its steps up.

    Returns:
        The costs [W], and the steps up, int8 [H, W]: -1, 0 or 1 for where above a pixel its path
        goes; of equal ones straight, then left. 0 in the first row.
    """
    rows, width = straight.shape
    step = np.zeros((rows, width), dtype=np.int8)
    total = np.full(width + 2, np.inf, dtype=np.float32)
    total[1:-1] = straight[0]
    for row in range(1, rows):
        best = total[1:-1] + straight[row]
        left, right = total[:-2] + from_left[row], total[2:] + from_right[row]
        lower = left < best
        np.minimum(best, left, out=best)
        step[row] -= lower
        lower = right < best
        step[row, lower] = 1
        np.minimum(best, right, out=total[1:-1])
    return total[1:-1].copy(), step


@dataclass(frozen=True)
class Distortion:
    """How an object fared: 1 and 0 are as it was.

    Attributes:
        area: of its pixels now, share of those before.
        aspect: log of (width / height) now over that before; NaN where nothing is left.
    """

    area: float
    aspect: float


def distortion(mask: npt.NDArray[np.bool_], source: Ints) -> Distortion:
    """Of an object, bool [H, W], in an image whose pixels are from `source`, [H', W']."""
    now = mask.ravel()[source]
    area = int(np.count_nonzero(now)) / max(int(np.count_nonzero(mask)), 1)
    return Distortion(area, _log_aspect(now) - _log_aspect(mask) if now.any() else float("nan"))


def _log_aspect(mask: npt.NDArray[np.bool_]) -> float:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(np.log((columns[-1] - columns[0] + 1) / (rows[-1] - rows[0] + 1)))
