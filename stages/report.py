"""One self-contained HTML page: the ladder, per-class IoU, and a gallery.

It shows what labels_eval and instances_eval have measured, and measures nothing itself. Of a data
set without ground truth the page is the gallery alone.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.engine.command import read_params_file, run
from stages.engine.files import write_bytes
from stages.engine.progress import counted
from stages.io.corrections import read_human
from stages.io.data_set import Box, ImageFile, boxes_by_image, images_of_split, read_class_names
from stages.io.label_maps import read_label_map
from stages.io.measures import IMAGE_SCORES, read_truth
from stages.io.pages import read_measures, write_page
from stages.io.pictures import (
    Colour,
    class_colours,
    data_uri,
    overlay,
    shrink,
    shrink_labels,
    with_boxes,
)
from stages.io.tables import read_rows

TEMPLATE = "report.html.j2"


class Rung(NamedTuple):
    """A label source: how the page calls it, its name in labels_eval, and that after the CRF.

    One of the two may be None.
    """

    title: str
    note: str
    raw: str | None
    refined: str | None


LADDER = (
    Rung("Boxes filled", "every box painted with its class", "boxes", None),
    Rung("CAM", "class activation maps of the tags", "cam", None),
    Rung("GrabCut", "in every box", "grabcut", "grabcut_crf"),
    Rung("Fused seeds", "GrabCut and CAM", "fused", "fused_crf"),
    Rung("Confident seeds", "what the graph network learns from", "confident", "confident_crf"),
    Rung("Random walk", "fused seeds on the graph", "walk", "walk_crf"),
    Rung("A2GNN", "confident seeds on the graph", "a2gnn", "a2gnn_crf"),
    Rung("Final labels", "A2GNN after the CRF, corrections by hand", None, "final"),
)
FINAL = "final"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of the stage.

    Attributes:
        worst: so many of the worst images are in the gallery,
        spread: and so many of the others, evenly from worst to best.
        thumbnail: longer side of a picture, pixels.
        quality: of the pictures, WebP, 1 to 100.
        opacity: of the label colours.
    """

    worst: Annotated[int, Field(ge=0)]
    spread: Annotated[int, Field(ge=0)]
    thumbnail: Annotated[int, Field(ge=16)]
    quality: Annotated[int, Field(ge=1, le=100)]
    opacity: Annotated[float, Field(gt=0, le=1)]


def report(
    params: Params,
    root: Path,
    numbers: Path,
    images: Path,
    instances: Path,
    categories: Path,
    ground_truth: Path,
    fused: Path,
    confident: Path,
    walk: Path,
    a2gnn: Path,
    final: Path,
    provenance: Path,
    labels_eval: Path,
    instances_eval: Path,
    out: Path,
) -> None:
    """Write out/report.html, and two of its tables as out/ladder.csv and out/classes.csv.

    Args:
        params: see `Params`.
        root: of the data set.
        numbers: params.yaml, shown on the page.
        images: images.parquet.
        instances: instances.parquet.
        categories: categories.parquet.
        ground_truth: folder of <image_id>.png.
        fused: folder of label maps, as the next four.
        confident: see `fused`.
        walk: see `fused`.
        a2gnn: see `fused`.
        final: see `fused`.
        provenance: provenance.csv, which says which of the final labels a person has corrected.
        labels_eval: folder with <name>.json of every rung and <name>.parquet of the gallery's.
        instances_eval: metrics.json.
        out: folder.

    Raises:
        InputError: a file is missing or unreadable.
    """
    names = read_class_names(categories)
    samples = {sample.image_id: sample for sample in images_of_split(images, root, "train")}
    scores = {
        name: read_measures(labels_eval / f"{name}.json")
        for rung in LADDER
        for name in (rung.raw, rung.refined)
        if name
    }
    sources = {"fused": fused, "confident": confident, "walk": walk, "a2gnn": a2gnn, FINAL: final}
    per_image = {
        name: {
            row["image_id"]: row for row in read_rows(labels_eval / f"{name}.parquet", IMAGE_SCORES)
        }
        for name in sources
    }
    human = read_human(provenance)
    boxes = boxes_by_image(instances)
    shown = {box.category for found in boxes.values() for box in found}
    for image_id in human:  # a person may paint a class that has no box
        shown.update(map(int, np.unique(read_label_map(final / f"{image_id}.png"))))
    colours = class_colours([label for label in names if label in shown - {0}])
    sections = read_params_file(numbers)
    chosen = gallery_images(
        {image_id: row["miou"] for image_id, row in per_image[FINAL].items()},
        list(samples),
        params.worst,
        params.spread,
    )
    gallery = [
        _pictures(
            params,
            samples[image_id],
            boxes.get(image_id, ()),
            sources,
            ground_truth,
            colours,
        )
        | {
            "scores": {name: per_image[name].get(image_id) for name in sources},
            "by_hand": image_id in human,
        }
        for image_id in counted(chosen, "report", "images")
    ]
    every = {name: _headline(score) for name, score in scores.items()}
    context = {
        "ladder": LADDER,
        "final": FINAL,
        "scores": scores,
        "headline": every,
        "measured": any(value is not None for value in every.values()),
        "chosen": sections["labels_eval"]["classes"] if "miou_classes" in scores[FINAL] else [],
        "per_image": sorted(
            row["miou"] for row in per_image[FINAL].values() if row["miou"] is not None
        ),
        "instances": read_measures(instances_eval),
        "counts": {
            "images": len(samples),
            "by_hand": len(human),
            "boxes": sum(len(boxes.get(image_id, ())) for image_id in samples),
            "classes": len(names) - 1,
        },
        "names": names,
        "class_names": [
            names[label]
            for label in names
            if any(names[label] in score["iou"] for score in scores.values())
        ],
        "colours": {
            names[label]: "#{:02x}{:02x}{:02x}".format(*colour) for label, colour in colours.items()
        },
        "gallery": gallery,
        "worst": min(params.worst, len(gallery)),
        "sections": sections,
    }
    write_page(out / "report.html", TEMPLATE, context)
    _write_csv(out / "ladder.csv", ("source", "miou"), every.items())
    _write_csv(out / "classes.csv", ("class", "iou"), scores[FINAL]["iou"].items())


def _write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[tuple[str, float | None]]
) -> None:
    """The rows that have a number, for `dvc plots`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(row for row in rows if row[1] is not None)
    write_bytes(path, text.getvalue().encode())


def gallery_images(
    miou: Mapping[str, float | None], image_ids: Sequence[str], worst: int, spread: int
) -> list[str]:
    """Which images to show: the worst, and some of the others evenly down the ranking.

    Args:
        miou: by image; an image that is missing or None has not been measured.
        image_ids: all images, in order.
        worst: how many of the worst.
        spread: how many of the others; the last one is the best image.

    Returns:
        Image ids, worst first. Where nothing has been measured, images evenly through the order.
    """
    measured = {image_id: value for image_id, value in miou.items() if value is not None}
    ranked = sorted(measured, key=lambda image_id: (measured[image_id], image_id))
    if not ranked:
        return _evenly(image_ids, worst + spread)
    return ranked[:worst] + _evenly(ranked[worst:], spread)


def _evenly(values: Sequence[str], count: int) -> list[str]:
    """`count` of the values, or all if there are fewer; the last one is the last value."""
    count = min(count, len(values))
    return [values[(index + 1) * len(values) // count - 1] for index in range(count)]


def _pictures(
    params: Params,
    sample: ImageFile,
    boxes: Sequence[Box],
    sources: Mapping[str, Path],
    ground_truth: Path,
    colours: Mapping[int, Colour],
) -> dict[str, Any]:
    """The row of one image: its id and its pictures by column."""
    small = shrink(sample.read(), params.thumbnail)
    size = (small.shape[0], small.shape[1])
    maps = {
        name: read_label_map(folder / f"{sample.image_id}.png") for name, folder in sources.items()
    }
    truth = read_truth(ground_truth, sample.image_id)
    if truth is not None:
        maps["truth"] = truth
    pictures = {
        "image": small,
        "boxes": with_boxes(small, boxes, size[1] / sample.width, colours),
    }
    for name, labels in maps.items():
        pictures[name] = overlay(small, shrink_labels(labels, size), colours, params.opacity)
    return {
        "image_id": sample.image_id,
        "width": size[1],
        "height": size[0],
        "pictures": {name: data_uri(picture, params.quality) for name, picture in pictures.items()},
    }


def _headline(score: Mapping[str, Any]) -> float | None:
    """The mIoU that the page speaks of: over the chosen classes where some are chosen."""
    value: float | None = score.get("miou_classes", score["miou"])
    return value


if __name__ == "__main__":
    run(report)
