"""The tables of a data set, written from its checked images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.io.tables import (
    CATEGORIES,
    COUNTS,
    FIXATIONS,
    IMAGES,
    INSTANCES,
    KINDS,
    POINTS,
    TAGS,
    VOTES,
    write_table,
)
from stages.sources.check import CheckedImage


def write_tables(
    images: Sequence[CheckedImage], categories: Mapping[int, str], out: Path, truth: Path
) -> dict[str, object]:
    """Write the tables below `out` and the true instances below `truth`; the counts of all.

    Args:
        images: the sound ones, in the order of the tables.
        categories: names by label value.
        out: gets images, instances, outlines, tags, points, counts, kinds, fixations, votes and
            categories.parquet.
        truth: gets instances.parquet: the outlines with their true ranks.
    """
    image_table = pd.DataFrame([image.image for image in images], columns=IMAGES.names)
    instances: list[dict[str, Any]] = []
    truths: list[dict[str, Any]] = []
    votes: list[dict[str, Any]] = []
    before = 0
    for image in images:
        # one numbering over the data set, the same in both tables
        for rows, to in ((image.instances, instances), (image.truths, truths)):
            to += [row | {"instance_id": before + row["instance_id"]} for row in rows]
        votes += [
            row | {"instance_id": row["instance_id"] and before + row["instance_id"]}
            for row in image.looked.votes
        ]
        before += max((row["instance_id"] for row in image.instances + image.truths), default=0)
    boxes = pd.DataFrame(instances, columns=INSTANCES.names)
    shown = sorted((image.image["image_id"], tag) for image in images for tag in image.tags)
    tags = pd.DataFrame(shown, columns=TAGS.names)
    points = pd.DataFrame([row for image in images for row in image.points], columns=POINTS.names)
    counted = [
        (image.image["image_id"], image.count) for image in images if image.count is not None
    ]
    names = sorted(categories.items())
    write_table(out / "images.parquet", image_table, IMAGES)
    write_table(out / "instances.parquet", boxes, INSTANCES)
    write_table(out / "tags.parquet", tags, TAGS)
    write_table(out / "points.parquet", points, POINTS)
    write_table(out / "counts.parquet", pd.DataFrame(counted, columns=COUNTS.names), COUNTS)
    carried = [(image.image["image_id"], kind) for image in images for kind in image.kinds]
    write_table(out / "kinds.parquet", pd.DataFrame(carried, columns=KINDS.names), KINDS)
    write_table(
        out / "categories.parquet", pd.DataFrame(names, columns=CATEGORIES.names), CATEGORIES
    )
    truth_table = pd.DataFrame(truths, columns=INSTANCES.names)
    write_table(truth / "instances.parquet", truth_table, INSTANCES)
    write_table(out / "outlines.parquet", truth_table.assign(rank=None), INSTANCES)
    write_table(out / "fixations.parquet", _fixations(images), FIXATIONS)
    write_table(out / "votes.parquet", pd.DataFrame(votes, columns=VOTES.names), VOTES)
    counts = sum((image.counts for image in images), Counter())
    return {
        "images": len(image_table),
        "train_images": int((image_table["split"] == "train").sum()),
        "val_images": int((image_table["split"] == "val").sum()),
        "categories": len(names),
        "instances": len(boxes),
        "crowds": int(boxes["is_crowd"].sum()),
        "images_with_boxes": boxes[~boxes["is_crowd"].astype(bool)]["image_id"].nunique(),
        "images_with_tags": tags["image_id"].nunique(),
        "images_with_points": points["image_id"].nunique(),
        "images_with_counts": len(counted),
        "images_without_instances": len(image_table) - boxes["image_id"].nunique(),
        "boxes_clipped": counts["boxes_clipped"],
        "boxes_dropped": counts["boxes_dropped"],
        "points": len(points),
        "points_dropped": counts["points_dropped"],
        "oriented_images": counts["oriented"],
        "orientation_assumed": counts["orientation_assumed"],
        "ground_truth_semantic": counts["ground_truth_semantic"],
        "ground_truth_instances": len(truths),
        "ground_truth_ranks": sum(row["rank"] is not None for row in truths),
        "images_with_fixations": sum(image.looked.gaze is not None for image in images),
        "images_to_rank": counts["images_to_rank"],
        "fixations": counts["fixations"],
        "fixations_dropped": counts["fixations_dropped"],
        "subjects_without_fixations": counts["subjects_without_fixations"],
        "votes": len(votes),
    }


def _fixations(images: Sequence[CheckedImage]) -> pd.DataFrame:
    """The fixations of all images, subject by subject as recorded."""
    parts = [pd.DataFrame({name: [] for name in FIXATIONS.names})]
    for image in images:
        if (gaze := image.looked.gaze) is not None:
            columns = {
                "image_id": image.image["image_id"],
                "subject": np.array(gaze.subjects, dtype=object)[gaze.whose],
                **{"x": gaze.places[:, 0], "y": gaze.places[:, 1], "t": gaze.times},
            }
            parts.append(pd.DataFrame(columns))
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
