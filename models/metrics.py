"""How good are label maps: VOC's mIoU, precision and coverage, from one confusion matrix.

The pixels of all images are counted first and divided afterwards, as VOC does; the mean of the
images' IoUs is another number. Unknown pixels (255) of a prediction are honest silence: a miss of
the true class for the IoU, no error for the precision. Unknown pixels of the truth do not exist.
"""

import numpy as np
import numpy.typing as npt

from models.ops.labels import UNKNOWN

Scores = npt.NDArray[np.float64]


class ConfusionMatrix:
    """Pixel counts of (true label, predicted label) over a whole set of images.

    Attributes:
        counts: int64 [C, C + 1]; row = truth, column = prediction, the last column = unknown.
    """

    def __init__(self, classes: int) -> None:
        """Nothing counted yet; labels are 0 .. `classes` - 1.

        Raises:
            ValueError: `classes` is not in 1..255.
        """
        if not 1 <= classes <= UNKNOWN:
            raise ValueError(f"classes: expected 1 to {UNKNOWN}, got {classes}")
        self.classes = classes
        self.counts = np.zeros((classes, classes + 1), dtype=np.int64)

    def update(self, truth: npt.NDArray[np.uint8], prediction: npt.NDArray[np.uint8]) -> None:
        """Count the pixels of one image.

        Args:
            truth: [H, W] labels; pixels with 255 are left out.
            prediction: [H, W] labels; 255 = unknown.

        Raises:
            ValueError: the shapes differ, or a label is neither below `classes` nor 255.
        """
        if truth.shape != prediction.shape:
            raise ValueError(
                f"prediction: expected shape {truth.shape} of the truth, got {prediction.shape}"
            )
        codes = (truth.ravel().astype(np.intp) << 8) + prediction.ravel()
        pairs = np.bincount(codes, minlength=256 * 256).reshape(256, 256)
        for name, seen in (("truth", pairs.sum(axis=1)), ("prediction", pairs.sum(axis=0))):
            foreign = np.flatnonzero(seen[self.classes : UNKNOWN]) + self.classes
            if len(foreign):
                raise ValueError(
                    f"{name}: expected labels below {self.classes} or {UNKNOWN}, got {foreign[0]}"
                )
        self.counts[:, : self.classes] += pairs[: self.classes, : self.classes]
        self.counts[:, self.classes] += pairs[: self.classes, UNKNOWN]

    def add(self, other: "ConfusionMatrix") -> None:
        """Count what `other` has counted as well; it must have the same classes."""
        self.counts += other.counts

    @property
    def pixels(self) -> int:
        """Pixels whose truth is known."""
        return int(self.counts.sum())

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Bool [C]: the class occurs in the truth or in the predictions."""
        return self._unions() > 0

    @property
    def held(self) -> npt.NDArray[np.bool_]:
        """Bool [C]: the class occurs in the truth."""
        held: npt.NDArray[np.bool_] = self.counts.sum(axis=1) > 0
        return held

    def iou(self) -> Scores:
        """Intersection over union per class, in [0, 1]; NaN where the class is not `present`."""
        return _ratio(self._hits(), self._unions())

    def class_precision(self) -> Scores:
        """Share of the pixels predicted as each class that are; NaN where none is predicted."""
        return _ratio(self._hits(), self.counts[:, : self.classes].sum(axis=0))

    def miou(self, labels: npt.ArrayLike | None = None) -> float:
        """Mean IoU over the classes `present`, in [0, 1].

        Args:
            labels: only these label values; None is all.

        Returns:
            NaN when no class is present.
        """
        iou = self.iou() if labels is None else self.iou()[np.asarray(labels, dtype=np.intp)]
        known = iou[~np.isnan(iou)]
        return float(known.mean()) if len(known) else float("nan")

    def held_miou(self) -> float:
        """Mean IoU over the classes that the truth holds: what single images are ranked by.

        A class that is predicted where the truth of an image has none of it would count as 0,
        however few its pixels; those are missed by the classes that are there all the same.

        Returns:
            NaN when the truth holds no class.
        """
        return self.miou(np.flatnonzero(self.held))

    def precision(self) -> float:
        """Share of the labelled pixels that are right; NaN when none is labelled."""
        labelled = self.counts[:, : self.classes].sum()
        return float(self._hits().sum() / labelled) if labelled else float("nan")

    def coverage(self) -> float:
        """Share of the pixels that are labelled at all; NaN when there are no pixels."""
        labelled = self.counts[:, : self.classes].sum()
        return float(labelled / self.pixels) if self.pixels else float("nan")

    def _hits(self) -> npt.NDArray[np.int64]:
        return np.diagonal(self.counts).copy()

    def _unions(self) -> npt.NDArray[np.int64]:
        truth, predicted = self.counts.sum(axis=1), self.counts[:, : self.classes].sum(axis=0)
        unions: npt.NDArray[np.int64] = truth + predicted - self._hits()
        return unions


def _ratio(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> Scores:
    ratio: Scores = np.full(len(whole), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
