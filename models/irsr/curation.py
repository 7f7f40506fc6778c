"""From gaze and votes to ranked salient instances (IRSR section 3).

The paper's subjects pick what is salient in each image (rule i) and mark images as inappropriate:
a salient object has no mask (ii), a mask is wrong (iii), there are fewer than two or more than
eight salient instances or nothing stands out (iv). More than three of them decide. The salient
instances are then ordered by the largest saliency inside each mask.

differs from the paper: it leaves open what to do where two maxima are equal (here the means decide,
and where these are equal too the image goes), where two masks are the same object (rule iii), and
where nobody voted: `gaze` takes a fixation inside a mask for its subject's vote.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from models.irsr.ranking_scores import agreeing_pairs

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
#: max is the paper's; fixations orders by their number inside the mask.
Measure = Literal["max", "mean", "fixations"]
Voters = Literal["votes", "gaze"]
#: Of the paper, and two more: nobody looked at the image, two instances are equally salient.
Rule = Literal["i", "ii", "iii", "iv", "gaze", "ties"]
#: The rule by which a subject calls an image inappropriate.
REASONS = {"missing": "ii", "segmentation": "iii", "number": "iv"}


@dataclass(frozen=True)
class Looks:
    """Fixations on an image: index of its subject [N], and the pixel (x, y) it is in [N, 2]."""

    whose: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Votes:
    """What the subjects said of an image.

    Attributes:
        subjects: how many saw it.
        picked: by instance, how many find it salient.
        against: by rule, how many call the image inappropriate.
    """

    subjects: int
    picked: Sequence[int]
    against: Counter[str]


@dataclass(frozen=True)
class Dropped:
    """An image that is no good for ranking: by which rule, and what was found."""

    rule: Rule
    reason: str


@dataclass(frozen=True)
class Ranked:
    """The salient instances of an image, the most salient first, with what they were ranked by."""

    order: tuple[int, ...]
    saliency: tuple[float, ...]


def fixation_map(looks: Looks, size: tuple[int, int], sigma: float) -> Floats:
    """The density of fixations, its maximum 1: float32 [H, W]; all 0 without any.

    Args:
        looks: inside the image.
        size: (H, W) in pixels.
        sigma: of the Gaussian in pixels.
    """
    counts = np.zeros(size, dtype=np.float32)
    np.add.at(counts, (looks.pixels[:, 1], looks.pixels[:, 0]), 1)
    blurred = np.asarray(gaussian_filter(counts, sigma, mode="constant"), dtype=np.float32)
    return blurred / max(float(blurred.max()), 1e-12)


def votes_of_gaze(looks: Looks, subjects: int, masks: Sequence[Bools]) -> Votes:
    """Each subject picks the instances that he looked at; nobody calls an image inappropriate."""
    x, y = looks.pixels.T
    picked = [len(np.unique(looks.whose[mask[y, x]])) for mask in masks]
    return Votes(subjects, picked, Counter())


def rank_instances(
    masks: Sequence[Bools],
    votes: Votes,
    saliency: Floats,
    looks: Looks | None,
    *,
    measure: Measure,
    more_than: int,
    fewest: int,
    most: int,
    most_overlap: float,
) -> Ranked | Dropped:
    """Which instances of an image are salient, and in which order; or why it is dropped.

    Args:
        masks: bool [H, W] each.
        votes: of the subjects.
        saliency: [H, W], not negative.
        looks: the fixations; needed where `measure` is fixations.
        measure: what orders.
        more_than: so many subjects do not decide; one more does.
        fewest: salient instances.
        most: salient instances.
        most_overlap: IoU of two salient masks above which they are one object twice.
    """
    if not saliency.any():
        return Dropped("gaze", "nothing was looked at")
    if votes.subjects <= more_than:
        return Dropped("i", f"{votes.subjects} subjects saw it; expected more than {more_than}")
    for rule in ("ii", "iii", "iv"):
        if votes.against[rule] > more_than:
            found = f"{votes.against[rule]} of {votes.subjects} subjects"
            return Dropped(rule, f"{found} call it inappropriate")
    chosen = [n for n, count in enumerate(votes.picked) if count > more_than]
    if not fewest <= len(chosen) <= most:
        found = f"{len(chosen)} of {len(masks)} instances are salient"
        return Dropped("iv", f"{found}; expected {fewest} to {most}")
    for place, first in enumerate(chosen):
        for second in chosen[place + 1 :]:
            overlap = _iou(masks[first], masks[second])
            if overlap > most_overlap:
                both = f"instances {first + 1} and {second + 1} overlap by {overlap:.2f}"
                return Dropped("iii", f"{both}; expected at most {most_overlap}")
    return _order(chosen, [_keys(masks[n], saliency, looks, measure) for n in chosen])


def halves_agree(
    masks: Sequence[Bools], looks: Looks, *, measure: Measure, sigma: float
) -> tuple[float, int]:
    """How many pairs of instances two halves of the subjects order alike, and of how many.

    The ceiling of what a ranker may reach: people's own agreement. The halves are every other
    subject; what one half finds equally salient counts half.

    Args:
        masks: of the salient instances.
        looks: of all subjects.
        measure: as in `rank_instances`.
        sigma: of the fixation map, pixels.
    """
    halves = []
    for half in (0, 1):
        own = looks.whose % 2 == half
        part = Looks(looks.whose[own], looks.pixels[own])
        density = fixation_map(part, masks[0].shape, sigma)
        halves.append([_keys(mask, density, part, measure)[0] for mask in masks])
    return agreeing_pairs(np.arange(len(masks)), *halves)


def _iou(first: Bools, second: Bools) -> float:
    union = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / max(union, 1)


def _keys(
    mask: Bools, saliency: Floats, looks: Looks | None, measure: Measure
) -> tuple[float, float]:
    """What an instance is ranked by, and what decides where that is equal."""
    inside = saliency[mask]
    largest, mean = float(inside.max(initial=0)), float(inside.mean()) if inside.size else 0.0
    if measure == "fixations":
        if looks is None:
            raise ValueError("expected fixations to count")
        x, y = looks.pixels.T
        return float(np.count_nonzero(mask[y, x])), largest
    return (largest, mean) if measure == "max" else (mean, largest)


def _order(chosen: Sequence[int], keys: Sequence[tuple[float, float]]) -> Ranked | Dropped:
    placed = sorted(zip(keys, chosen, strict=True), key=lambda pair: pair[0], reverse=True)
    for (above, first), (below, second) in pairwise(placed):
        if above == below:
            both = f"instances {first + 1} and {second + 1}"
            return Dropped("ties", f"{both} are equally salient: {above[0]:.6g}")
    return Ranked(tuple(n for _, n in placed), tuple(key[0] for key, _ in placed))


def rank_map(masks: Sequence[Bools], ranks: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Grey levels that divide 0 to 255 evenly by rank, the most salient 255, the ground 0.

    Args:
        masks: bool [H, W] each, at least one.
        ranks: of each, 1 = most salient, 1 to n; the more salient is painted later.

    Returns:
        uint8 [H, W].
    """
    levels = np.zeros(masks[0].shape, dtype=np.uint8)
    for place in np.argsort([-rank for rank in ranks], kind="stable"):
        levels[masks[place]] = round(255 * (len(masks) - ranks[place] + 1) / len(masks))
    return levels
