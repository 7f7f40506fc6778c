"""The ground truth of one image: label maps read or painted, objects as run lengths."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stages.engine.errors import InputError
from stages.io.label_maps import UNKNOWN, LabelMap, decode_rle, encode_rle
from stages.sources.coco import decode_segmentation
from stages.sources.orientation import Layout, upright_map
from stages.sources.source import SourceBox, SourceImage


@dataclass(frozen=True)
class Outline:
    """The pixels of one object, upright.

    Attributes:
        number: index of its box.
        runs: COCO compressed run lengths.
        area: pixels.
        corners: the tight box; zeros where the area is 0.
        is_drawn: an annotator drew it; else it is its box, filled.
    """

    number: int
    runs: str
    area: float
    corners: tuple[float, float, float, float]
    is_drawn: bool


def _outline(number: int, mask: npt.NDArray[np.bool_], is_drawn: bool) -> Outline:
    area = float(mask.sum())
    corners = _tight_box(mask) if area else (0.0, 0.0, 0.0, 0.0)
    return Outline(number, encode_rle(mask), area, corners, is_drawn)


@dataclass(frozen=True)
class Truth:
    """The ground truth of one image, upright.

    Attributes:
        image: with boxes already upright.
        layout: of its file.
    """

    image: SourceImage
    layout: Layout

    def outlines(self) -> list[Outline]:
        """Of every object that has a mask; where labels are painted of them, of every box.

        One mask at a time is held in full: an image may have thousands of objects.

        Raises:
            InputError: a map or an outline that is not one of this image.
        """
        if self.image.objects is not None:
            numbers = self.layout.read_map(self.image.objects)
            values = [int(n) for n in np.unique(numbers) if 0 < n < UNKNOWN]
            if values and values[-1] > len(self.image.boxes):
                path = self.layout.root / self.image.objects
                boxes = len(self.image.boxes)
                raise InputError(f"{path}: object {values[-1]}; the annotation has {boxes} objects")
            return [_outline(n - 1, numbers == n, True) for n in values]
        drawn = [box.segmentation is not None for box in self.image.boxes]
        painted = self.image.outlined and self.image.semantic is None
        return [
            _outline(n, self._paint(box), drawn[n])
            for n, box in enumerate(self.image.boxes)
            if drawn[n] or (painted and box.corners is not None)
        ]

    def labels(self, outlines: Sequence[Outline]) -> LabelMap | None:
        """The label map; instances painted from large to small, crowds below and unknown.

        Args:
            outlines: those of `outlines`.

        Raises:
            InputError: a map that is not one of this image.
        """
        if self.image.semantic is not None:
            return self.layout.read_map(self.image.semantic)
        nowhere = any(b.corners is None and b.segmentation is None for b in self.image.boxes)
        if not self.image.outlined or nowhere:
            return None
        width, height = self.layout.size
        labels = np.zeros((height, width), dtype=np.uint8)
        boxes = self.image.boxes
        for outline in sorted(outlines, key=lambda o: (not boxes[o.number].is_crowd, -o.area)):
            box = boxes[outline.number]
            unknown = box.is_crowd or not outline.is_drawn
            value = UNKNOWN if unknown else box.category
            labels[decode_rle(outline.runs, height, width)] = value
        return labels

    def _paint(self, box: SourceBox) -> npt.NDArray[np.bool_]:
        if box.segmentation is not None:
            mask = decode_segmentation(box.segmentation, self.layout.drawn, box.where)
            return upright_map(mask.view(np.uint8), self.layout.turn).view(bool)
        mask = np.zeros(self.layout.size[::-1], dtype=bool)
        if box.corners is not None:
            x0, y0, x1, y1 = (max(round(side), 0) for side in box.corners)
            mask[y0:y1, x0:x1] = True
        return mask


def check_labels(labels: LabelMap, last: int, path: Path) -> None:
    """No label is above the last category, but for unknown.

    Raises:
        InputError: one is.
    """
    values = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    unknown = [int(value) for value in values if last < value < UNKNOWN]
    if unknown:
        raise InputError(f"{path}: label {unknown[0]}; expected 0..{last} or {UNKNOWN}")


def _tight_box(mask: npt.NDArray[np.bool_]) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
