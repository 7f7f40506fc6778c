"""GrabCut once more, from what a network saw; and the opinions on one box mixed."""

import cv2
import numpy as np
import numpy.typing as npt

from models.ops.boxes import reach
from models.ops.crops import Floats, resized

#: The longer side of the part that is cut, in pixels, at most.
SIDE = 256
#: Probabilities beyond which the network is believed.
BACKGROUND, OBJECT = 0.1, 0.9
ITERATIONS = 2
#: What a mask is worth as a probability.
SURE = 0.85
#: What the network, `cut_again` and GrabCut from the box alone count, where each fits its box; and
#: the probability of the object where none does.
PREDICTED, AGAIN, CUT = 0.35, 0.15, 0.5
FILLED = 0.7
NO_RECTANGLE = (0, 0, 0, 0)  # OpenCV wants one, and looks at the marks alone


def cut_again(
    image: npt.NDArray[np.uint8], probability: Floats, inside: npt.NDArray[np.bool_], seed: int
) -> npt.NDArray[np.bool_]:
    """GrabCut on a part of an image whose colour models start from a prediction.

    Args:
        image: uint8 RGB [h, w, 3].
        probability: [h, w] of the object.
        inside: bool [h, w], the box; beyond it all is background.
        seed: of OpenCV's generator.

    Returns:
        bool [h, w]. The prediction's own mask where GrabCut cannot run or loses half of it.
    """
    guess = (probability > 0.5) & inside
    scale = min(SIDE / max(guess.shape), 1.0)
    small = tuple(max(round(side * scale), 1) for side in guess.shape)
    shape = small[0], small[1]
    chance = resized((probability * inside).astype(np.float32), shape)
    marks = np.where(chance > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    marks[chance > OBJECT] = cv2.GC_FGD
    marks[(chance < BACKGROUND)] = cv2.GC_BGD
    objects = (marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)
    if objects.all() or not objects.any():
        return guess
    picture = np.ascontiguousarray(resized(image, shape), dtype=np.uint8)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(seed)
    try:
        cv2.grabCut(
            picture, marks, NO_RECTANGLE, background, foreground, ITERATIONS, cv2.GC_INIT_WITH_MASK
        )
    except cv2.error:
        return guess
    kept = ((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)).astype(np.float32)
    found = (resized(kept, guess.shape) > 0.5) & inside
    return found if 2 * found.sum() > guess.sum() else guess


def mixed(
    predicted: Floats,
    again: npt.NDArray[np.bool_],
    cut: npt.NDArray[np.bool_] | None,
) -> Floats:
    """The probability of the object from all that is known of a box.

    A box is tight, so its object reaches all four sides: an opinion counts as far as its mask does
    (a cat on a chair is no chair), and what no opinion has is left to the filled box.

    Args:
        predicted: [h, w], the network's, over the box alone.
        again: bool [h, w], `cut_again`.
        cut: bool [h, w], GrabCut's mask from the box alone; None where it told nothing.
    """
    opinions = [(PREDICTED, predicted, predicted > 0.5), (AGAIN, _worth(again), again)]
    if cut is not None:
        opinions.append((CUT, _worth(cut), cut))
    whole = sum(share for share, _, _ in opinions)
    total, left = np.zeros(predicted.shape), 1.0
    for share, probability, mask in opinions:
        weight = share / whole * reach(mask) ** 2
        total += weight * probability
        left -= weight
    return np.asarray(total + left * FILLED, dtype=np.float32)


def _worth(mask: npt.NDArray[np.bool_]) -> Floats:
    return np.asarray(np.where(mask, SURE, 1 - SURE), dtype=np.float32)
