"""What came out: every label source on one ruler, and where the report is."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from pipelines.plan import Plan

REPORT = Path("data/report/report.html")
COLUMNS = {
    "miou": "mIoU",
    "miou_classes": "mIoU, chosen classes",
    "precision": "precision",
    "coverage": "coverage",
}
Row = tuple[str, Mapping[str, float | None]]


def ladder_rows(root: Path, plan: Plan) -> list[Row]:
    """The measured label sources and networks, in the order of dvc.yaml.

    Returns:
        (name, numbers) with the keys of `COLUMNS` in percent, as far as measured.
    """
    rows: list[Row] = []
    for step in plan.steps:
        stage, _, source = step.name.partition("@")
        path = root / "data" / stage / f"{source}.json"
        if stage not in ("labels_eval", "deeplab_eval") or not path.is_file():
            continue
        numbers = json.loads(path.read_text())
        if stage == "labels_eval":
            rows.append((source, numbers))
        else:
            refined = {key: numbers.get(f"{key}_crf") for key in COLUMNS}
            rows += [(f"deeplab on {source}", numbers), (f"deeplab on {source} + CRF", refined)]
    return rows


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


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
