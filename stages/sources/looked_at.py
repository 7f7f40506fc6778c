"""Recordings of gaze and votes (stages/sources/gaze.py) brought to the images that they are of."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.engine.errors import InputError
from stages.sources.beside import id_of
from stages.sources.gaze import Gaze, Vote, names_of, read_gaze, read_ranks, read_votes
from stages.sources.source import Source, SourceImage


@dataclass(frozen=True)
class Looked:
    """What subjects did with one image, checked; ids of instances count from 1 in the image.

    Attributes:
        gaze: inside the image alone, or None.
        votes: rows of votes.parquet.
        ranks: true ranks by instance_id.
        dropped: where samples stood that are no good, and why.
        counts: what metrics.json adds up over the images.
    """

    gaze: Gaze | None
    votes: list[dict[str, Any]]
    ranks: Mapping[int, int]
    dropped: list[tuple[str, str]]
    counts: Counter[str]


def with_gaze_beside(root: Path, source: Source) -> Source:
    """The data set with its recordings; an unlisted image that has one is listed.

    A bad row of votes or ranks is the fault of its image; what names no image is a stray.

    Raises:
        InputError: an unreadable recording or table.
    """
    recorded = read_gaze(root)
    called = {*recorded, *map(id_of, recorded)}
    new = [file for file in source.unlisted if called.intersection({*names_of(file), id_of(file)})]
    images = [*source.images, *(SourceImage(id_of(file), None, file, None, ()) for file in new)]
    ids = _ids(images)
    gaze: dict[str, Gaze] = {}
    votes: dict[str, list[Vote]] = defaultdict(list)
    ranks: dict[str, list[tuple[int, int]]] = defaultdict(list)
    faults: dict[str, str] = {}
    strays = list(source.strays)
    for name, found in recorded.items():
        if (image_id := _find(ids, name)) is None:
            strays.append((name, "fixations", "name no listed image"))
        elif image_id in gaze:
            strays.append((name, "fixations", f"image {image_id} has some under another name"))
        else:
            gaze[image_id] = found
    unknown: dict[tuple[str, str], tuple[str, str, str]] = {}

    def of_listed(name: str, row: object, where: str) -> str | None:
        image_id = _find(ids, name)
        if image_id is None:
            unknown.setdefault((name, where.split(":")[0]), (name, where, "names no listed image"))
        elif isinstance(row, InputError):
            faults.setdefault(image_id, str(row))
        return image_id

    for name, vote, where in read_votes(root):
        image_id = of_listed(name, vote, where)
        if image_id is not None and isinstance(vote, Vote):
            votes[image_id].append(vote)
    for name, pair, where in read_ranks(root):
        image_id = of_listed(name, pair, where)
        if image_id is not None and isinstance(pair, tuple):
            ranks[image_id].append(pair)
    listed = tuple(
        image
        if image.fault is not None
        else replace(
            image,
            gaze=gaze.get(image.image_id),
            votes=tuple(votes[image.image_id]),
            ranks=tuple(ranks[image.image_id]),
            fault=faults.get(image.image_id),
        )
        for image in images
    )
    rest = tuple(file for file in source.unlisted if file not in set(new))
    return replace(source, images=listed, unlisted=rest, strays=(*strays, *unknown.values()))


def check_looked(image: SourceImage, size: tuple[int, int]) -> Looked:
    """What subjects did with an image of upright `size` (W, H).

    Raises:
        InputError: a vote for, or a rank of, an object that the image has not, or two ranks of one.
    """
    numbers = {
        place if box.number is None else box.number: place
        for place, box in enumerate(image.boxes, start=1)
    }
    votes = [
        {
            "image_id": image.image_id,
            "subject": vote.subject,
            "instance_id": None if vote.number is None else _place(numbers, vote.number, image),
            "reason": vote.reason,
        }
        for vote in image.votes
    ]
    ranks: dict[int, int] = {}
    for number, rank in image.ranks:
        place = _place(numbers, number, image)
        if ranks.setdefault(place, rank) != rank:
            raise InputError(f"{image.image_id}: object {number} has ranks {ranks[place]}, {rank}")
    if image.gaze is None:
        return Looked(None, votes, ranks, [], Counter())
    gaze, dropped = image.gaze, []
    limits = np.array(size, dtype=np.float32)
    good = np.isfinite(gaze.places) & (gaze.places >= 0) & (gaze.places < limits)
    inside = np.asarray(good.all(axis=1))
    lost = int(np.count_nonzero(~inside))
    if lost:
        outside = f"lie outside its {size[0]}x{size[1]} image or have no place"
        dropped = [("fixations", f"{lost} of {len(inside)} fixations {outside}")]
    kept = replace(
        gaze,
        whose=gaze.whose[inside],
        places=gaze.places[inside],
        times=gaze.times[inside],
    )
    silent = len(gaze.subjects) - len(np.unique(kept.whose))
    counts = Counter(
        {
            "fixations": len(kept.whose),
            "fixations_dropped": lost,
            "subjects_without_fixations": silent,
        }
    )
    return Looked(kept, votes, ranks, dropped, counts)


def _ids(images: list[SourceImage]) -> dict[str, str]:
    """Image ids by what a recording may call the image; a name of two images is none's."""
    ids: dict[str, str] = {}
    twice: set[str] = set()
    for image in images:
        for name in {*names_of(image.file), image.image_id}:
            if ids.setdefault(name, image.image_id) != image.image_id:
                twice.add(name)
    return {name: image_id for name, image_id in ids.items() if name not in twice}


def _find(ids: Mapping[str, str], name: str) -> str | None:
    return ids.get(name) or ids.get(id_of(name))


def _place(numbers: Mapping[int, int], number: int, image: SourceImage) -> int:
    if number not in numbers:
        known = ", ".join(map(str, sorted(numbers)[:8])) or "none"
        raise InputError(f"{image.image_id}: object {number}: expected one of its objects, {known}")
    return numbers[number]
