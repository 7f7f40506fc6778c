"""What a flow run leaves in Prefect's UI: the ladders as tables, pictures of every source."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from pipelines.graph.declared import declared_outputs
from pipelines.graph.plan import Plan
from pipelines.graph.revisions import read_revision
from pipelines.look.measures import measures, shown_columns, workspace_ladders
from stages.engine.command import read_params_file
from stages.engine.errors import InputError
from stages.io.data_set import ImageFile, images_of_split
from stages.io.label_maps import read_label_map
from stages.io.photographs import RGB
from stages.io.pictures import Colour, class_colours, data_uri, overlay, shrink, shrink_labels
from stages.io.tables import CATEGORIES, read_rows

PICTURES, SIDE = 5, 160


def publish(root: Path, plan: Plan) -> None:
    """Show what there is; a stage that was not made has no pictures."""
    for line, rows in workspace_ladders(root, plan.by_name).items():
        columns = shown_columns(rows)
        table = [
            {"source": name} | {title: numbers.get(key) for key, title in columns.items()}
            for name, numbers in rows
        ]
        create_table_artifact(
            table, key=_key("ladder", line), description=f"Sources of {line}, percent"
        )
    for name, folder in label_folders(root, plan).items():
        strip = picture_strip(root, folder)
        if strip is not None:
            text = f"# {name}\n\n{folder}\n\n![{name}]({data_uri(strip, 70)})"
            create_markdown_artifact(text, key=_key("labels", name))


def label_folders(root: Path, plan: Plan) -> dict[str, Path]:
    """The folders of label maps that the plan's stages measure, by the name on the ladder."""
    try:
        declared = declared_outputs(root, read_revision(root))
    except InputError:  # nothing was ever made
        return {}
    return {
        output.source: Path(str(output.meta["labels"]))
        for output in measures(declared)
        if output.stage in plan.by_name and "labels" in output.meta
    }


def _key(*words: str) -> str:
    """As Prefect wants it: small letters, digits and dashes."""
    return re.sub("[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


def picture_strip(root: Path, folder: Path) -> RGB | None:
    """Some training images with the label maps of `folder` over them, side by side.

    Returns:
        uint8 RGB, at most SIDE pixels high, or None when the labels or the images are not there.
    """
    try:
        data = Path(str(read_params_file(root / "params.yaml")["dataset"]["root"]))
        samples = images_of_split(root / "data/dataset/images.parquet", root / data, "train")
        rows = read_rows(root / "data/dataset/categories.parquet", CATEGORIES)
        colours = class_colours([int(row["category"]) for row in rows if row["category"]])
        indices = np.linspace(0, len(samples) - 1, min(PICTURES, len(samples))).astype(int)
        pictures = [_picture(samples[index], root / folder, colours) for index in indices]
    except (InputError, OSError, KeyError):
        return None
    height = max(picture.shape[0] for picture in pictures)
    strip = np.full((height, SIDE * len(pictures), 3), 255, dtype=np.uint8)
    for column, picture in enumerate(pictures):
        strip[: picture.shape[0], SIDE * column : SIDE * column + picture.shape[1]] = picture
    return strip


def _picture(sample: ImageFile, folder: Path, colours: Mapping[int, Colour]) -> RGB:
    image = shrink(sample.read(), SIDE)
    labels = shrink_labels(read_label_map(folder / f"{sample.image_id}.png"), image.shape[:2])
    return overlay(image, labels, colours, 0.6)
