"""What came out: every label source on one ruler, of any revision; and where the report is."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from pipelines.graph.objects import MissingObject, Objects
from pipelines.graph.revisions import Record, Revision, read_graph, read_revision
from stages.engine.errors import InputError

COLUMNS = {
    "miou": "mIoU",
    "miou_classes": "mIoU, chosen classes",
    "precision": "precision",
    "coverage": "coverage",
}
Row = tuple[str, Mapping[str, float | None]]


def ladder_rows(objects: Objects, revision: Revision) -> list[Row]:
    """The measured label sources and networks of a revision, in the order of its dvc.yaml.

    Returns:
        (name, numbers) with the keys of `COLUMNS` in percent, as far as measured; no numbers at
        all where they are neither in the cache nor in git nor in the remote.
    """
    rows: list[Row] = []
    for record in _measured(objects.root, revision):
        stage, _, source = record.name.partition("@")
        numbers = _numbers(objects, revision, record)
        if stage == "labels_eval":
            rows.append((source, numbers))
        else:
            refined = {key: numbers[f"{key}_crf"] for key in COLUMNS if f"{key}_crf" in numbers}
            rows += [(f"deeplab on {source}", numbers), (f"deeplab on {source} + CRF", refined)]
    return rows


def workspace_ladder(root: Path, stages: Collection[str]) -> list[Row]:
    """The rows of the workspace that `stages` have made; none where nothing is recorded."""
    try:
        revision = read_revision(root)
    except InputError:
        return []
    kept = {name: record for name, record in revision.stages.items() if name in stages}
    chosen = Revision(revision.name, None, revision.when, revision.title, kept)
    return [(name, numbers) for name, numbers in ladder_rows(Objects(root), chosen) if numbers]


def shown_columns(rows: Sequence[Row]) -> dict[str, str]:
    """The part of `COLUMNS` that some row has."""
    return {
        key: title
        for key, title in COLUMNS.items()
        if any(numbers.get(key) is not None for _, numbers in rows)
    }


def ladder_table(rows: Sequence[Row]) -> Table:
    """The rows as a table for the terminal, without the columns that nobody has."""
    table = Table(title="The ladder: label sources against ground truth, percent")
    table.add_column("source")
    shown = shown_columns(rows)
    for title in shown.values():
        table.add_column(title, justify="right")
    for label, numbers in rows:
        table.add_row(label, *(_cell(numbers.get(key)) for key in shown))
    return table


def revisions_table(ladders: Mapping[str, Sequence[Row]]) -> Table:
    """The mIoU of two revisions or more side by side, and what the last one gained.

    Args:
        ladders: the rows by the revision's name. Sources come in the order of the last revision,
            then those that only others have.
    """
    table = Table(title="mIoU of label sources against ground truth, percent")
    table.add_column("source")
    for name in [*ladders, "difference"]:
        table.add_column(Text(name), justify="right", overflow="fold")
    values = {
        name: {label: row.get("miou") for label, row in rows} for name, rows in ladders.items()
    }
    columns = list(values.values())
    for label in dict.fromkeys(label for column in reversed(columns) for label in column):
        cells = [column.get(label) for column in columns]
        before, after = cells[-2:]
        gain = "" if before is None or after is None else f"{after - before:+.1f}"
        table.add_row(label, *map(_cell, cells), gain)
    return table


def _measured(root: Path, revision: Revision) -> list[Record]:
    """The stages that measure, in the order of dvc.yaml; dvc.lock has them as they ended."""
    graph = read_graph(root, revision)
    stages = list(graph)

    def place(record: Record) -> tuple[int, int]:
        stage, _, member = record.name.partition("@")
        entry = graph.get(stage)
        each = entry.get("foreach") if isinstance(entry, Mapping) else None
        members = [str(key) for key in each] if isinstance(each, (Mapping, list)) else []
        return (
            stages.index(stage) if stage in stages else len(stages),
            members.index(member) if member in members else len(members),
        )

    found = [
        record
        for record in revision.stages.values()
        if record.name.startswith(("labels_eval@", "deeplab_eval@"))
    ]
    return sorted(found, key=place)


def _numbers(objects: Objects, revision: Revision, record: Record) -> dict[str, float | None]:
    for out, md5 in record.outs.items():
        if out.endswith(".json"):
            try:
                content = json.loads(objects.file(revision, out, md5).read_text())
            except (MissingObject, OSError, ValueError):
                return {}
            return dict(content) if isinstance(content, dict) else {}
    return {}


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
