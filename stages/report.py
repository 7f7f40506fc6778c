"""One self-contained HTML page of a line: the ladder, per-class IoU, and a gallery.

It shows what the evaluations of the line have measured, and measures nothing itself. What these are
and how they are called is declared in dvc.yaml (`stages.io.declarations`): every measured output of
the line that the report depends on is on the ladder, and every label source that it depends on is
in the gallery. Of a data set without ground truth the page is the gallery alone.
"""

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.engine.command import read_params_file, run
from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.engine.progress import counted
from stages.io.corrections import read_human
from stages.io.data_set import Box, Dataset, ImageFile
from stages.io.declarations import Node, Output, overlap, read_nodes
from stages.io.label_maps import read_label_map
from stages.io.measures import IMAGE_SCORES, INSTANCE_MEASURES, read_truth
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

#: Of a source that nothing has measured.
NOT_MEASURED: Mapping[str, Any] = {
    "miou": None,
    "precision": None,
    "coverage": None,
    "iou": {},
    "class_precision": {},
}
TEMPLATE = "report.html.j2"


@dataclasses.dataclass(frozen=True)
class Source:
    """Labels that were measured.

    Attributes:
        name: on the ladder.
        evaluation: the stage that measures them, without the member.
        labels: folder of label maps.
        measures: JSON of the set; beside it, the parquet of its images.
        title: of its row of the ladder.
        note: what the row says besides.
        is_refined: its number stands in the column after the CRF.
        role: "final", "baseline", "seeds" or "".
    """

    name: str
    evaluation: str
    labels: Path
    measures: Path
    title: str
    note: str
    is_refined: bool
    role: str


@dataclasses.dataclass(frozen=True)
class InstanceSource:
    """Instances that were measured: title and note of their row, their measures, their role."""

    title: str
    note: str
    measures: Path
    role: str


@dataclasses.dataclass(frozen=True)
class Rung:
    """A row of the ladder: a source as it is, and after the CRF; one of the two may be None."""

    title: str
    note: str
    raw: str | None
    refined: str | None


@dataclasses.dataclass(frozen=True)
class Line:
    """What dvc.yaml declares for a report.

    Attributes:
        title: of the page.
        path: the steps of the line, in a few words each.
        sources: in the order of dvc.yaml.
        shown: those with pictures in the gallery.
        final: the name of the final labels.
        instances: sources of instances, in the order of dvc.yaml.
    """

    title: str
    path: tuple[str, ...]
    sources: tuple[Source, ...]
    shown: tuple[Source, ...]
    final: str
    instances: tuple[InstanceSource, ...]

    def of_role(self, role: str) -> Source | None:
        """The source with a role."""
        return next((source for source in self.sources if source.role == role), None)

    @property
    def ladder(self) -> list[Rung]:
        """The sources, with those of one title in one row."""
        rungs: dict[str, Rung] = {}
        for source in self.sources:
            rung = rungs.get(source.title, Rung(source.title, "", None, None))
            rungs[source.title] = Rung(
                rung.title,
                rung.note or source.note,
                rung.raw if source.is_refined else source.name,
                source.name if source.is_refined else rung.refined,
            )
        return list(rungs.values())


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
    for image_id in human:  # a person may paint a class that has no box
        shown.update(map(int, np.unique(read_label_map(final.labels / f"{image_id}.png"))))
    colours = class_colours([label for label in names if label in shown - {0}])
    gallery_ids = gallery_images(
        {image_id: row["miou"] for image_id, row in per_image[final.name].items()},
        list(images),
        params.worst,
        params.spread,
    )
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
        "instances": [
            (source, read_measures(source.measures))
            for source in declared.instances
            if source.measures.is_file()
        ],
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


def read_line(nodes: Sequence[Node], line: str, where: Path) -> Line:
    """What a report shows, in the order of dvc.yaml.

    Raises:
        InputError: no such report, or no measured final labels; says so of `where`.
    """
    own = next((node for node in nodes if node.name == f"report@{line}"), None)
    if own is None:
        raise InputError(f"{where}: stages.report.foreach: no line {line!r}")

    def is_read(path: Path) -> bool:
        return any(overlap(path, dep) for dep in own.deps)

    measures = [
        output
        for node in nodes
        for output in node.outputs
        if output.type == "measures" and output.line == line and is_read(Path(output.path))
    ]
    sources = tuple(_source(output) for output in measures if "labels" in output.meta)
    final = next((source.name for source in sources if source.role == "final"), None)
    if final is None:
        expected = "expected one entry with role: final, whose measures the report depends on"
        raise InputError(f"{where}: line {line!r}: no final labels are measured; {expected}")
    return Line(
        str(own.meta.get("title", f"The line {line}")),
        tuple(step.strip() for step in str(own.meta.get("path", "")).split(",") if step.strip()),
        sources,
        tuple(
            source
            for source in sources
            if is_read(source.labels) and (source.role == "final" or not source.is_refined)
        ),
        final,
        tuple(
            InstanceSource(
                str(output.meta.get("row", output.source)),
                str(output.meta.get("note", "")),
                Path(output.path),
                str(output.meta.get("role", "")),
            )
            for output in measures
            if "instances" in output.meta
        ),
    )


def _source(output: Output) -> Source:
    meta = output.meta
    return Source(
        output.source,
        output.stage.partition("@")[0],
        Path(str(meta["labels"])),
        Path(output.path),
        str(meta.get("row", output.source)),
        str(meta.get("note", "")),
        meta.get("column") == "crf",
        str(meta.get("role", "")),
    )


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
