"""Read the data set at `root` in its format; validate, quarantine, hash; write tables.

What is wrong with one image (its file unreadable, truncated, a bomb, of another size than its
annotation says; its annotation broken, with an unknown category, NaN, a mask of another size) puts
that image into rejected.csv with the reason; boxes that stick out are clipped, empty ones dropped,
and both counted. What is wrong with the data set as a whole (no readable annotation, bad
categories, an id that stands twice) stops the stage with one line.

Images that lie in the data set's folders and are in no list are named in unlisted.csv. Where the
data set states no split, some images are held out by their ids (stages.sources.source.held_out).

EXIF orientation: widths, heights and boxes in the tables are those of the upright image. Where the
annotation states the stored size and the rotation exchanges the sides, its boxes and masks are
turned with the image. Where the sizes cannot tell (mirrored, upside down, square, or no size
stated) boxes are taken as drawn on the upright image, which is what viewers and annotation tools
show; `orientation_assumed` counts such images.

Labels go to a table or folder of their own by kind: instances.parquet (boxes), points.parquet,
counts.parquet, tags.parquet (of all that is labelled), scribbles/, masks/, regions/ and saliency/.
What of them is no good rejects its image; points outside of the image are dropped and counted.

Masks of objects go to ground_truth/, and to outlines.parquet for the line that begins with them
(ranking): instances.parquet has the boxes and their areas. It keeps the outlines of crowds, which
say of what pixels nothing is known. True ranks go to ground_truth/ alone.

Gaze (stages/sources/gaze.py) goes to fixations.parquet, what subjects picked to votes.parquet;
fixations outside of the image, or without a place, are dropped and counted.
"""

import csv
import io
import os
import re
import shutil
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, get_args

from PIL import Image
from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from stages.engine.command import run
from stages.engine.errors import InputError
from stages.engine.files import write_bytes, write_json
from stages.engine.parallel import default_workers
from stages.engine.progress import counted
from stages.io.data_set import Maps
from stages.sources.beside import with_labels_beside
from stages.sources.check import CheckedImage, check_image
from stages.sources.coco import read_coco
from stages.sources.folder import read_folder
from stages.sources.looked_at import with_gaze_beside
from stages.sources.source import Source, SourceImage, held_out
from stages.sources.tables import write_tables
from stages.sources.voc import read_voc

READERS: dict[str, Callable[[Path], Source]] = {
    "coco": read_coco,
    "voc": read_voc,
    "folder": read_folder,
}


def _plain_folder(root: str) -> str:
    """As it is, if DVC and every other program that is given the path take it for one."""
    if not re.fullmatch(r"[\w./][\w./ '()+,@-]*", root):
        raise PydanticCustomError(
            "folder", "expected a folder's path of letters, digits, spaces and . / _ - ' ( ) + , @"
        )
    ours, theirs = (os.path.normpath(Path.cwd() / path) for path in ("data/dataset", root))
    if os.path.commonpath([ours, theirs]) in (ours, theirs):
        raise PydanticCustomError("folder", "expected a folder apart from data/dataset")
    return root


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    root: Annotated[str, AfterValidator(_plain_folder)]
    format: Literal["coco", "voc", "folder"]
    max_rejected: Annotated[int, Field(ge=0)]
    hold_out: Annotated[int, Field(ge=0)]


def dataset(params: Params, root: Path, out: Path) -> None:
    """Write the tables, two lists, ground_truth/ and metrics.json of the data set at `root`.

    Raises:
        InputError: see the module's text; also when more than `max_rejected` images are bad. Then
            rejected.csv alone is written.
    """
    source = _read_source(params.format, root)
    listed = [
        replace(image, split=image.split or _split(image.image_id, params.hold_out))
        for image in source.images
    ]
    listed.sort(key=lambda image: (image.split, image.image_id))
    fresh = out / ".folders.tmp"  # its folders take the place of the old ones when all is well
    shutil.rmtree(fresh, ignore_errors=True)
    (fresh / "ground_truth" / "semantic").mkdir(parents=True)
    try:
        last = max(source.categories)
        checked = _check_all(partial(check_image, root, fresh, last), listed)
        rejected = [
            (image.file, "", entry)
            for image, entry in zip(listed, checked, strict=True)
            if isinstance(entry, str)
        ]
        sound = [entry for entry in checked if isinstance(entry, CheckedImage)]
        rows = [(entry.image["file"], *row) for entry in sound for row in entry.dropped]
        rows += source.strays
        write_bytes(out / "rejected.csv", _csv([("image", "row", "reason"), *rejected, *rows]))
        _check_enough(root, out, rejected, len(sound), params.max_rejected)
        metrics = write_tables(sound, source.categories, out, fresh / "ground_truth")
        metrics |= _move_folders(fresh, out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    unlisted = [(file,) for file in source.unlisted]
    write_bytes(out / "unlisted.csv", _csv([("image",), *unlisted]))
    metrics["rejected_images"] = len(rejected)
    metrics["unlisted_images"] = len(unlisted)
    metrics["labels_of_no_image"] = len(source.strays)
    write_json(out / "metrics.json", metrics)
    _say(metrics, rejected, out)


def _move_folders(fresh: Path, out: Path) -> dict[str, object]:
    """Put the new folders in the place of the old ones; how many images each kind has."""
    counts: dict[str, object] = {}
    for folder in ("ground_truth", *get_args(Maps)):
        (fresh / folder).mkdir(exist_ok=True)
        shutil.rmtree(out / folder, ignore_errors=True)
        (fresh / folder).replace(out / folder)
        if folder != "ground_truth":
            counts[f"images_with_{folder}"] = len(list((out / folder).iterdir()))
    return counts


def _check_enough(
    root: Path, out: Path, rejected: Sequence[tuple[str, ...]], sound: int, max_rejected: int
) -> None:
    """At most so many images are bad, and one is sound."""
    if len(rejected) > max_rejected:
        first = "; ".join(f"{file}: {reason}" for file, _, reason in rejected[:3])
        raise InputError(
            f"{out / 'rejected.csv'}: {len(rejected)} of {len(rejected) + sound} images rejected, "
            f"more than dataset.max_rejected = {max_rejected}; the first: {first}"
        )
    if not sound:
        raise InputError(f"{root}: no usable image")


def _read_source(format: str, root: Path) -> Source:
    try:
        if not root.is_dir():
            raise InputError(f"{root}: no such folder; expected a data set in {format} format")
        return with_gaze_beside(root, with_labels_beside(root, READERS[format](root)))
    except OSError as error:  # a folder that may not be entered
        raise InputError(f"{root}: cannot be read: {error}") from error


def _split(image_id: str, hold_out: int) -> str:
    return "val" if held_out(image_id, hold_out) else "train"


def _check_all(
    check: Callable[[SourceImage], CheckedImage | str], listed: Sequence[SourceImage]
) -> list[CheckedImage | str]:
    # threads: decoding, encoding and hashing release the interpreter lock
    with warnings.catch_warnings(), ThreadPoolExecutor(default_workers()) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            checked = pool.map(check, listed)
            return list(counted(checked, "dataset", "images", total=len(listed)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _csv(rows: Sequence[tuple[str, ...]]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode(errors="backslashreplace")


def _say(metrics: dict[str, object], rejected: Sequence[tuple[str, ...]], out: Path) -> None:
    files = ", ".join(row[0] for row in rejected)
    unlisted = metrics["unlisted_images"]
    strays = metrics["labels_of_no_image"]
    masks = metrics["images_with_masks"]
    print(
        f"dataset: {metrics['train_images']} train + {metrics['val_images']} val images, "
        f"{metrics['instances']} boxes of {metrics['categories']} categories; "
        f"{metrics['boxes_clipped']} boxes clipped, {metrics['boxes_dropped']} dropped, "
        f"{len(rejected)} images rejected"
        + (f": {files}; reasons in {out / 'rejected.csv'}" if rejected else "")
        + (f"; {unlisted} images are in no list, see {out / 'unlisted.csv'}" if unlisted else "")
        + (f"; {strays} labels name no image, see {out / 'rejected.csv'}" if strays else "")
        + (f"; {masks} whole masks are labels to learn from, no ground truth" if masks else "")
    )


if __name__ == "__main__":
    run(dataset)
