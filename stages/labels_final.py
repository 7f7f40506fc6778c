"""The final labels: the automatic ones, and in their place what a person has corrected.

A correction, data/corrections/<image_id>.png, is a human label and a declared input of this stage:
beside the whole masks among the user's labels the only masks made by hand that the weakly
supervised line may see, and ground truth is none of them. No later stage changes one. A whole mask
comes here as it was brought, and counts as human, too.

Writes
    labels/<image_id>.png    every training image; an automatic label byte for byte as it was
    origins.csv              image_id, origin: human or automatic
    metrics.json             how many of each, and how much the corrections changed
"""

import difflib
from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from stages.engine.command import run
from stages.engine.errors import InputError
from stages.engine.files import write_bytes, write_json
from stages.engine.progress import counted
from stages.io.corrections import (
    AUTOMATIC,
    HUMAN,
    correction_files,
    read_correction,
    write_origins,
)
from stages.io.data_set import Dataset
from stages.io.label_maps import LabelMap, encode_label_map, read_label_map


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """The section labels_final of params.yaml: no numbers yet."""


def labels_final(params: Params, data: Dataset, labels: Path, corrections: Path, out: Path) -> None:
    """Put the corrections in the place of the automatic labels.

    Args:
        params: none.
        data: the data set.
        labels: folder of <image_id>.png, the automatic labels.
        corrections: folder of <image_id>.png, as `stages.io.corrections` has them; may hold none.
        out: gets labels/, origins.csv and metrics.json.

    Raises:
        InputError: an automatic label is missing; a correction is of no training image, or not a
            label map of its image; or DVC keeps one that is not on the disk.
    """
    images = {image.image_id: image for image in data.images("train")}
    known = list(data.categories())
    by_hand: dict[str, bytes] = {}
    pixels = changed = 0
    for name, path in correction_files(corrections).items():
        if name not in images:
            close = difflib.get_close_matches(name, images, n=1)
            expected = f"expected an image of {data.table('images')}"
            hint = f"did you mean {close[0]!r}?" if close else expected
            raise InputError(f"{path}: no training image {name!r}; {hint}")
        corrected = read_correction(path, images[name].size, known)
        by_hand[name] = encode_label_map(corrected)
        pixels += corrected.size
        changed += _changed_pixels(labels / f"{name}.png", corrected)
    for name in counted(images, "labels_final", "images"):
        content = by_hand[name] if name in by_hand else _read_bytes(labels / f"{name}.png")
        write_bytes(out / "labels" / f"{name}.png", content)
    masks = {name for name, kind in data.kinds_in_use().items() if kind == "mask"}
    human = masks | by_hand.keys()
    origins = {name: HUMAN if name in human else AUTOMATIC for name in images}
    write_origins(out / "origins.csv", origins)
    counts = {
        "images": len(images),
        "human": len(human),
        "automatic": len(images) - len(human),
        "changed_percent_of_human": round(100 * changed / pixels, 2) if pixels else None,
    }
    write_json(out / "metrics.json", counts)


def _changed_pixels(path: Path, corrected: LabelMap) -> int:
    """How many pixels of the automatic label at `path` the correction changes."""
    automatic = read_label_map(path, (corrected.shape[0], corrected.shape[1]))
    return int((automatic != corrected).sum())


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


if __name__ == "__main__":
    run(labels_final)
