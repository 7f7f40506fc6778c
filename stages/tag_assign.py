"""A tag of its image for each salient instance, or none: it is noise (Fan et al. 2018, section 4).

All instances of the training images are one problem: eq. 8, solved with its proof. Rows to hold it
against, as table 1a of the paper has them: `random`, one of the image's tags; `attention`, the one
of the highest activation; `unfiltered`, eq. 8 with nothing rejected.

Writes
    salient.parquet     every instance with its category, 0 where it was rejected
    instances.parquet   those with a category, to learn from
    labels/             the same as label maps: smaller on top, rejected = 255; whole masks that
                        the user brought are as they are
    names.parquet       tag, attention and margin of each: what deciding otherwise costs at least;
                        the least certain first
    doubts.parquet      by image: how many were named and rejected, and the least margin
    metrics.json        counts, and the objective between its bounds
"""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from models.tag_assignment.assign import Assignment, Settings, assign_tags
from models.tag_assignment.attention import box_means
from models.tag_assignment.baselines import attention_tags, random_tags
from models.tag_assignment.painting import painted
from models.tag_assignment.problem import REJECTED, kept_count
from models.tag_assignment.solve import relative_gap, solve
from stages.engine.command import run
from stages.engine.errors import InputError
from stages.engine.files import write_bytes, write_json
from stages.engine.progress import counted
from stages.io.data_set import Dataset, ImageFile
from stages.io.features import read_features
from stages.io.label_maps import decode_rle, encode_label_map, read_label_map
from stages.io.score_maps import read_score_map
from stages.io.tables import DOUBTS, INSTANCES, NAMES, read_rows, write_table

Method = Literal["random", "attention", "unfiltered", "graph"]
Row = dict[str, Any]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params(Settings):
    """Numbers of this stage; params.yaml says what each is."""

    seed: Annotated[int, Field(ge=0)]
    solver: Literal["ascent", "cvxpy"]


@dataclasses.dataclass(frozen=True)
class Known:
    """What is known of n instances of C classes.

    Attributes:
        rows: of the table, n.
        categories: the label value of each class, C.
        keywords: bool [n, C] the tags of each one's image.
        attention: [n, C] p of eq. 2, 0 where there is no tag.
    """

    rows: Sequence[Row]
    categories: Sequence[int]
    keywords: npt.NDArray[np.bool_]
    attention: npt.NDArray[np.float64]


def tag_assign(
    params: Params,
    data: Dataset,
    instances: Path,
    features: Path,
    maps: Path,
    method: Method,
    out: Path,
) -> None:
    """Name the salient instances of the training images.

    Args:
        params: see `Params`.
        data: the data set.
        instances: of instances_select.
        features: of feature_infer, of the same instances.
        maps: score maps of the tagged classes, values in [0, 1].
        method: graph, or a row to hold it against.
        out: folder.

    Raises:
        InputError: an unreadable table or map, a tag that is no category or has no map, features
            of other instances or without a direction, attention outside [0, 1]; or more instances
            to be named than have a tag, where `infeasible` says so.
    """
    known = _known(data, instances, maps)
    values = _directions(features, known.rows, instances)
    found = _assigned(params, known, values, method)
    _write(data, known, found, out)
    named = found.categories != REJECTED
    tagged = known.keywords.any(1)
    proven = method in ("unfiltered", "graph")
    metrics: dict[str, Any] = {
        "method": method,
        "solver": params.solver if proven else None,
        "instances": len(known.rows),
        "instances_without_tags": int((~tagged).sum()),
        "assigned": int(named.sum()),
        "rejected": int((~named).sum()),
        "tags_without_instance": _unused_tags(data, known, found),
        "lower": found.lower if proven else None,
        "upper": found.upper if proven else None,
        "gap": relative_gap(found.lower, found.upper) if proven else None,
    }
    write_json(out / "metrics.json", metrics)


def _known(data: Dataset, instances: Path, maps: Path) -> Known:
    images = {image.image_id: image for image in data.images("train")}
    rows = read_rows(instances, INSTANCES)
    categories = sorted(data.categories())
    tags = data.tags()
    keywords = np.zeros((len(rows), len(categories)), dtype=bool)
    attention = np.zeros((len(rows), len(categories)))
    by_image: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        if row["image_id"] not in images or row["mask"] is None:
            where = f"{instances}: image_id {row['image_id']}, instance_id {row['instance_id']}"
            raise InputError(f"{where}: expected a mask, of a training image")
        by_image[row["image_id"]].append(number)
    for image_id in counted(by_image, "tag_assign", "score maps read"):
        own, present = by_image[image_id], tags.get(image_id, ())
        foreign = sorted(set(present) - set(categories))
        if foreign:
            listed = ", ".join(map(str, categories))
            where = f"{data.table('tags')}: image {image_id}"
            raise InputError(f"{where}: category {foreign[0]} is none of {listed}")
        columns = [categories.index(tag) for tag in present]
        keywords[np.ix_(own, columns)] = True
        values = _attention([rows[number] for number in own], images[image_id], present, maps)
        attention[np.ix_(own, columns)] = values
    return Known(rows, categories, keywords, attention)


def _attention(
    rows: Sequence[Row], image: ImageFile, tags: Sequence[int], maps: Path
) -> npt.NDArray[np.float64]:
    """[N, tags] the mean of each tag's map over the box of each instance."""
    if not tags:
        return np.zeros((len(rows), 0))
    path = maps / f"{image.image_id}.npz"
    score_map = read_score_map(path, image.size)
    missing = sorted(set(tags) - set(score_map.classes.tolist()))
    if missing:
        raise InputError(f"{path}: no scores of category {missing[0]}, a tag of the image")
    chosen = score_map.scores[[score_map.classes.tolist().index(tag) for tag in tags]]
    wrong = ~((chosen >= 0) & (chosen <= 1))  # true for nan too
    if wrong.any():
        raise InputError(f"{path}: score {chosen[wrong][0]}; expected 0 to 1")
    boxes = [(row["x0"], row["y0"], row["x1"], row["y1"]) for row in rows]
    values = box_means(chosen.astype(np.float32), boxes, image.size, score_map.stride)
    return np.clip(values, 0, 1)  # what is interpolated may be above by a rounding


def _directions(features: Path, rows: Sequence[Row], instances: Path) -> npt.NDArray[np.float32]:
    """The features, each of which has a direction."""
    found = read_features(features)
    if found.instance_ids.tolist() != [row["instance_id"] for row in rows]:
        count = f"{len(found.instance_ids)} features"
        raise InputError(f"{features}: {count} are not those of the {len(rows)} of {instances}")
    for row, value in zip(rows, found.values, strict=True):
        if not np.isfinite(value).all() or not value.any():
            what = "zeros alone" if np.isfinite(value).all() else "nan or infinity"
            where = f"image_id {row['image_id']}, instance_id {row['instance_id']}"
            raise InputError(f"{features}: {where}: {what}; expected a direction")
    return found.values


def _assigned(
    params: Params, known: Known, features: npt.NDArray[np.float32], method: Method
) -> Assignment:
    if method in ("random", "attention"):
        generator = np.random.default_rng(params.seed)
        categories = (
            attention_tags(known.attention, known.keywords)
            if method == "attention"
            else random_tags(known.keywords, generator)
        )
        return Assignment(categories, np.full(len(known.rows), math.nan), 0.0, 0.0, 0.0)
    settings = Settings(
        **{field.name: getattr(params, field.name) for field in dataclasses.fields(Settings)}
    )
    if method == "unfiltered":
        settings = dataclasses.replace(settings, retention=1.0, infeasible="clip")
    solver = solve
    if params.solver == "cvxpy":
        from models.tag_assignment.statement import solve_statement  # cvxpy takes a second

        solver = partial(solve_statement, form="milp")
    wanted, tagged = kept_count(settings.retention, len(known.rows)), known.keywords.any(1).sum()
    if settings.infeasible == "raise" and wanted > tagged:
        found = f"{settings.retention} of {len(known.rows)} instances are {wanted}"
        expected = f"but {tagged} have a tag; expected less, or infeasible: clip"
        raise InputError(f"params.yaml: tag_assign.retention: {found}, {expected}")
    try:
        return assign_tags(features, known.attention, known.keywords, settings, solver=solver)
    except ValueError as error:
        raise InputError(f"params.yaml: tag_assign: {error}") from error


def _write(data: Dataset, known: Known, found: Assignment, out: Path) -> None:
    """All but metrics.json."""
    values = [
        0 if column == REJECTED else known.categories[column]
        for column in found.categories.tolist()
    ]
    rows = [{**row, "category": value} for row, value in zip(known.rows, values, strict=True)]
    named = [row for row in rows if row["category"]]
    for name, part in {"salient": rows, "instances": named}.items():
        table = pd.DataFrame(part, columns=INSTANCES.names)
        write_table(out / f"{name}.parquet", table, INSTANCES)
    by_image: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_image[row["image_id"]].append(row)
    whole = {name: use.mask for name, use in data.labels_in_use().items()}
    for image in counted(data.images("train"), "tag_assign", "images"):
        brought, own = whole[image.image_id], by_image[image.image_id]
        if brought is None:
            masks = [decode_rle(row["mask"], *image.size) for row in own]
            labels = painted(masks, [row["category"] for row in own], image.size)
            content = encode_label_map(labels)
        else:
            read_label_map(brought, image.size)  # a bad one stops the run
            content = brought.read_bytes()
        write_bytes(out / "labels" / f"{image.image_id}.png", content)
    _write_tables(data, known, rows, found, out)


def _write_tables(
    data: Dataset, known: Known, rows: Sequence[Row], found: Assignment, out: Path
) -> None:
    """names.parquet and doubts.parquet; what has no finite margin comes last."""
    classes = data.class_names()
    attention = [
        None if column == REJECTED else float(known.attention[number, column])
        for number, column in enumerate(found.categories.tolist())
    ]
    names = pd.DataFrame(
        {
            "image_id": [row["image_id"] for row in rows],
            "instance_id": [row["instance_id"] for row in rows],
            "tag": [classes[row["category"]] if row["category"] else None for row in rows],
            "attention": attention,
            "margin": np.where(np.isfinite(found.margins), found.margins, np.nan),
        }
    )
    names = names.sort_values("margin", kind="stable")
    by_image = names.groupby("image_id", sort=False)
    doubts = by_image.agg(
        instances=("instance_id", "size"), named=("tag", "count"), least_margin=("margin", "min")
    ).reset_index()
    doubts["rejected"] = doubts["instances"] - doubts["named"]
    write_table(out / "names.parquet", names, NAMES)
    write_table(out / "doubts.parquet", doubts, DOUBTS)


def _unused_tags(data: Dataset, known: Known, found: Assignment) -> int:
    """How many tags of training images have no instance."""
    tags: Mapping[str, Sequence[int]] = data.tags()
    used = {
        (row["image_id"], known.categories[column])
        for row, column in zip(known.rows, found.categories.tolist(), strict=True)
        if column != REJECTED
    }
    every = {
        (image.image_id, tag)
        for image in data.images("train")
        for tag in tags.get(image.image_id, ())
    }
    return len(every - used)


if __name__ == "__main__":
    run(tag_assign)
