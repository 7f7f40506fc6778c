"""Named instances as one label map: proxy ground truth (Fan et al. 2018, section 5)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.ops.labels import UNKNOWN


def painted(
    masks: Sequence[npt.NDArray[np.bool_]], labels: Sequence[int], size: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Every instance in its label value, smaller ones on top; background elsewhere.

    What is rejected is unknown where no named instance lies. The paper says neither what covers
    what nor what becomes of rejected instances.

    Args:
        masks: bool [H, W] each.
        labels: the label value of each; 0: rejected.
        size: (H, W).

    Returns:
        uint8 [H, W]; all unknown where nothing has a name: of such an image nothing is known, not
        even where its background is.
    """
    if not any(labels):
        return np.full(size, UNKNOWN, dtype=np.uint8)
    found = np.zeros(size, dtype=np.uint8)
    # rejected ones first, then from the largest mask to the smallest
    order = sorted(range(len(masks)), key=lambda row: (labels[row] != 0, -int(masks[row].sum())))
    for row in order:
        found[masks[row]] = labels[row] or UNKNOWN
    return found
