import io
import shutil
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipelines.graph.objects import Objects
from pipelines.graph.revisions import read_revision
from pipelines.look.measures import (
    Row,
    ladder_table,
    read_ladders,
    revisions_table,
    workspace_ladders,
)
from tests.pipelines.gallery import Gallery


def shown(table: Table) -> str:
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text()


def rows_of(gallery: Gallery, name: str) -> list[Row]:
    return read_ladders(Objects(gallery.root), read_revision(gallery.root, name))["masks"]


def test_rows_come_in_the_order_of_the_graph(own_gallery: Gallery) -> None:
    lock = own_gallery.root / "dvc.lock"
    text = lock.read_text()
    start, end = text.index("  labels_eval@walk:"), text.index("  labels_eval@crf:")
    lock.write_text(text[:start] + text[end:] + text[start:end])  # as if it had ended last
    labels = [label for label, _ in rows_of(own_gallery, "workspace")]
    assert labels == ["walk", "crf", "deeplab on walk", "deeplab on walk + CRF"]


def test_the_numbers_are_those_of_the_revision(gallery: Gallery) -> None:
    for name, steps in (("first", 1), ("HEAD", 2), ("workspace", 2), ("three", 3)):
        found = {label: row.get("miou") for label, row in rows_of(gallery, name)}
        assert found == {
            "walk": 41 + 10 * steps,
            "crf": 42 + 10 * steps,
            "deeplab on walk": 61.25,
            "deeplab on walk + CRF": 62.5,
        }


def test_numbers_that_only_git_has_are_read(own_gallery: Gallery) -> None:
    for folder in (".dvc/cache", "data"):
        shutil.rmtree(own_gallery.root / folder)
    assert dict(rows_of(own_gallery, "first"))["walk"] == {"miou": 51.0}
    assert dict(rows_of(own_gallery, "workspace"))["walk"] == {}, "neither git nor a remote"


def test_the_workspace_shows_what_the_run_was_about(own_gallery: Gallery, tmp_path: Path) -> None:
    found = workspace_ladders(own_gallery.root, ["labels_eval@crf", "x"])
    assert {line: [name for name, _ in rows] for line, rows in found.items()} == {"masks": ["crf"]}
    shutil.rmtree(own_gallery.root / ".dvc/cache")
    (own_gallery.root / "data/labels_eval/crf.json").unlink()
    assert workspace_ladders(own_gallery.root, ["labels_eval@crf"]) == {}
    assert workspace_ladders(tmp_path, ["labels_eval@crf"]) == {}


def test_columns_that_nobody_measured_are_left_out() -> None:
    text = shown(ladder_table("masks", [("walk", {"miou": 70.0, "precision": 80.25}), ("x", {})]))
    assert "80.2" in text
    assert "chosen" not in text
    assert "coverage" not in text
    assert "None" not in shown(ladder_table("masks", [("walk", {"miou": None})]))


def test_revisions_stand_side_by_side_with_what_the_last_gained() -> None:
    ladders = {
        "first": [("old", {"miou": 10.0}), ("walk", {"miou": 50.0})],
        "[red]odd": [("walk", {"miou": 60.25}), ("crf", {"miou": 70.0})],
        "last": [("crf", {"miou": 69.0}), ("walk", {"miou": None})],
    }
    lines = [line.strip()[1:-1] for line in shown(revisions_table("masks", ladders)).splitlines()]
    cells = [[cell.strip() for cell in line.split("│")] for line in lines if "│" in line]
    assert cells == [
        ["crf", "", "70.0", "69.0", "-1.0"],
        ["walk", "50.0", "60.2", "", ""],
        ["old", "10.0", "", "", ""],
    ]
    assert "[red]odd" in shown(revisions_table("masks", ladders))


def test_instances_have_a_ladder_of_their_own(own_gallery: Gallery) -> None:
    graph = own_gallery.root / "dvc.yaml"
    text = graph.read_text()
    graph.write_text(text.replace("labels: data/walk", "instances: data/walk", 1))
    assert graph.read_text() != text
    ladders = read_ladders(Objects(own_gallery.root), read_revision(own_gallery.root))
    assert [name for name, _ in ladders["masks, instances"]] == ["walk"]
    rows: dict[str, list[Row]] = {"a": [("x", {"any_map": 50.0})], "b": [("x", {"any_map": 60.0})]}
    text = shown(revisions_table("masks, instances", rows))
    assert "AP, any class" in " ".join(text.split())
    assert "+10.0" in text
