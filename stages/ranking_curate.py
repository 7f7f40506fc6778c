"""Ranked salient instances from gaze, masks and votes (IRSR section 3).

metrics.json says of how many pairs of instances two halves of the subjects have the same order: the
ceiling of what a ranker may reach (`halves_agree`).

Writes images.parquet and instances.parquet of the images that are fit for ranking: their salient
instances, `rank` 1 = most salient, `score` what they were ranked by. rejected.csv names every
other image with the rule that dropped it, rules.csv counts them. maps/ has the ranks as even grey
levels, pictures/ the instances with their numbers and the fixations. sizes.csv, categories.csv and
ranks.csv are the statistics of table 1 and figure 4 of the paper.

The masks are what the user brought (data/dataset/outlines.parquet): this line begins with them.

IRSR: https://arxiv.org/abs/2107.03824.
"""

import csv
import dataclasses
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.irsr.curation import (
    REASONS,
    Dropped,
    Looks,
    Measure,
    Voters,
    Votes,
    fixation_map,
    halves_agree,
    rank_instances,
    rank_map,
    votes_of_gaze,
)
from stages.engine.command import run
from stages.engine.errors import InputError
from stages.engine.files import write_bytes, write_json
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images
from stages.io.data_set import Dataset, ImageFile
from stages.io.label_maps import decode_rle
from stages.io.objects import objects_by_image
from stages.io.pictures import encode_jpeg
from stages.io.ranked import fixations_by_image, ranked_picture, votes_by_image
from stages.io.salient_maps import encode_grey, read_saliency
from stages.io.tables import IMAGES, INSTANCES, read_table, write_table

QUALITY = 85  # of the JPEG pictures
RULES = {
    "i": "too few subjects saw it",
    "ii": "a salient object has no mask",
    "iii": "a mask is wrong, or an object has two",
    "iv": "too few or too many salient instances",
    "gaze": "nobody looked at it",
    "ties": "two instances are equally salient",
}
_Row = Mapping[str, Any]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    saliency: Literal["fixations", "maps"]
    sigma: Annotated[float, Field(gt=0, le=1)]
    salient_by: Voters
    measure: Measure
    more_than: Annotated[int, Field(ge=0)]
    fewest: Annotated[int, Field(ge=2)]
    most: Annotated[int, Field(ge=2)]
    most_overlap: Annotated[float, Field(gt=0, le=1)]


@dataclasses.dataclass(frozen=True)
class Item:
    """All that the ranks of an image depend on.

    Attributes:
        image: its file.
        masks: run lengths.
        subjects: who looked at it, or voted.
        looks: int32 [N, 3] as bytes in latin-1: subject's index, pixel x and y.
        votes: (subject, index of the mask or None, reason or None).
        saliency: file of a grey map, or None.
        params: of the stage.
    """

    image: ImageFile
    masks: tuple[str, ...]
    subjects: tuple[str, ...]
    looks: str
    votes: tuple[tuple[str, int | None, str | None], ...]
    saliency: Path | None
    params: Params


def ranking_curate(params: Params, data: Dataset, out: Path) -> None:
    """Rank the instances of every image that is fit for it.

    Args:
        params: see `Params`.
        data: the data set, with its outlines, fixations, votes and saliency.
        out: gets all that the module's text names, and metrics.json.

    Raises:
        InputError: an unreadable table, map or image, or no image is left.
    """
    images = [*data.images("train"), *data.images("val")]
    objects = objects_by_image(data.table("outlines"))
    gaze, votes = fixations_by_image(data), votes_by_image(data)
    items = {}
    for image in images:
        own = objects.get(image.image_id, [])
        subjects, looks = gaze.get(image.image_id, ((), np.empty((0, 3), np.int32)))
        places = {row["instance_id"]: place for place, row in enumerate(own)}
        items[image.image_id] = Item(
            image,
            tuple(row["mask"] for row in own),
            subjects,
            looks.tobytes().decode("latin-1"),
            tuple(_vote(row, places) for row in votes.get(image.image_id, [])),
            data.map_file("saliency", image.image_id) if params.saliency == "maps" else None,
            params,
        )
    found = map_images(_one_image, items, out, stage="ranking_curate")
    stats = dict(zip(items, found, strict=True))
    table = read_table(data.table("images"), IMAGES)
    splits = dict(zip(table["image_id"], table["split"], strict=True))
    dropped = {name: each for name, each in stats.items() if each["rule"]}
    _write_csv(
        out / "rejected.csv",
        ("image", "split", "rule", "reason"),
        ((name, splits[name], each["rule"], each["reason"]) for name, each in dropped.items()),
    )
    by_rule = Counter(each["rule"] for each in dropped.values())
    told = [(rule, by_rule[rule], meaning) for rule, meaning in RULES.items()]
    _write_csv(out / "rules.csv", ("rule", "images", "because"), told)
    if len(dropped) == len(items):
        counts = ", ".join(f"{rule}: {count}" for rule, count in by_rule.items())
        none = f"of {len(items)} images none is fit for ranking ({counts})"
        raise InputError(f"{out / 'rejected.csv'}: {none}; expected gaze, masks and votes")
    rows = [
        {**objects[name][place], "score": score, "rank": rank}
        for name, each in stats.items()
        for rank, (place, score) in enumerate(each["ranked"], start=1)
    ]
    kept = table[~table["image_id"].isin(dropped)]
    write_table(out / "images.parquet", kept, IMAGES)
    write_table(out / "instances.parquet", pd.DataFrame(rows, columns=INSTANCES.names), INSTANCES)
    _write_statistics(rows, data.class_names(), params.most, out)
    metrics = {
        "images": len(kept),
        "train_images": int((kept["split"] == "train").sum()),
        "val_images": int((kept["split"] == "val").sum()),
        "instances": len(rows),
        "rejected_images": len(dropped),
        **{f"rejected_{rule}": by_rule[rule] for rule in RULES},
        "halves_agree": _halves([each["halves"] for each in stats.values() if not each["rule"]]),
    }
    write_json(out / "metrics.json", metrics)
    print(f"ranking_curate: {len(kept)} images, {len(dropped)} dropped: {out / 'rejected.csv'}")


def _halves(pairs: Sequence[tuple[float, int]]) -> float | None:
    """Percentage of the pairs of instances that two halves of the subjects order alike."""
    total = sum(count for _, count in pairs)
    return round(100 * sum(right for right, _ in pairs) / total, 2) if total else None


def _vote(row: _Row, places: Mapping[int, int]) -> tuple[str, int | None, str | None]:
    """A vote for an object without a mask (its box was empty) picks nothing."""
    return row["subject"], places.get(row["instance_id"]), row["reason"]


def _one_image(item: Item) -> Outcome:
    params, size = item.params, item.image.size
    masks = [decode_rle(runs, *size) for runs in item.masks]
    samples = np.frombuffer(item.looks.encode("latin-1"), np.int32).reshape(-1, 3)
    looks = Looks(samples[:, 0].astype(np.int64), samples[:, 1:].astype(np.int64))
    if item.saliency is not None:
        saliency: npt.NDArray[np.float32] = read_saliency(item.saliency, size)
    else:
        saliency = fixation_map(looks, size, params.sigma * max(size))
    if params.salient_by == "votes":
        votes = _count(item)
    else:
        votes = votes_of_gaze(looks, len(item.subjects), masks)
    found = rank_instances(
        masks,
        votes,
        saliency,
        looks,
        measure=params.measure,
        more_than=params.more_than,
        fewest=params.fewest,
        most=params.most,
        most_overlap=params.most_overlap,
    )
    if isinstance(found, Dropped):
        return Outcome({}, {"rule": found.rule, "reason": found.reason, "ranked": []})
    chosen = [masks[place] for place in found.order]
    ranks = range(1, len(chosen) + 1)
    picture = ranked_picture(item.image.read(), chosen, ranks, samples[:, 1:])
    files = {
        f"maps/{item.image.image_id}.png": encode_grey(rank_map(chosen, ranks)),
        f"pictures/{item.image.image_id}.jpg": encode_jpeg(picture, QUALITY),
    }
    ranked = [
        [place, round(score, 6)] for place, score in zip(found.order, found.saliency, strict=True)
    ]
    sigma = params.sigma * max(size)
    halves = halves_agree(chosen, looks, measure=params.measure, sigma=sigma)
    return Outcome(files, {"rule": "", "reason": "", "ranked": ranked, "halves": halves})


def _count(item: Item) -> Votes:
    """What the subjects said; who says one thing twice is counted once."""
    picked = {(subject, place) for subject, place, _ in item.votes if place is not None}
    against = {(subject, REASONS[reason]) for subject, _, reason in item.votes if reason}
    return Votes(
        len({subject for subject, _, _ in item.votes}),
        [sum(place == n for _, place in picked) for n in range(len(item.masks))],
        Counter(rule for _, rule in against),
    )


def _write_statistics(rows: Sequence[_Row], names: Mapping[int, str], most: int, out: Path) -> None:
    """How many images have how many instances, and how salient a category and a rank are."""
    sizes = Counter(Counter(row["image_id"] for row in rows).values())
    _write_csv(
        out / "sizes.csv",
        ("instances", "images", "percent"),
        ((n, sizes[n], round(100 * sizes[n] / sizes.total(), 1)) for n in range(2, max(sizes) + 1)),
    )
    # eq. 1: the first rank scores `most`, the last 1; a category has the mean of its instances
    scores, by_rank = defaultdict(list), defaultdict(list)
    for row in rows:
        scores[names[row["category"]]].append(most + 1 - row["rank"])
        by_rank[row["rank"]].append(row["score"])
    placed = sorted(((fmean(own), name) for name, own in scores.items()), reverse=True)
    _write_csv(
        out / "categories.csv",
        ("category", "saliency", "instances"),
        ((name, round(mean, 3), len(scores[name])) for mean, name in placed),
    )
    _write_csv(
        out / "ranks.csv",
        ("rank", "instances", "saliency"),
        ((rank, len(by_rank[rank]), round(fmean(by_rank[rank]), 4)) for rank in sorted(by_rank)),
    )


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


if __name__ == "__main__":
    run(ranking_curate)
