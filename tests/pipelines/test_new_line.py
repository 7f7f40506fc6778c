"""A line that is added to a copy of this repository: a source, two stages, a model; no shared file.

Beside its own files it adds its sections to dvc.yaml and params.yaml, and nothing else is changed.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from pipelines.browse.app import create_app
from pipelines.graph.objects import Objects
from pipelines.graph.plan import make_plan
from pipelines.graph.presets import use_preset
from pipelines.graph.revisions import read_revision
from pipelines.look.measures import read_ladders
from pipelines.run import artifacts
from stages.engine.files import write_bytes
from stages.io.label_maps import encode_label_map
from tests.pipelines.mini_repository import HERE

MODEL = '''
import numpy as np


def shrunk(labels, margin):
    """The labels without a margin of unknown pixels around each change, uint8 [H, W]."""
    changed = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        for step in range(-margin, margin + 1):
            changed |= np.roll(labels, step, axis) != labels
    return np.where(changed, 255, labels).astype(np.uint8)
'''

SEEDS = '''
"""Filled boxes, and what is surely inside or outside them."""

from pathlib import Path

from pydantic.dataclasses import dataclass

from models.ops.boxes import filled_boxes
from models.toy import shrunk
from stages.engine.command import run
from stages.engine.files import write_bytes
from stages.io.data_set import boxes_by_image, images_of_split
from stages.io.label_maps import encode_label_map


@dataclass(frozen=True)
class Params:
    margin: int


def toy_seeds(params: Params, images: Path, instances: Path, out: Path) -> None:
    boxes = boxes_by_image(instances)
    for image in images_of_split(images, Path(), "train"):
        own = boxes.get(image.image_id, ())
        filled = filled_boxes([b.corners for b in own], [b.category for b in own], image.size)
        name = f"{image.image_id}.png"
        write_bytes(out / "filled" / name, encode_label_map(filled))
        write_bytes(out / "seeds" / name, encode_label_map(shrunk(filled, params.margin)))


if __name__ == "__main__":
    run(toy_seeds)
'''

LABEL = '''
"""The seeds with background in the place of the unknown, and how sure that is."""

from pathlib import Path

import numpy as np
from pydantic.dataclasses import dataclass

from stages.engine.command import run
from stages.engine.files import write_bytes
from stages.io.data_set import images_of_split
from stages.io.label_maps import UNKNOWN, encode_label_map, read_label_map
from stages.io.score_maps import ScoreMap, encode_score_map


@dataclass(frozen=True)
class Params:
    pass


def toy_label(params: Params, images: Path, seeds: Path, out: Path) -> None:
    for image in images_of_split(images, Path(), "train"):
        labels = read_label_map(seeds / f"{image.image_id}.png")
        labels = np.where(labels == UNKNOWN, 0, labels).astype(np.uint8)
        write_bytes(out / "labels" / f"{image.image_id}.png", encode_label_map(labels))
        classes = np.unique(labels)
        scores = np.stack([labels == label for label in classes]).astype(np.float16)
        found = ScoreMap(scores, classes.astype(np.int64), image.size, 1)
        write_bytes(out / "maps" / f"{image.image_id}.npz", encode_score_map(found))


if __name__ == "__main__":
    run(toy_label)
'''

STAGES = """
  toy_seeds:
    desc: boxes, and what is surely in them
    cmd: >-
      ./python -m stages.toy_seeds --images data/dataset/images.parquet
      --instances data/dataset/instances.parquet --out data/toy_seeds
    deps: [data/dataset/images.parquet, data/dataset/instances.parquet]
    params: [toy_seeds, data/code/closures.json: [toy_seeds]]
    outs:
      - data/toy_seeds/filled: {type: label_maps, labels: [opinion], meta: {line: toy}}
      - data/toy_seeds/seeds: {type: label_maps}

  toy_label:
    desc: the rest is background
    cmd: >-
      ./python -m stages.toy_label --images data/dataset/images.parquet
      --seeds data/toy_seeds/seeds --out data/toy_label
    deps: [data/dataset/images.parquet, data/toy_seeds/seeds]
    params: [toy_label, data/code/closures.json: [toy_label]]
    outs:
      - data/toy_label/labels: {type: label_maps, labels: [opinion], meta: {line: toy}}
      - data/toy_label/maps: {type: score_maps, labels: [opinion], meta: {line: toy}}
"""

#: Its entries in the sections of shared stages.
ENTRIES = {
    "labels_final": "toy: {labels: data/toy_label/labels}",
    "instances_split": "toy: {probabilities: data/toy_label/maps}",
    "instances_eval": """\
toy:
        line: toy
        split: train
        objects: all
        instances: data/instances_split/toy/instances.parquet""",
    "labels_eval": """\
toy_boxes: {line: toy, split: train, labels: data/toy_seeds/filled, row: Toy boxes}
      toy_seeds:
        {line: toy, split: train, labels: data/toy_seeds/seeds, row: Toy seeds, role: seeds}
      mine: {line: toy, split: train, labels: data/raw/my_masks, row: My masks, note: drawn by me}
      toy:
        {line: toy, split: train, labels: data/labels_final/toy/labels, row: Toy, role: final}""",
    "report": """\
toy:
        title: From boxes to toys
        path: boxes, seeds, toys
        seeds: data/toy_seeds/filled
        baseline: data/toy_seeds/seeds
        labels: data/toy_label/labels
        final: data/labels_final/toy
        ladder: data/labels_eval/toy/train
        instances: data/instances_eval/toy/train""",
}
SHARED = {
    "code",
    "scenes",
    "dataset",
    "labels_final@toy",
    "instances_split@toy",
    "instances_eval@toy",
    "labels_eval@toy_boxes",
    "labels_eval@toy_seeds",
    "labels_eval@mine",
    "labels_eval@toy",
    "report@toy",
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("line")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("models", "stages", "presets", ".dvc/config", ".dvcignore", "python",
                 "requirements.lock", "dvc.yaml"):  # fmt: skip
        (root / name).parent.mkdir(exist_ok=True)
        if (HERE / name).is_dir():
            shutil.copytree(HERE / name, root / name, ignore=ignored)
        else:
            shutil.copy(HERE / name, root / name)
    (root / "graph.yaml").symlink_to("dvc.yaml")
    (root / "pipelines").symlink_to(HERE / "pipelines")
    (root / ".venv").symlink_to(sys.prefix)
    (root / ".gitignore").write_text("/data\n/.seedmask\n/.venv\n")
    (root / "data/corrections").mkdir(parents=True)
    use_preset(root, "tiny")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    add_line(root)
    run = subprocess.run(
        [sys.executable, "-m", "pipelines", "run", "report@toy", "--local"],
        cwd=root,
        env={**os.environ, "SEEDMASK_WORKERS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (root / "run.txt").write_text(run.stdout)
    return root


def add_line(root: Path) -> None:
    (root / "models/toy.py").write_text(MODEL)
    (root / "stages/toy_seeds.py").write_text(SEEDS)
    (root / "stages/toy_label.py").write_text(LABEL)
    with (root / "params.yaml").open("a") as params:
        params.write("\ntoy_seeds:\n  margin: 2\n\ntoy_label: {}\n")
    shutil.copy(root / "params.yaml", root / "presets/default.yaml")
    graph = (root / "dvc.yaml").read_text()
    for stage, entry in ENTRIES.items():
        start = graph.index(f"\n  {stage}:\n")
        place = graph.index("\n", graph.index("    foreach:", start)) + 1
        graph = f"{graph[:place]}      {entry}\n{graph[place:]}"
    place = graph.index("\n  labels_final:\n")
    (root / "dvc.yaml").write_text(graph[:place] + STAGES + graph[place:])
    for number in range(6):  # the training images of preset tiny
        mask = encode_label_map(np.zeros((128, 160), np.uint8))
        write_bytes(root / f"data/raw/my_masks/train_{number:04}.png", mask)


def test_the_line_is_built_and_nothing_else(repository: Path) -> None:
    made = read_revision(repository).stages
    assert set(made) == SHARED | {"toy_seeds", "toy_label"}


def test_another_word_for_a_row_reruns_the_report_alone(repository: Path) -> None:
    graph = repository / "dvc.yaml"
    before = graph.read_text()
    assert make_plan(repository, ["report@toy"]).pending == []
    try:
        graph.write_text(before.replace("row: My masks", "row: Those I drew"))
        pending = make_plan(repository, ["report@toy"]).pending
        assert [step.name for step in pending] == ["report@toy"]
        graph.write_text(f"# a comment\n{before}")
        assert make_plan(repository, ["report@toy"]).pending == []
    finally:
        graph.write_text(before)


def test_it_stands_on_its_ladder_with_own_masks_in_a_row(repository: Path) -> None:
    ladders = read_ladders(Objects(repository), read_revision(repository))
    assert list(ladders) == ["toy", "toy, instances"]
    ((name, measured),) = ladders["toy, instances"]
    assert (name, measured["predicted"] > 0, measured["any_map"] is None) == ("toy", True, False)
    rows = dict(ladders["toy"])
    assert set(rows) == {"toy_boxes", "toy_seeds", "mine", "toy"}
    assert all(numbers["miou"] is not None for numbers in rows.values())
    said = (repository / "run.txt").read_text()
    assert "The ladder of toy" in said
    assert "data/report/toy/report.html" in said


def test_it_has_its_report(repository: Path) -> None:
    page = (repository / "data/report/toy/report.html").read_text()
    for words in ("<h1>From boxes to toys</h1>", "<td>Toy boxes", "<td>Toy seeds", "drawn by me"):
        assert words in page
    assert "A2GNN" not in page[: page.index("The numbers that made it")]


def test_it_stands_on_the_graph_and_its_labels_are_reviewed(repository: Path) -> None:
    with TestClient(create_app(repository), base_url="http://127.0.0.1:8800") as client:
        graph = client.get("/").text
        assert "toy_seeds" in graph
        assert "the rest is background" in graph
        stage = client.get("/stage?name=toy_seeds").text
        assert "toy_seeds/filled" in stage
        assert stage.count("data:image/png;base64") >= 6
        assert "labels_final/toy/labels" in client.get("/review").text
        doubts = client.get("/review/doubts").text
        assert doubts.count('"disagreement"') == 6
        assert "error" not in doubts


def test_it_leaves_prefect_its_ladder_and_its_pictures(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[str] = []
    monkeypatch.setattr(artifacts, "create_table_artifact", lambda _, key, **__: left.append(key))
    monkeypatch.setattr(artifacts, "create_markdown_artifact", lambda _, key: left.append(key))
    artifacts.publish(repository, make_plan(repository, ["report@toy"]))
    sources = {"labels-toy-boxes", "labels-toy-seeds", "labels-mine", "labels-toy"}
    assert set(left) == {"ladder-toy", "ladder-toy-instances"} | sources
