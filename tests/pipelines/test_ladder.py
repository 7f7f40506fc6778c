import io
import json
from pathlib import Path

from rich.console import Console

from pipelines.ladder import ladder_rows, ladder_table
from pipelines.plan import Plan, State, Step


def plan(*names: str) -> Plan:
    return Plan(tuple(Step(name, (), State.UNCHANGED) for name in names))


def write(root: Path, name: str, **numbers: float | None) -> None:
    path = root / "data" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(numbers))


def shown(root: Path, steps: Plan) -> str:
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(ladder_table(ladder_rows(root, steps)))
    return console.export_text()


def test_rows_come_in_the_order_of_the_graph_as_far_as_measured(tmp_path: Path) -> None:
    write(tmp_path, "labels_eval/walk", miou=70.0, precision=80.25, coverage=100.0)
    write(tmp_path, "labels_eval/boxes", miou=60.0)
    write(tmp_path, "deeplab_eval/a2gnn", miou=65.0, miou_crf=66.0)
    steps = plan("labels_eval@boxes", "labels_eval@fused", "labels_eval@walk", "deeplab_eval@a2gnn")
    labels = [label for label, _ in ladder_rows(tmp_path, steps)]
    assert labels == ["boxes", "walk", "deeplab on a2gnn", "deeplab on a2gnn + CRF"]
    text = shown(tmp_path, steps)
    assert "80.2" in text
    assert "66.0" in text
    assert "chosen" not in text, "nobody measured chosen classes"


def test_what_could_not_be_measured_is_left_empty(tmp_path: Path) -> None:
    write(tmp_path, "deeplab_eval/a2gnn", miou=None, miou_crf=None)
    assert "None" not in shown(tmp_path, plan("deeplab_eval@a2gnn"))


def test_nothing_measured_is_no_row(tmp_path: Path) -> None:
    assert ladder_rows(tmp_path, plan("labels_eval@boxes", "scenes")) == []
