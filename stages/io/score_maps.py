"""Score maps: one <image_id>.npz per image, no pickle.

A score map covers its image with the cells of models/ops/grid.py; stride 1 is one score per pixel.
"""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.ops.grid import grid_size
from stages.engine.errors import InputError
from stages.io.label_maps import UNKNOWN, LabelMap


@dataclass(frozen=True)
class ScoreMap:
    """Scores of the classes present in one image.

    Attributes:
        scores: float16 [C, h, w]; h = ceil(H / stride), w = ceil(W / stride).
        classes: int64 [C] label values, ascending, one per row of `scores`.
        size: (H, W) of the image in pixels.
        stride: side of a cell in pixels.
    """

    scores: npt.NDArray[np.float16]
    classes: npt.NDArray[np.int64]
    size: tuple[int, int]
    stride: int

    def __post_init__(self) -> None:
        expected = (len(self.classes), *grid_size(self.size, self.stride))
        if self.scores.shape != expected:
            raise ValueError(f"scores: expected shape {expected}, got {self.scores.shape}")


def certain_scores(labels: LabelMap) -> ScoreMap:
    """The scores per pixel of labels that are sure: 1 and 0; where they are 255 all are alike."""
    classes = np.array(sorted({0, *np.unique(labels).tolist()} - {UNKNOWN}), dtype=np.int64)
    scores = (labels == classes[:, None, None]).astype(np.float16)
    scores[:, labels == UNKNOWN] = 1 / len(classes)
    return ScoreMap(scores, classes, (labels.shape[0], labels.shape[1]), 1)


def encode_score_map(score_map: ScoreMap) -> bytes:
    """The bytes of the .npz file; the same map always gives the same bytes."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        "scores": score_map.scores.astype(np.float16, copy=False),
        "classes": score_map.classes.astype(np.int64, copy=False),
        "size": np.array(score_map.size, dtype=np.int64),
        "stride": np.array(score_map.stride, dtype=np.int64),
    }
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_score_map(path: Path, size: tuple[int, int] | None = None) -> ScoreMap:
    """Read what `encode_score_map` wrote.

    Args:
        path: the file.
        size: (H, W) of its image, which it must have; None: any.

    Raises:
        InputError: missing or unreadable file, a missing array, or of another size.
    """
    score_map = _read(path)
    if size is not None and score_map.size != size:
        raise InputError(f"{path}: size {score_map.size}; expected {size} of its image")
    return score_map


def _read(path: Path) -> ScoreMap:
    try:
        # opened here, because np.load leaves a broken archive open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            height, width = (int(side) for side in arrays["size"])
            return ScoreMap(
                arrays["scores"], arrays["classes"], (height, width), int(arrays["stride"])
            )
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such score map") from error
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a score map: {error}") from error
