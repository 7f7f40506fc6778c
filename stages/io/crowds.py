"""Crowd regions: many objects under one outline, none with a box of its own.

No box tells what their pixels are, and none says that they are background: seeds and labels leave
them unknown, except where a box of one object holds the pixel (`unknown_in_region`).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.ops.boxes import outside_boxes
from stages.io.data_set import Crowd
from stages.io.label_maps import decode_rle


def crowd_region(crowds: Sequence[Crowd], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Where the crowds of an image are: their outlines, the whole box where there is none.

    Args:
        crowds: of the image; may be empty.
        size: (H, W).

    Returns:
        bool [H, W].
    """
    region = ~outside_boxes([crowd.corners for crowd in crowds if crowd.mask is None], size)
    for crowd in crowds:
        if crowd.mask is not None:
            region |= decode_rle(crowd.mask, *size)
    return region
