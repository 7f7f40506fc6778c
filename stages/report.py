"""One self-contained HTML page of a line: the ladder, per-class IoU, and a gallery.

It shows what the evaluations of the line have measured, and measures nothing itself. What these are
and how they are called is declared in dvc.yaml (`stages.io.declarations`): every measured output of
the line that the report depends on is on the ladder, and every label source that it depends on is
in the gallery. Of a data set without ground truth the page is the gallery alone. A line may end in
instances, or in ranked ones, instead of label maps; then these are what its page shows.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.engine.command import read_params_file, run
from stages.engine.files import write_bytes
from stages.engine.progress import counted
from stages.io.corrections import read_human
from stages.io.data_set import Box, Dataset, ImageFile
from stages.io.declarations import read_nodes
from stages.io.label_maps import read_label_map
from stages.io.measures import (
    IMAGE_SCORES,
    INSTANCE_MEASURES,
    INSTANCE_SCORES,
    RANK_SCORES,
    RANKING_MEASURES,
    read_truth,
)
from stages.io.objects import objects_by_image
from stages.io.pages import read_measures, write_page
from stages.io.pictures import (
    Colour,
    class_colours,
    data_uri,
    instance_overlay,
    overlay,
    shrink,
    shrink_labels,
    thumbnail,
    with_boxes,
)
from stages.io.ranked import picture_of_rows
from stages.io.report_lines import InstanceSource, Line, Section, read_line
from stages.io.tables import read_rows

#: Of a source that nothing has measured.
NOT_MEASURED: Mapping[str, Any] = {
    "miou": None,
    "precision": None,
    "coverage": None,
    "iou": {},
    "class_precision": {},
}
TEMPLATE = "report.html.j2"
INSTANCES_TEMPLATE = "instances.html.j2"
RANKING_TEMPLATE = "ranking.html.j2"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    worst: Annotated[int, Field(ge=0)]
    spread: Annotated[int, Field(ge=0)]
    thumbnail: Annotated[int, Field(ge=16)]
    quality: Annotated[int, Field(ge=1, le=100)]
    opacity: Annotated[float, Field(gt=0, le=1)]


def report(params: Params, data: Dataset, numbers: Path, graph: Path, line: str, out: Path) -> None:
    """Write out/report.html, and two of its tables as out/ladder.csv and out/classes.csv.

    Args:
        params: see `Params`.
        data: the data set, with its ground truth.
        numbers: params.yaml, shown on the page.
        graph: dvc.yaml, which declares what the page shows.
        line: of which the page is; report@LINE is its stage.
        out: folder.

    Raises:
        InputError: a file is missing or unreadable; or dvc.yaml has no such report, or declares
            no final labels for it.
    """
    sections = read_params_file(numbers)
    declared = read_line(read_nodes(graph, sections), line, graph)
    if declared.ranked:
        _write_ranking_page(params, data, declared, sections, out)
        return
    if not declared.final:
        _write_instances_page(params, data, declared, sections, out)
        return
    names = data.class_names()
    images = {image.image_id: image for image in data.images("train")}
    # without ground truth a run leaves out what would measure
    is_measured = any(source.measures.is_file() for source in declared.sources)
    scores = {
        source.name: read_measures(source.measures) if is_measured else NOT_MEASURED
        for source in declared.sources
    }
    per_image = {
        source.name: {
            row["image_id"]: row
            for row in read_rows(source.measures.with_suffix(".parquet"), IMAGE_SCORES)
        }
        if is_measured
        else {}
        for source in declared.shown
    }
    final = next(source for source in declared.sources if source.role == "final")
    origins = final.labels.parent / "origins.csv"  # of labels_final
    human = read_human(origins) if origins.is_file() else set()
    boxes = data.boxes()
    shown = {box.category for of_image in boxes.values() for box in of_image}
    gallery_ids = gallery_images(
        {image_id: row["miou"] for image_id, row in per_image[final.name].items()},
        list(images),
        params.worst,
        params.spread,
    )
    for image_id in {*human, *gallery_ids}:  # of a class without a box: by hand, or from tags
        shown.update(map(int, np.unique(read_label_map(final.labels / f"{image_id}.png"))))
    colours = class_colours([label for label in names if label in shown - {0}])
    gallery = [
        _pictures(
            params,
            images[image_id],
            boxes.get(image_id, ()),
            {source.name: source.labels for source in declared.shown},
            data.folder / "ground_truth/semantic",
            colours,
        )
        | {
            "scores": {name: rows.get(image_id) for name, rows in per_image.items()},
            "by_hand": image_id in human,
        }
        for image_id in counted(gallery_ids, "report", "images")
    ]
    every = {name: _headline(score) for name, score in scores.items()}
    context = {
        "line": declared,
        "ladder": declared.ladder,
        "final": final.name,
        "baseline": declared.of_role("baseline"),
        "seeds": declared.of_role("seeds"),
        "scores": scores,
        "headline": every,
        "measured": any(value is not None for value in every.values()),
        "chosen": sections[final.evaluation]["classes"]
        if "miou_classes" in scores[final.name]
        else [],
        "per_image": sorted(
            row["miou"] for row in per_image[final.name].values() if row["miou"] is not None
        ),
        "instances": _measured_instances(declared),
        "instance_measures": INSTANCE_MEASURES,
        "counts": {
            "images": len(images),
            "by_hand": len(human),
            "boxes": sum(len(boxes.get(image_id, ())) for image_id in images),
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
    _write_csv(out / "classes.csv", ("class", "iou"), scores[final.name]["iou"].items())


def _measured_instances(line: Line) -> list[tuple[InstanceSource, dict[str, Any]]]:
    return [
        (source, read_measures(source.measures))
        for source in line.instances
        if source.measures.is_file()
    ]


def _write_instances_page(
    params: Params, data: Dataset, line: Line, sections: Mapping[str, Any], out: Path
) -> None:
    """The page of a line that ends in instances: their ladder, and a gallery worst first."""
    measured = _measured_instances(line)
    images = {image.image_id: image for image in data.images("train")}
    final = next(source for source in line.instances if source.role == "final")
    scores = {
        source.name: {
            row["image_id"]: row["iou"]
            for row in read_rows(source.measures.with_suffix(".parquet"), INSTANCE_SCORES)
        }
        for source in line.shown_instances
        if source.measures.is_file()
    }
    worst = scores.get(final.name, {})
    chosen = gallery_images(worst, list(images), params.worst, params.spread)
    tables = {
        source.title: (source.name, objects_by_image(source.table))
        for source in line.shown_instances
    }
    if measured:
        truth = objects_by_image(data.folder / "ground_truth/instances.parquet")
        tables["ground truth"] = ("", truth)
    boxes = data.boxes()
    gallery = []
    for image_id in counted(chosen, "report", "images"):
        image = images[image_id]
        small = shrink(image.read(), params.thumbnail)
        scale = small.shape[1] / image.width
        framed = with_boxes(small, boxes.get(image_id, ()), scale, {})
        pictures = [("image", small, None), ("boxes", framed, None)]
        for title, (name, rows) in tables.items():
            picture = instance_overlay(small, rows.get(image_id, ()), image.size, params.opacity)
            pictures.append((title, picture, scores.get(name, {}).get(image_id)))
        shown = [(title, data_uri(one, params.quality), iou) for title, one, iou in pictures]
        height, width = small.shape[:2]
        gallery.append({"image_id": image_id, "pictures": shown, "width": width, "height": height})
    context = {
        "line": line,
        "instances": measured,
        "instance_measures": INSTANCE_MEASURES,
        "gallery": gallery,
        "images": len(images),
        "sections": sections,
    }
    write_page(out / "report.html", INSTANCES_TEMPLATE, context)
    ladder = [(source.name, numbers["any_map"]) for source, numbers in measured]
    _write_csv(out / "ladder.csv", ("source", "any_map"), ladder)
    _write_csv(out / "classes.csv", ("class", "iou"), [])


def _write_ranking_page(
    params: Params, data: Dataset, line: Line, sections: Mapping[str, Any], out: Path
) -> None:
    """The page of a line that ends in ranks: ladder, titled tables and pictures, gallery."""
    measured = [(source, read_measures(source.measures)) for source in line.ranked]
    final = next(source for source in line.ranked if source.role == "final")
    scores = {
        row["image_id"]: row["sa_sor_paper"]
        for row in read_rows(final.measures.with_suffix(".parquet"), RANK_SCORES)
    }
    images = {image.image_id: image for image in data.images("val")}
    found, wanted = objects_by_image(final.table), objects_by_image(final.reference)
    gallery = []
    chosen = gallery_images(scores, list(scores), params.worst, params.spread)
    for image_id in counted(chosen, "report", "images"):
        image = images[image_id].read()
        pictures = [
            ("image", image),
            ("true ranks", picture_of_rows(image, wanted.get(image_id, []))),
            (final.title, picture_of_rows(image, found.get(image_id, []))),
        ]
        shown = [
            (title, data_uri(shrink(picture, params.thumbnail), params.quality))
            for title, picture in pictures
        ]
        gallery.append({"image_id": image_id, "pictures": shown, "score": scores[image_id]})
    context = {
        "line": line,
        "ranked": measured,
        "final": next(numbers for source, numbers in measured if source is final),
        "measures": RANKING_MEASURES,
        "sheets": [_sheet(params, section) for section in line.sections],
        "gallery": gallery,
        "sections": sections,
    }
    write_page(out / "report.html", RANKING_TEMPLATE, context)
    ladder = [(source.name, numbers["sa_sor_paper"]) for source, numbers in measured]
    _write_csv(out / "ladder.csv", ("source", "sa_sor_paper"), ladder)
    _write_csv(out / "classes.csv", ("class", "iou"), [])


def _sheet(params: Params, section: Section) -> dict[str, Any]:
    """A titled table, or some of the titled pictures, evenly through the folder."""
    if section.is_table:
        rows = list(csv.reader(section.path.read_text().splitlines()))
        return {"section": section, "rows": rows, "pictures": []}
    files = _evenly(sorted(map(str, section.path.iterdir())), params.spread)
    pictures = [
        (
            Path(file).stem,
            data_uri(thumbnail(Path(file).read_bytes(), 2 * params.thumbnail), params.quality),
        )
        for file in files
    ]
    return {"section": section, "rows": [], "pictures": pictures}


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
    image: ImageFile,
    boxes: Sequence[Box],
    sources: Mapping[str, Path],
    ground_truth: Path,
    colours: Mapping[int, Colour],
) -> dict[str, Any]:
    """The row of one image: its id and its pictures by column."""
    small = shrink(image.read(), params.thumbnail)
    size = (small.shape[0], small.shape[1])
    maps = {
        name: read_label_map(folder / f"{image.image_id}.png") for name, folder in sources.items()
    }
    truth = read_truth(ground_truth, image.image_id)
    if truth is not None:
        maps["(truth)"] = truth
    pictures = {
        "(image)": small,  # no source is called so
        "(boxes)": with_boxes(small, boxes, size[1] / image.width, colours),
    }
    for name, labels in maps.items():
        pictures[name] = overlay(small, shrink_labels(labels, size), colours, params.opacity)
    return {
        "image_id": image.image_id,
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
