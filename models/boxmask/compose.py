"""The boxes of an image put together: class scores, labels, a mask per box, seeds.

A box holds its object and nothing outside of it, so all that is known of a box is an array over its
pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.boxmask.cut import cut_again, mixed
from models.ops.boxes import smaller_on_top
from models.ops.crops import Floats, Window, lay_back
from models.ops.labels import UNKNOWN

Mask = npt.NDArray[np.bool_]
#: Of a box that is nowhere likely, or that others hide, so much is its object all the same.
LEAST_SHARE = 0.1
#: No probability counts as nearer to 0 or 1 when boxes are weighed.
EDGE = 1e-3


class Opinion(NamedTuple):
    """What is known of one box, over its pixels.

    Attributes:
        window: where the box lies.
        category: its label value.
        probability: [h, w], of the object.
        predicted: [h, w], the network's alone.
        cut: bool [h, w], GrabCut's mask from the box alone; None where it told nothing.
    """

    window: Window
    category: int
    probability: Floats
    predicted: Floats
    cut: Mask | None

    @property
    def mask(self) -> Mask:
        """Bool [h, w], where the object is likely; never empty."""
        return own_mask(self.probability)

    @property
    def agreement(self) -> float:
        """IoU of the network's mask and GrabCut's; 0 where GrabCut told nothing."""
        if self.cut is None:
            return 0.0
        own = self.predicted > 0.5
        either = (own | self.cut).sum()
        return float((own & self.cut).sum() / either) if either else 0.0


def form_opinion(
    image: npt.NDArray[np.uint8],
    window: Window,
    category: int,
    cells: Floats,
    cut: Mask | None,
    seed: int,
) -> Opinion:
    """All that is known of one box.

    Args:
        image: uint8 RGB [H, W, 3].
        window: what the network saw.
        category: label value of the box.
        cells: the network's probabilities, [side, side].
        cut: bool [H, W], GrabCut's mask from the box alone; None where it told nothing.
        seed: of GrabCut from the network's mask.
    """
    predicted = lay_back(cells, window)
    inside = np.zeros(predicted.shape, dtype=bool)
    inside[window.box_in_part()] = True
    again = cut_again(image[window.part_in_image()], predicted, inside, seed)
    own = window.box_in_part()
    first = None if cut is None else cut[window.box_in_image()]
    probability = mixed(predicted[own], again[own], first)
    return Opinion(window, category, probability, predicted[own], first)


def own_mask(probability: Floats) -> Mask:
    """Where the object is likely; the likeliest `LEAST_SHARE` of the box where it is nowhere."""
    likely = probability > 0.5
    return likely if likely.any() else likeliest(probability, LEAST_SHARE)


def likeliest(scores: Floats, share: float) -> Mask:
    """So large a share of the pixels, the highest first; at least one pixel."""
    count = max(round(share * scores.size), 1)
    chosen = np.zeros(scores.size, dtype=bool)
    chosen[np.argsort(-scores, axis=None, kind="stable")[:count]] = True
    return chosen.reshape(scores.shape)


def class_scores(
    opinions: Sequence[Opinion], size: tuple[int, int]
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Scores of the background and of each class that has a box.

    A class scores as its likeliest box does, the background what the likeliest class leaves. Of
    several boxes in which a pixel is likely that one claims it whose odds, divided by its area, are
    highest: a small box says more about where its object is. Its class and the likeliest exchange
    their scores.

    Args:
        opinions: of the boxes of the image.
        size: (H, W).

    Returns:
        float32 [C, H, W], which sums to 1 over C, and the label values, ascending.
    """
    classes = np.array(sorted({0, *(opinion.category for opinion in opinions)}), dtype=np.int64)
    scores = np.zeros((len(classes), *size), dtype=np.float32)
    claimant = np.zeros(size, dtype=np.int64)
    strongest = np.full(size, -np.inf)
    for opinion in opinions:
        row = int(np.searchsorted(classes, opinion.category))
        here = opinion.window.box_in_image()
        np.maximum(scores[row][here], opinion.probability, out=scores[row][here])
        chance = np.clip(opinion.probability, EDGE, 1 - EDGE)
        claim = np.log(chance / (1 - chance)) - np.log(chance.size)
        wins = (opinion.probability > 0.5) & (claim > strongest[here])
        strongest[here][wins] = claim[wins]
        claimant[here][wins] = row
    scores[0] = 1 - scores[1:].max(axis=0, initial=0)
    likeliest_row = scores.argmax(axis=0)
    rows, columns = np.nonzero((claimant > 0) & (claimant != likeliest_row))
    given, taken = claimant[rows, columns], likeliest_row[rows, columns]
    scores[given, rows, columns], scores[taken, rows, columns] = (
        scores[taken, rows, columns],
        scores[given, rows, columns],
    )
    return scores / scores.sum(axis=0), classes


def label_boxes(
    opinions: Sequence[Opinion], scores: Floats, classes: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """The likeliest class of each pixel, and something of every box.

    Of a box whose class shows nowhere in it, the likeliest tenth is painted, smaller boxes on top.

    Returns:
        uint8 [H, W].
    """
    labels: npt.NDArray[np.uint8] = classes[scores.argmax(axis=0)].astype(np.uint8)
    windows = [opinion.window for opinion in opinions]
    for index in smaller_on_top([window.inner for window in windows]):
        opinion = opinions[index]
        here = labels[opinion.window.box_in_image()]
        if not (here == opinion.category).any():
            here[likeliest(opinion.probability, LEAST_SHARE)] = opinion.category
    return labels


def agreed_seeds(
    opinions: Sequence[Opinion], labels: npt.NDArray[np.uint8], sure: float
) -> npt.NDArray[np.uint8]:
    """Where the network is sure and GrabCut does not differ.

    Args:
        opinions: of the boxes of the image.
        labels: uint8 [H, W], of `label_boxes`.
        sure: probability from which the network is sure, and 1 minus that at which it is sure of
            the contrary.

    Returns:
        uint8 [H, W]: the class where a box of its own is sure, 0 where every box that holds the
        pixel is sure that it is not its object and nothing else says it is, 255 elsewhere. No box
        is without a seed unless others hide all of it.
    """
    seeds = np.zeros(labels.shape, dtype=np.uint8)
    surely = np.zeros(labels.shape, dtype=bool)
    for opinion in opinions:
        here = opinion.window.box_in_image()
        told = opinion.cut if opinion.cut is not None else opinion.predicted > 0.5
        own = labels[here] == opinion.category
        is_object = (opinion.predicted >= sure) & told & own
        if own.any() and not is_object.any():
            is_object = own & likeliest(np.where(own, opinion.probability, 0), LEAST_SHARE)
        surely[here] |= is_object
        likely = told | opinion.mask
        seeds[here][(opinion.predicted > 1 - sure) | likely] = UNKNOWN
    seeds[surely] = labels[surely]
    return seeds
