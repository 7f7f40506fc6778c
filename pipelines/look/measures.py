"""What came out: all label sources on one ruler, all instances on another, line by line."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from pipelines.graph.declared import declared_outputs
from pipelines.graph.objects import MissingObject, Objects
from pipelines.graph.revisions import Revision, read_revision
from stages.engine.errors import InputError
from stages.io.declarations import Output
from stages.io.measures import INSTANCE_MEASURES, RANKING_MEASURES

#: A ladder shows those that some row has; the first of them is compared between revisions.
COLUMNS = {
    "miou": "mIoU",
    "miou_classes": "mIoU, chosen classes",
    "miou_mask": "mIoU, masks",
    "miou_box": "boxes",
    "miou_scribble": "scribbles",
    "miou_point": "points",
    "miou_tag": "tags",
    "precision": "precision",
    "coverage": "coverage",
} | {
    key: INSTANCE_MEASURES[key][0]
    for key in (
        "any_map", "any_ap50", "any_ap70", "map", "ap50", "ap70", "image_ap", "found", "box_iou"
    )
} | {key: title for key, (title, _) in RANKING_MEASURES.items()}  # fmt: skip
Row = tuple[str, Mapping[str, float | None]]
Ladders = dict[str, list[Row]]


def read_ladders(objects: Objects, revision: Revision) -> Ladders:
    """What was measured in a revision, by line, in the order of its dvc.yaml.

    Measures with two of each number, as it is and `_crf`, are two rows. Instances have a ladder of
    their own, "LINE, instances".

    Returns:
        (name, numbers) with the keys of `COLUMNS` in percent, as far as measured; no numbers at
        all where they are neither in the cache nor in git nor in the remote.
    """
    ladders: Ladders = {}
    for output in measures(declared_outputs(objects.root, revision)):
        numbers = _numbers(objects, revision, output)
        is_alone = {"labels", "ranked"} & {*output.meta}
        name = output.line if is_alone else f"{output.line}, instances"
        rows = ladders.setdefault(name, [])
        rows.append((output.source, numbers))
        refined = {key: numbers[f"{key}_crf"] for key in COLUMNS if f"{key}_crf" in numbers}
        if refined:
            rows.append((f"{output.source} + CRF", refined))
    return ladders


def measures(declared: Mapping[str, Output]) -> list[Output]:
    """Those of the outputs that measure something and stand on a ladder of a line."""
    return [
        output
        for output in declared.values()
        if output.type == "measures"
        and output.line
        and {"labels", "instances", "ranked"} & {*output.meta}
    ]


def workspace_ladders(root: Path, stages: Collection[str]) -> Ladders:
    """Those of the workspace, with the rows that `stages` have made and that have numbers."""
    try:
        revision = read_revision(root)
    except InputError:
        return {}
    records = {name: record for name, record in revision.stages.items() if name in stages}
    chosen = Revision(revision.name, None, revision.when, revision.title, records)
    ladders = read_ladders(Objects(root), chosen)
    known = {line: [row for row in rows if row[1]] for line, rows in ladders.items()}
    return {line: rows for line, rows in known.items() if rows}


def shown_columns(rows: Sequence[Row]) -> dict[str, str]:
    """The part of `COLUMNS` that some row has."""
    return {
        key: title
        for key, title in COLUMNS.items()
        if any(numbers.get(key) is not None for _, numbers in rows)
    }


def ladder_table(line: str, rows: Sequence[Row]) -> Table:
    """The rows as a table for the terminal, without the columns that nobody has."""
    table = Table(title=f"The ladder of {line}: against ground truth, percent")
    table.add_column("source")
    shown = shown_columns(rows)
    for title in shown.values():
        table.add_column(title, justify="right")
    for label, numbers in rows:
        table.add_row(label, *(_cell(numbers.get(key)) for key in shown))
    return table


def revisions_table(line: str, ladders: Mapping[str, Sequence[Row]]) -> Table:
    """The first number of two revisions or more side by side, and what the last one gained.

    Args:
        line: whose ladder it is.
        ladders: the rows by the revision's name. Sources come in the order of the last revision,
            then those that only others have.
    """
    shown = shown_columns([row for rows in ladders.values() for row in rows])
    key, title = next(iter(shown.items()), ("", "nothing measured"))
    table = Table(title=f"The ladder of {line}: {title}, percent")
    table.add_column("source")
    for name in [*ladders, "difference"]:
        table.add_column(Text(name), justify="right", overflow="fold")
    values = {name: {label: row.get(key) for label, row in rows} for name, rows in ladders.items()}
    columns = list(values.values())
    for label in dict.fromkeys(label for column in reversed(columns) for label in column):
        cells = [column.get(label) for column in columns]
        before, after = cells[-2:]
        gain = "" if before is None or after is None else f"{after - before:+.1f}"
        table.add_row(label, *map(_cell, cells), gain)
    return table


def _numbers(objects: Objects, revision: Revision, output: Output) -> dict[str, float | None]:
    md5 = revision.stages[output.stage].outs[output.path]
    try:
        content = json.loads(objects.file(revision, output.path, md5).read_text())
    except (MissingObject, OSError, ValueError):
        return {}
    return dict(content) if isinstance(content, dict) else {}


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
