import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.engine.errors import InputError
from stages.engine.files import write_bytes, write_json
from stages.io.corrections import AUTOMATIC, HUMAN, write_origins
from stages.io.data_set import Dataset
from stages.io.label_maps import encode_label_map, encode_rle
from stages.io.measures import IMAGE_SCORES, INSTANCE_MEASURES, INSTANCE_SCORES
from stages.io.tables import CATEGORIES, IMAGES, INSTANCES, write_table
from stages.report import Params, gallery_images, report

PARAMS = Params(worst=2, spread=1, thumbnail=32, quality=60, opacity=0.6)
SIZE = (40, 48)
IDS = ("a", "b", "c", "d")
#: Label sources: the row of the ladder, and what else is declared of it.
ROWS = {
    "start": ("Start", "note: where it begins"),
    "seeds": ("Sure seeds", "role: seeds"),
    "seeds_crf": ("Sure seeds", "column: crf, role: baseline"),
    "final": ("The end", "role: final"),
}
FOLDERS = ("start", "seeds", "final/labels")
NAMES = list(ROWS)


def graph_of(folder: Path, rows: dict[str, tuple[str, str]]) -> str:
    """A dvc.yaml with two lines that share their first labels."""
    places = {name: folder / name for name in rows} | {"final": folder / "final/labels"}
    entries = "".join(
        f"      {name}: {{line: mine, labels: {places[name]}, row: {title}, {rest}}}\n"
        for name, (title, rest) in rows.items()
    )
    return f"""\
stages:
  labels_eval:
    foreach:
{entries}      other: {{line: other, labels: {folder / "start"}, row: Of another line, role: final}}
    do:
      cmd: measure
      metrics: ["{folder}/labels_eval/${{item.line}}/${{key}}.json": {{cache: false}}]
  instances_eval:
    foreach:
      mine: {{line: mine, instances: x, row: Split masks, role: final}}
    do:
      cmd: measure
      metrics: ["{folder}/instances_eval/${{key}}/metrics.json"]
  report:
    foreach:
      mine: {{title: From A to B, path: "A, then, B"}}
    do:
      cmd: show
      deps: [{", ".join(str(folder / name) for name in FOLDERS)},
             "{folder}/labels_eval/${{key}}", "{folder}/instances_eval/${{key}}"]
      outs: [x]
"""


def score(miou: float | None, chosen: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"miou": miou, "precision": miou, "coverage": 100.0}
    found |= {"iou": {} if miou is None else {"background": 90.0, "cat": miou}, "images": 4}
    return found | ({"miou_classes": miou} if chosen else {})


def write_run(folder: Path, *, measured: bool = True, chosen: bool = False) -> dict[str, Path]:
    """A finished run of four drawn images, as the stages before leave it."""
    generator = np.random.default_rng(0)
    rows, boxes = [], []
    for image_id in IDS:
        file = folder / "root" / f"{image_id}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(file)
        md5 = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        rows.append({"image_id": image_id, "split": "train", "file": file.name, "width": 48,
                     "height": 40, "md5": md5})  # fmt: skip
        boxes.append({"image_id": image_id, "instance_id": 1, "category": 1, "x0": 4.0, "y0": 4.0,
                      "x1": 30.0, "y1": 30.0, "area": 1.0, "is_crowd": False, "mask": None,
                      "score": None})  # fmt: skip
        labels = np.zeros(SIZE, dtype=np.uint8)
        labels[4:30, 4:30] = 1
        labels[35:] = 255
        for name in (*FOLDERS, *(["ground_truth/semantic"] if measured else [])):
            write_bytes(folder / name / f"{image_id}.png", encode_label_map(labels))
    write_table(folder / "images.parquet", pd.DataFrame(rows), IMAGES)
    write_table(folder / "instances.parquet", pd.DataFrame(boxes), INSTANCES)
    names = pd.DataFrame({"category": [1], "name": ["cat"]})
    write_table(folder / "categories.parquet", names, CATEGORIES)
    mious = {"a": 80.0, "b": 12.3, "c": 95.0, "d": 40.0} if measured else {}
    per_image = [
        {"image_id": image_id, "miou": miou, "precision": 97.5, "coverage": 40.0,
         "categories": [0, 1], "iou": [90.0, miou]}
        for image_id, miou in mious.items()
    ]  # fmt: skip
    for index, name in enumerate(NAMES):
        value = 50.0 + index if measured else None
        write_json(folder / "labels_eval/mine" / f"{name}.json", score(value, chosen))
        frame = pd.DataFrame(per_image, columns=IMAGE_SCORES.names)
        write_table(folder / "labels_eval/mine" / f"{name}.parquet", frame, IMAGE_SCORES)
    points = 44.4 if measured else None
    instances = dict.fromkeys(INSTANCE_MEASURES, points) | {"ap": {"cat": points}}
    instances |= {"images": 4, "instances": 4, "predicted": 4}
    write_json(folder / "instances_eval/mine/metrics.json", instances)
    write_origins(folder / "final/origins.csv", dict.fromkeys(IDS, AUTOMATIC))
    write_bytes(folder / "dvc.yaml", graph_of(folder, ROWS).encode())
    write_bytes(folder / "params.yaml", b"labels_eval:\n  classes: [cat]\nmasks_export: {}\n")
    return {
        "numbers": folder / "params.yaml",
        "graph": folder / "dvc.yaml",
        "data": Dataset(folder, folder / "root"),
        "out": folder / "out",
    }


def written(paths: dict[str, Path]) -> str:
    report(PARAMS, line="mine", **paths)
    return (paths["out"] / "report.html").read_text()


def test_page_stands_alone_and_is_small(tmp_path: Path) -> None:
    page = written(write_run(tmp_path))
    assert len(page) < 5_000_000
    assert not re.search(r"<script|<link|@import|url\(|https?://", page)
    assert all(
        source.startswith("data:image/webp;base64,") for source in re.findall('src="(.*?)"', page)
    )
    assert page.count("<svg") == 2
    assert "prefers-color-scheme: dark" in page


def test_gallery_shows_every_stage_of_the_worst_images_first(tmp_path: Path) -> None:
    page = written(write_run(tmp_path))
    assert re.findall(r"<code>(\w)</code>", page) == ["b", "d", "c"]
    assert page.count("<img") == 3 * 6
    assert "97.5 % right, 40 % labelled" in page
    assert "12.3" in page


def test_numbers_of_the_run_are_on_the_page(tmp_path: Path) -> None:
    page = written(write_run(tmp_path))
    assert f"{50 + NAMES.index('final'):.1f}" in page
    assert "44.4" in page
    assert "masks_export" in page
    assert "all classes" in page


def test_chosen_classes_take_the_headline(tmp_path: Path) -> None:
    page = written(write_run(tmp_path, chosen=True))
    assert "1 chosen classes" in page
    assert "mean of the chosen" in page


def test_what_a_person_has_corrected_is_said(tmp_path: Path) -> None:
    paths = write_run(tmp_path)
    assert "by hand" not in written(paths)
    write_origins(
        tmp_path / "final/origins.csv",
        {name: HUMAN if name in "bc" else AUTOMATIC for name in IDS},
    )
    page = written(paths)
    assert "Corrected by hand: 2." in page
    shown = re.findall(r"<code>(\w)</code>( corrected by hand)?", page)
    assert [name for name, mark in shown if mark] == ["b", "c"]


def test_a_class_that_has_no_box_has_a_colour(tmp_path: Path) -> None:
    paths = write_run(tmp_path, measured=False)
    names = pd.DataFrame({"category": [1, 2], "name": ["cat", "dog"]})
    write_table(tmp_path / "categories.parquet", names, CATEGORIES)
    assert "</i>dog</li>" not in written(paths)
    write_bytes(tmp_path / "final/labels" / "b.png", encode_label_map(np.full(SIZE, 2, np.uint8)))
    assert "</i>dog</li>" in written(paths)


def test_run_without_ground_truth_has_a_page_too(tmp_path: Path) -> None:
    page = written(write_run(tmp_path, measured=False))
    assert "No image has ground truth, so nothing is measured" in page
    assert page.count("<img") == 3 * 5
    text = page[page.index("<body>") :]
    assert "–" not in text, "no dashes where nothing was measured"
    assert "The ladder" not in text
    assert "Class by class" not in text


def test_what_a_run_has_left_unmeasured_has_the_page_of_one_without_truth(tmp_path: Path) -> None:
    paths = write_run(tmp_path, measured=False)
    for folder in ("labels_eval/mine", "instances_eval/mine"):
        for path in (tmp_path / folder).iterdir():
            path.unlink()
    page = written(paths)
    assert "No image has ground truth, so nothing is measured" in page
    assert "–" not in page[page.index("<body>") :]


def test_missing_measurement_is_named(tmp_path: Path) -> None:
    paths = write_run(tmp_path)
    (tmp_path / "labels_eval/mine/seeds.json").unlink()
    with pytest.raises(InputError, match=r"seeds\.json: cannot be read"):
        written(paths)


def test_the_ladder_and_the_gallery_are_what_is_declared(tmp_path: Path) -> None:
    paths = write_run(tmp_path)
    page = written(paths)
    titles = re.findall(r"<td>([^<]+)<small>([^<]*)</small>", page)
    assert titles[:3] == [("Start", "where it begins"), ("Sure seeds", ""), ("The end", "")]
    assert titles[3:] == [("Split masks", "")], "the ladder of instances"
    assert "<h1>From A to B</h1>" in page
    assert re.findall(r"<li(?: class=\"goal\")?>(\w+)</li>", page) == ["A", "then", "B"]
    assert "+1.0 <small>points</small></b><span>against Sure seeds with the same CRF" in page
    assert "Of another line" not in page
    ladder = (tmp_path / "out/ladder.csv").read_text().splitlines()
    assert ladder == ["source,miou", "start,50.0", "seeds,51.0", "seeds_crf,52.0", "final,53.0"]


def test_a_ladder_without_a_crf_has_no_column_for_it(tmp_path: Path) -> None:
    paths = write_run(tmp_path)
    assert "after the CRF</text>" in written(paths)
    graph = paths["graph"].read_text()
    paths["graph"].write_text(graph.replace("row: Sure seeds, column: crf,", "row: Surer seeds,"))
    page = written(paths)
    assert "after the CRF</text>" not in page
    assert "<th>gain</th>" not in page
    assert "Surer seeds" in page


def test_an_own_row_is_one_line_of_dvc_yaml(tmp_path: Path) -> None:
    paths = write_run(tmp_path)
    rows = {"mine": ("My masks", "note: drawn by me")} | ROWS
    paths["graph"].write_text(graph_of(tmp_path, rows))
    measured = tmp_path / "labels_eval/mine"
    for ending in ("json", "parquet"):
        (measured / f"mine.{ending}").write_bytes((measured / f"start.{ending}").read_bytes())
    assert "<td>My masks<small>drawn by me</small></td>" in written(paths)


@pytest.mark.parametrize(
    ("line", "gone", "error"),
    [
        ("mime", "", r"stages\.report\.foreach: no line 'mime'"),
        ("mine", "role: final", r"line 'mine': no final labels are measured; expected one entry"),
    ],
)
def test_a_line_that_is_not_declared_is_named(
    tmp_path: Path, line: str, gone: str, error: str
) -> None:
    paths = write_run(tmp_path)
    graph = paths["graph"].read_text()
    paths["graph"].write_text(graph.replace(gone, "role: none") if gone else graph)
    with pytest.raises(InputError, match=error):
        report(PARAMS, line=line, **paths)


def test_what_a_line_has_learned_from_is_declared(tmp_path: Path) -> None:
    paths = write_run(tmp_path)
    assert re.search(r"the line saw\s+\d+ boxes of 1 classes and turned", written(paths))
    graph = paths["graph"].read_text()
    paths["graph"].write_text(graph.replace("{title: From A to B,", "{title: A, saw: image tags,"))
    assert re.search(r"the line saw\s+image tags and turned", written(paths))


def test_a_line_without_instances_or_corrections_has_a_page(tmp_path: Path) -> None:
    paths = write_run(tmp_path)
    graph = paths["graph"].read_text()
    paths["graph"].write_text(graph.replace("line: mine, instances: x", "x: y"))
    (tmp_path / "final/origins.csv").unlink()
    assert "<h2>Instances</h2>" not in written(paths)


def test_same_inputs_give_the_same_page(tmp_path: Path) -> None:
    paths = write_run(tmp_path)
    assert written(paths) == written(paths)


def test_class_names_are_escaped(tmp_path: Path) -> None:
    paths = write_run(tmp_path)
    names = pd.DataFrame({"category": [1], "name": ["<b>cat"]})
    write_table(tmp_path / "categories.parquet", names, CATEGORIES)
    assert "<b>cat" not in written(paths)


def test_gallery_takes_the_worst_and_some_of_the_others() -> None:
    miou: dict[str, float | None] = {str(value): float(value) for value in range(10)}
    assert gallery_images(miou | {"x": None}, [*miou, "x"], 3, 2) == ["0", "1", "2", "5", "9"]
    assert gallery_images(miou, list(miou), 8, 8) == [str(value) for value in range(10)]
    assert gallery_images({}, list("abcdef"), 1, 2) == ["b", "d", "f"]
    assert gallery_images({}, [], 1, 2) == []


def instances_graph(folder: Path) -> str:
    """A dvc.yaml whose line ends in instances."""
    members = "".join(
        f"      {name}: {{line: mine, instances: {folder / name}.parquet, row: {row}}}\n"
        for name, row in (("weak", "Weak"), ("better", "Better, role: final"), ("far", "Elsewhere"))
    )
    return f"""\
stages:
  instances_eval:
    foreach:
{members}    do:
      cmd: measure
      metrics: ["{folder}/instances_eval/${{key}}.json"]
  report:
    foreach:
      mine: {{title: From A to objects, path: "A, objects"}}
    do:
      cmd: show
      deps: [{folder}/weak.parquet, {folder}/better.parquet, {folder}/instances_eval]
      outs: [x]
"""


def test_a_line_may_end_in_instances(tmp_path: Path) -> None:
    paths = write_run(tmp_path)
    mask = np.zeros(SIZE, dtype=bool)
    mask[4:30, 4:30] = True
    boxes = pd.read_parquet(tmp_path / "instances.parquet")
    masks = boxes.assign(mask=encode_rle(mask))
    for name in ("weak", "better", "ground_truth/instances"):
        write_table(tmp_path / f"{name}.parquet", masks, INSTANCES)
    for index, name in enumerate(("weak", "better", "far")):
        numbers = dict.fromkeys(INSTANCE_MEASURES, 50.5 + index) | {"ap": {}, "images": 4}
        write_json(tmp_path / f"instances_eval/{name}.json", numbers | {"instances": 4})
        rows = [{"image_id": image_id, "objects": 1, "iou": 10.0 * ord(image_id) % 97}
                for image_id in IDS]  # fmt: skip
        table = pd.DataFrame(rows)
        write_table(tmp_path / f"instances_eval/{name}.parquet", table, INSTANCE_SCORES)
    paths["graph"].write_text(instances_graph(tmp_path))
    page = written(paths)
    assert "<h1>From A to objects</h1>" in page
    worst = sorted(IDS, key=lambda image_id: 10.0 * ord(image_id) % 97)
    assert re.findall(r"<code>(\w)</code>", page)[:2] == worst[:2]
    assert page.count("<img") == 3 * 5, "image, boxes, two sources of which it has pictures, truth"
    assert re.findall(r"<td>([^<]+)<small>", page) == ["Weak", "Better", "Elsewhere"]
    ladder = (tmp_path / "out/ladder.csv").read_text().splitlines()
    assert ladder == ["source,any_map", "weak,50.5", "better,51.5", "far,52.5"]
    for path in (tmp_path / "instances_eval").glob("*.*"):
        path.unlink()
    page = written(paths)
    assert "nothing is measured" in page
    assert page.count("<img") == 3 * 4
