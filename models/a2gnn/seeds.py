"""Seeds from boxes and from class activation maps, and their fusion (A2GNN sections 3 and 4.2).

Labels are uint8 [H, W]: 0 background, 1..254 categories, 255 unknown.

What eq. 5 does as printed: M_F of eq. 4 is either unknown or equal to M_B (line 1 copies M_B, line
2 asks for agreement with it, line 3 copies it), so its condition "M_F = M_B or M_F = M'_I" holds
wherever M_F is known, and M_g = M_F: it removes nothing. The text and figure 3 show something else:
objects whose labels shrink to their most discriminative part. `confident_seeds` is eq. 5 as
printed; `agreeing_seeds` is the selection that the text describes.

A2GNN: https://arxiv.org/abs/2106.04054.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.ops.boxes import BoxTuple, outside_boxes, pixel_box
from models.ops.labels import UNKNOWN

Labels = npt.NDArray[np.uint8]


def box_seeds(labels: Labels, boxes: Sequence[BoxTuple]) -> Labels:
    """M_B of eq. 2 and 3: outside the boxes background, inside them the objects that were cut out.

    Args:
        labels: GrabCut's labels, 0 on its background inside the boxes too, which eq. 2 makes
            unknown; 255 stays.
        boxes: the boxes of the image.
    """
    inside = ~outside_boxes(boxes, (labels.shape[0], labels.shape[1]))
    return np.where(inside & (labels == 0), UNKNOWN, labels)


def cam_labels(cams: npt.NDArray[np.float32], classes: Sequence[int], threshold: float) -> Labels:
    """M_I of eq. 1: the class of the highest activation, background below the threshold.

    Args:
        cams: [C, H, W] activations in [0, 1] of the tagged classes; C may be 0.
        classes: the C label values.
        threshold: an activation must exceed it to be more than background.
    """
    if not len(classes):
        return np.zeros(cams.shape[1:], dtype=np.uint8)
    named = np.asarray(classes, dtype=np.uint8)[cams.argmax(axis=0)]
    return np.where(cams.max(axis=0) > threshold, named, np.uint8(0))


def fused_seeds(
    cam: Labels, grabcut: Labels, boxes: Sequence[BoxTuple], categories: Sequence[int]
) -> Labels:
    """M_F of eq. 4: background outside the boxes, agreement of both sources inside.

    A box in which `cam` never shows its category (line 3) gets what `grabcut` says of it. M_B_k of
    eq. 2 is read from M_B: the pixels of box k that have its category. Hence, where the objects of
    two boxes overlap, only the box on top can claim the pixel, for line 3 too.

    Args:
        cam: M_I.
        grabcut: M_B.
        boxes: the boxes of the image.
        categories: one label value per box.
    """
    size = grabcut.shape[0], grabcut.shape[1]
    fused = np.where(cam == grabcut, cam, UNKNOWN)
    for index in unseen_boxes(cam, boxes, categories):
        x0, y0, x1, y1 = pixel_box(boxes[index], size)
        own = grabcut[y0:y1, x0:x1] == categories[index]
        fused[y0:y1, x0:x1][own] = categories[index]
    return np.where(outside_boxes(boxes, size), grabcut, fused)


def unseen_boxes(cam: Labels, boxes: Sequence[BoxTuple], categories: Sequence[int]) -> list[int]:
    """Indices of the boxes in which `cam` never shows their category (line 3 of eq. 4)."""
    unseen = []
    for index, (box, category) in enumerate(zip(boxes, categories, strict=True)):
        x0, y0, x1, y1 = pixel_box(box, (cam.shape[0], cam.shape[1]))
        if not (cam[y0:y1, x0:x1] == category).any():
            unseen.append(index)
    return unseen


def confident_cam(cams: npt.NDArray[np.float32], classes: Sequence[int], fraction: float) -> Labels:
    """M'_I of section 4.2: of each class the `fraction` of its pixels with the highest activation.

    The threshold is found for each class and image: of the pixels where the class wins (against
    background, which scores (1 - max)^24) with more than 0.01, those at or above the quantile
    1 - fraction are kept. Background is kept where it scores above 0.8. The rest is unknown.

    Args:
        cams: [C, H, W] activations in [0, 1] of the tagged classes; C may be 0.
        classes: the C label values.
        fraction: in (0, 1]; paper: 0.4.
    """
    peak = cams.max(axis=0, initial=0.0)
    background = (1.0 - np.minimum(peak, 1.0)) ** 24
    labels = np.where(background > 0.8, np.uint8(0), UNKNOWN)
    if not len(classes):
        return labels
    winner = np.where(peak > background, cams.argmax(axis=0), -1)
    for row, label in enumerate(classes):
        own = (winner == row) & (cams[row] > 0.01)
        if own.any():
            labels[own & (cams[row] >= np.quantile(cams[row][own], 1.0 - fraction))] = label
    return labels


def confident_seeds(fused: Labels, grabcut: Labels, confident: Labels) -> Labels:
    """M_g of eq. 5 as printed: what of M_F equals M_B or M'_I; that is all of M_F.

    Args:
        fused: M_F.
        grabcut: M_B.
        confident: M'_I.
    """
    return np.where((fused == grabcut) | (fused == confident), fused, UNKNOWN)


def agreeing_seeds(
    cam: Labels,
    fused: Labels,
    confident: Labels,
    boxes: Sequence[BoxTuple],
    categories: Sequence[int],
) -> Labels:
    """M_g as section 4.2 describes it: objects keep only their most activated part.

    # differs from the paper: eq. 5 as printed keeps all of M_F (see the module). Here M_F = M_B is
    enough where no activation could confirm a label: outside the boxes, and in boxes whose category
    M_I misses (line 3 of eq. 4). Elsewhere a label needs M_F = M'_I.

    Args:
        cam: M_I.
        fused: M_F.
        confident: M'_I.
        boxes: the boxes of the image.
        categories: one label value per box.
    """
    keep = (fused == confident) | (fused == 0)
    for index in unseen_boxes(cam, boxes, categories):
        x0, y0, x1, y1 = pixel_box(boxes[index], (fused.shape[0], fused.shape[1]))
        keep[y0:y1, x0:x1] |= fused[y0:y1, x0:x1] == categories[index]
    return np.where(keep, fused, UNKNOWN)


def with_inner_background(fused: Labels, grabcut: Labels, calm: npt.NDArray[np.bool_]) -> Labels:
    """M_F with the background that both sources see inside the boxes.

    # differs from the paper: eq. 2 makes GrabCut's background inside a box unknown, so that no seed
    # tells the object from what surrounds it there, and labels fill their boxes. Where the
    # activations are low too, it is background for both sources, which is what eq. 4 asks for.

    Args:
        fused: M_F.
        grabcut: GrabCut's labels, 0 also inside the boxes.
        calm: bool [H, W], where no class is activated.
    """
    return np.where((fused == UNKNOWN) & (grabcut == 0) & calm, np.uint8(0), fused)
