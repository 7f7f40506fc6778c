"""How well salient instances are ranked: SA-SOR in three versions, SOR, SSOR, MAE, rank errors.

Saliency is larger where more salient, of true instances as of found ones; only its order counts.
Ranks ascend as in the paper: 1 is the least salient, equal saliency shares the lowest rank. Each
function takes one image, as arrays or tensors on the CPU, and is NaN where its measure leaves the
image out; how many images were used belongs to every mean (`mean_used`).

Of images with two true instances any single hit on the more salient one gives SA-SOR 1: a property
of the measure.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
#: paper (IRSR section 5.2) | released: its public code | hungarian: the public code of a later
#: paper, matched by the largest total IoU.
Version = Literal["paper", "released", "hungarian"]
VERSIONS: tuple[Version, ...] = ("paper", "released", "hungarian")
HIT = 0.5  # IoU; above it in `hungarian`, from it on in the others


def ascending_ranks(saliency: npt.ArrayLike) -> Ints:
    """1 = least salient; equal ones share the lowest rank: [N]."""
    return rankdata(np.asarray(saliency, dtype=np.float64), method="min").astype(np.int64)


def correlation(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Pearson's; NaN where one of them is constant."""
    a, b = (np.asarray(each, dtype=np.float64) for each in (first, second))
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm else float("nan")


# --- which found instance is which true one --------------------------------------------------


def match_confident(overlaps: npt.ArrayLike, confidence: npt.ArrayLike) -> Ints:
    """COCO's way: the surest found instance first, each takes the free true one it overlaps most.

    Args:
        overlaps: IoU [P, G].
        confidence: [P].

    Returns:
        [G], the index of the found instance, -1 where there is none.
    """
    iou = _table(overlaps)
    matched = np.full(iou.shape[1], -1)
    for found in np.argsort(-np.asarray(confidence, dtype=np.float64), kind="stable"):
        free = np.where(matched < 0, iou[found], -1.0)
        if free.size and free.max() >= HIT:
            matched[int(free.argmax())] = found
    return matched


def match_largest(overlaps: npt.ArrayLike) -> Ints:
    """Each true instance takes the found one of the largest IoU; of rivals the best keeps it.

    Of equal IoUs the last counts, as in the public code. Arguments and answer as above.
    """
    iou = _table(overlaps)
    matched = np.full(iou.shape[1], -1)
    if not iou.size:
        return matched
    best = iou.shape[0] - 1 - iou[::-1].argmax(axis=0)
    value = iou[best, np.arange(iou.shape[1])]
    for found in np.unique(best[value >= HIT]):
        rivals = np.flatnonzero((best == found) & (value >= HIT))
        matched[rivals[np.argsort(value[rivals], kind="stable")[-1]]] = found
    return matched


def match_most(overlaps: npt.ArrayLike) -> Ints:
    """One to one with the largest total IoU; hits are above `HIT`. As above."""
    iou = _table(overlaps)
    matched = np.full(iou.shape[1], -1)
    found, true = linear_sum_assignment(iou, maximize=True)
    hit = iou[found, true] > HIT
    matched[true[hit]] = found[hit]
    return matched


# --- measures --------------------------------------------------------------------------------


def sa_sor(
    overlaps: npt.ArrayLike,
    saliency: npt.ArrayLike,
    confidence: npt.ArrayLike,
    truth: npt.ArrayLike,
    version: Version = "paper",
) -> float:
    """Segmentation-aware salient object ranking: -1 to 1.

    The correlation of the true ranks with those of the matched instances, 0 where one is missed.
    In the paper every found instance has a rank, so that a wrong one displaces the others; its
    public code ranks the wrong ones only where there are more found than true instances.

    Images that do not count (NaN): with one true instance, or all equally salient. `hungarian`
    counts both as 0. Without a hit, or with all found instances equally salient, it is 0; in
    `released` this comes first, before all equally salient true ones.

    Args:
        overlaps: IoU [P, G].
        saliency: of the found instances [P].
        confidence: of these [P]; the paper's matching goes by it.
        truth: saliency of the true ones [G].
        version: see `Version`.
    """
    iou = _table(overlaps)
    true = ascending_ranks(truth)
    if len(true) < 2:
        return 0.0 if version == "hungarian" and len(true) else float("nan")
    if version == "released":
        ranks = _released_ranks(iou, np.asarray(saliency, dtype=np.float64))
        if np.ptp(ranks) == 0:
            return 0.0
        return correlation(ranks, true)
    matched = match_confident(iou, confidence) if version == "paper" else match_most(iou)
    ranks = np.zeros(len(true), dtype=np.int64)
    hit = matched >= 0
    ranks[hit] = ascending_ranks(saliency)[matched[hit]]
    if version == "paper" and np.ptp(true) == 0:
        return float("nan")
    return float(np.nan_to_num(correlation(ranks, true)))


def _released_ranks(iou: Floats, saliency: Floats) -> Ints:
    matched = match_largest(iou)
    kept = matched[matched >= 0]
    wrong = np.setdiff1d(np.arange(len(iou)), kept)
    counted = np.concatenate([kept, wrong]) if iou.shape[1] < len(iou) else kept
    ranks = np.zeros(iou.shape[1], dtype=np.int64)
    if len(kept):
        ranks[matched >= 0] = ascending_ranks(saliency[counted])[: len(kept)]
    return ranks


def sor(predicted: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Salient object ranking of given instances: Spearman's correlation brought to 0 to 1.

    NaN for fewer than two, or where all are equally salient, in truth or as predicted.

    Args:
        predicted: saliency by instance, such as the mean of a map inside its mask.
        truth: likewise.
    """
    if np.asarray(truth).size < 2:
        return float("nan")
    return (1 + correlation(_average_ranks(predicted), _average_ranks(truth))) / 2


def ssor(
    grey: npt.ArrayLike,
    masks: Sequence[npt.ArrayLike],
    truth: npt.ArrayLike,
    rule: Literal["mode", "mean"] = "mode",
) -> float:
    """SOR of what a map paints on the true instances (Siris et al.): 0 to 1.

    An instance of which more than half is painted has the commonest grey level of these pixels
    (of equals the darkest); one that is painted less is left out. One that is left alone counts 1.
    `mean`, the later version, takes the mean over the whole mask and needs two.

    Args:
        grey: uint8 [H, W]; 0 is not painted.
        masks: bool [H, W] each.
        truth: saliency [G]; 0 is not salient.
        rule: see above.

    Returns:
        NaN where no instance is left, or where those that are left are all equally salient.
    """
    values = np.asarray(grey)
    levels = [grey_level(values[np.asarray(mask, dtype=bool)], rule) for mask in masks]
    return ssor_of_levels(levels, truth, rule)


def ssor_of_levels(
    levels: npt.ArrayLike, truth: npt.ArrayLike, rule: Literal["mode", "mean"] = "mode"
) -> float:
    """`ssor` of what `grey_level` says of each true instance."""
    levels, true = np.asarray(levels, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    kept = (levels > 0) & (true > 0)
    if kept.sum() == 1:
        return 1.0 if rule == "mode" else float("nan")
    return sor(levels[kept], true[kept])


def grey_level(inside: npt.NDArray[np.uint8], rule: Literal["mode", "mean"] = "mode") -> float:
    """The level that `ssor` gives an instance whose pixels a map paints so: [N]; 0: none."""
    painted = inside[inside > 0]
    if rule == "mean":
        return float(inside.mean()) if inside.size else 0.0
    if len(painted) <= int(inside.size * 0.5):
        return 0.0
    return float(np.bincount(painted).argmax())


def rank_levels(
    masks: Sequence[npt.ArrayLike], saliency: npt.ArrayLike, size: tuple[int, int]
) -> Floats:
    """Ascending ranks divided by their number, painted in the order given: [H, W], ground 0.

    What comes later covers what came before; the public code paints the surest instance first.
    """
    levels = np.zeros(size)
    ranks = ascending_ranks(saliency)
    for mask, rank in zip(masks, ranks, strict=True):
        levels[np.asarray(mask, dtype=bool)] = rank / len(masks)
    return levels


def mae_of_ranks(predicted: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """`mae` of two maps of ascending ranks, each divided by its largest: uint8 [H, W], 0 ground."""
    first, second = (np.asarray(each, dtype=np.uint8).ravel() for each in (predicted, truth))
    painted = np.flatnonzero(first | second)  # elsewhere both are 0
    one, other = (each[painted] / max(float(each.max()), 1.0) for each in (first, second))
    return float(np.abs(one - other).sum() / first.size)


def mae(predicted: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Mean absolute difference of two maps from 0 to 1."""
    return float(np.abs(np.asarray(predicted, np.float64) - np.asarray(truth, np.float64)).mean())


def rank_errors(matched: npt.ArrayLike, saliency: npt.ArrayLike, truth: npt.ArrayLike) -> Floats:
    """|predicted - true rank| of each true instance, 1 = most salient; NaN where it is missed: [G].

    Args:
        matched: [G] of one of the matchings.
        saliency: of the found instances [P].
        truth: saliency of the true ones [G].
    """
    index = np.asarray(matched, dtype=np.int64)
    errors = np.full(len(index), np.nan)
    hit = index >= 0
    descending = ascending_ranks(-np.asarray(saliency, dtype=np.float64))
    true = ascending_ranks(-np.asarray(truth, dtype=np.float64))
    errors[hit] = np.abs(descending[index[hit]] - true[hit])
    return errors


def agreeing_pairs(
    matched: npt.ArrayLike, saliency: npt.ArrayLike, truth: npt.ArrayLike
) -> tuple[float, int]:
    """How many pairs of true instances have the right order, and how many pairs there are.

    Pairs of equal true saliency are none; a pair that is found equally salient counts half, one of
    which an instance is missed not at all, one with a single hit is right where the hit is the more
    salient.
    """
    index, true = np.asarray(matched, dtype=np.int64), np.asarray(truth, dtype=np.float64)
    found = np.full(len(index), -np.inf)
    found[index >= 0] = np.asarray(saliency, dtype=np.float64)[index[index >= 0]]
    first, second = np.triu_indices(len(true), 1)
    wanted = np.sign(true[first] - true[second])
    with np.errstate(invalid="ignore"):
        got = np.sign(np.nan_to_num(found[first] - found[second], nan=0.0))
    missed = np.isneginf(found[first]) & np.isneginf(found[second])
    pairs = wanted != 0
    right = np.where(missed, 0.0, np.where(got == wanted, 1.0, np.where(got == 0, 0.5, 0.0)))
    return float(right[pairs].sum()), int(pairs.sum())


def mean_used(values: Sequence[float]) -> tuple[float, int]:
    """The mean over the images that a measure uses, and how many these are; NaN of none."""
    used = [value for value in values if not np.isnan(value)]
    return (float(np.mean(used)) if used else float("nan")), len(used)


def _average_ranks(values: npt.ArrayLike) -> Floats:
    return np.asarray(rankdata(np.asarray(values, dtype=np.float64)), dtype=np.float64)


def _table(overlaps: npt.ArrayLike) -> Floats:
    iou = np.asarray(overlaps, dtype=np.float64)
    if iou.ndim != 2:
        raise ValueError(f"expected IoU [P, G], got shape {iou.shape}")
    return iou
