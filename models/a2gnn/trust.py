"""How far a class activation map may speak, told without ground truth.

A map that knows its class has its activation inside the boxes of that class; chance is an even map,
whose share there is that of the area. With the share s of a map's activation in its own boxes and
their share a of the image, s - a is what the map knows, 1 - a what it could know, and the ratio of
the two (as in Cohen's kappa) is 1 where all activation is in the boxes, 0 at chance, negative
below. One map is one sample, and where a box fills the picture none at all, so the ratio is of
sums, which begin with a doubt:

    T_c  = sum_i (s_ic - a_ic) / (1 + sum_i (1 - a_ic))             of a class, over its images
    t_ic = (s_ic - a_ic + T_c) / (1 - a_ic + 1)                     of one map

The 1 that is added is one image's worth of nothing known; for a single map it is that of its class.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def activation_share(
    activations: npt.NDArray[np.float32], own: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """The s and a of one map: the shares of its activation and of its area in its own boxes.

    Args:
        activations: [H, W], at least 0; where all are 0 the share is 0: nothing is known.
        own: bool [H, W], the boxes of its class.
    """
    total = float(activations.sum(dtype=np.float64))
    share = float(activations[own].sum(dtype=np.float64)) / total if total > 0 else 0.0
    return share, float(own.mean())


def map_trust(
    categories: Sequence[int], shares: Sequence[float], chances: Sequence[float]
) -> tuple[dict[int, float], list[float]]:
    """T_c by class and t_ic of every map, from -1 (clipped) to 1.

    Args:
        categories: the class of each map.
        shares: s of each map.
        chances: a of each map.
    """
    known: dict[int, float] = {}
    knowable: dict[int, float] = {}
    for category, share, chance in zip(categories, shares, chances, strict=True):
        known[category] = known.get(category, 0.0) + share - chance
        knowable[category] = knowable.get(category, 1.0) + 1 - chance
    classes = {category: max(known[category] / knowable[category], -1.0) for category in known}
    maps = [
        max((share - chance + classes[category]) / (2 - chance), -1.0)
        for category, share, chance in zip(categories, shares, chances, strict=True)
    ]
    return classes, maps
