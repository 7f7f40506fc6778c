"""A small repository that DVC has really run, at two commits and in an experiment.

Its stages copy files of source/, so that a run takes a second and the tests know what is in them.
"""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from stages.io.graphs import Graph, encode_graph
from stages.io.label_maps import encode_label_map, encode_rle
from stages.io.score_maps import ScoreMap, encode_score_map
from stages.io.tables import CATEGORIES, IMAGES, INSTANCES, write_table
from tests.pipelines.made_repository import MadeRepository, commit_all, dvc

SIZE = (10, 12)
STRIDE = 4
GRID = (3, 3)
#: File of each image; what a file may be called is the user's affair.
PHOTOGRAPHS = {
    "a": "<script>alert(1).png",
    "b.1": 'it\'s "quoted" & spaced.png',
    "c": "Straße/überall 写真.png",
}
#: A file that is no image's, among the labels.
ODD = '<b>it\'s "odd" ü.png'
STEPS = (1, 2, 3)  # walk_label.steps at the first commit, the second, in the experiment

DVC_YAML = """\
stages:
  scenes:
    cmd: mkdir -p data/scenes && cp -r source/photographs/. data/scenes
    deps: [source/photographs]
    outs: [data/scenes]
  dataset:
    desc: read the images
    cmd: mkdir -p data/dataset && cp -r source/dataset/. data/dataset
    deps: [source/dataset, data/scenes]
    params: [dataset]
    outs:
      - data/dataset/images.parquet
      - data/dataset/instances.parquet: {type: instances}
      - data/dataset/categories.parquet
      - data/dataset/ground_truth: {labels: [truth], meta: {folders: {semantic: label_maps}}}
  walk_label:
    desc: walk a while
    cmd: mkdir -p data/walk_label && cp -r source/walk-${walk_label.steps}/. data/walk_label
    deps: [data/dataset/images.parquet, source/walk.py]
    params: [walk_label]
    outs:
      - data/walk_label/labels: {type: label_maps}
      - data/walk_label/maps: {type: score_maps}
      - data/walk_label/graphs: {type: graphs}
    metrics: [data/walk_label/metrics.json: {cache: false}]
  crf_refine:
    foreach: [walk]
    do:
      desc: refine
      cmd: mkdir -p data/crf_refine && cp -r data/walk_label/labels data/crf_refine/${item}
      deps: [data/walk_label/labels]
      outs: ["data/crf_refine/${item}": {type: label_maps, labels: [final]}]
  instances_split:
    cmd: mkdir -p data/instances_split && cp source/dataset/instances.parquet data/instances_split/
    deps: [source/dataset/instances.parquet]
    outs: [data/instances_split/instances.parquet: {type: instances}]
  labels_eval:
    foreach:
      walk: {line: masks, labels: data/walk_label/labels, file: 1}
      crf: {line: masks, labels: data/crf_refine/walk, file: 2}
    do:
      cmd: >-
        mkdir -p data/labels_eval &&
        cp source/miou-${walk_label.steps}-${item.file}.json data/labels_eval/${key}.json
      deps: [data/crf_refine/walk]
      metrics: ["data/labels_eval/${key}.json": {cache: false}]
  deeplab_eval:
    foreach:
      walk: {line: masks, labels: none, source: deeplab on walk}
    do:
      cmd: mkdir -p data/deeplab_eval && cp source/deeplab.json data/deeplab_eval/${key}.json
      deps: [source/deeplab.json]
      metrics: ["data/deeplab_eval/${key}.json": {cache: false}]
"""


@dataclass(frozen=True)
class Gallery:
    """The repository.

    Attributes:
        root: its folder.
        first: hash of the first commit, also the tag "first".
        second: of the second, the tag "second"; the workspace is the same. The experiment is
            called "three".
    """

    root: Path
    first: str
    second: str


def label_map(image_id: str, steps: int) -> npt.NDArray[np.uint8]:
    """What walk_label gives; that of "a" is the same at the first two commits."""
    seed = [ord(letter) for letter in image_id] + [0 if image_id == "a" and steps < 3 else steps]
    labels = np.random.default_rng(seed).integers(0, 3, SIZE).astype(np.uint8)
    labels[0, :4] = 255
    return labels


def truth(image_id: str) -> npt.NDArray[np.uint8]:
    """Ground truth, of "a" and "b.1" only."""
    labels = label_map(image_id, 9)
    labels[1] = label_map(image_id, 2)[1]
    return labels


def photograph(image_id: str) -> npt.NDArray[np.uint8]:
    """The image's pixels."""
    seed = [ord(letter) for letter in image_id]
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3)).astype(np.uint8)


def score_map() -> ScoreMap:
    """Of every image: background, class 1 rising, class 2 one half."""
    rising = np.arange(9, dtype=np.float16).reshape(GRID) / 8
    scores = np.stack([np.ones(GRID), rising, np.full(GRID, 0.5)]).astype(np.float16)
    return ScoreMap(scores, np.array([0, 1, 2]), SIZE, STRIDE)


def graph() -> Graph:
    """Of every image: each cell with itself and its left and right neighbours."""
    offsets = np.array([[0, -1], [0, 0], [0, 1]])
    edges = np.arange(27, dtype=np.float16).reshape(9, 3) / 32
    edges[[0, 3, 6], 0] = edges[[2, 5, 8], 2] = 0
    return Graph(np.zeros((9, 1), np.float16), edges, offsets, GRID, SIZE, STRIDE)


def make_gallery(root: Path) -> Gallery:
    """Write the sources, run DVC, commit."""
    source = root / "source"
    _write_dataset(source)
    for steps in STEPS:
        _write_walk(source / f"walk-{steps}", steps)
        for item in (1, 2):
            _write_json(source / f"miou-{steps}-{item}.json", {"miou": 40.0 + 10 * steps + item})
    _write_json(source / "deeplab.json", {"miou": 61.25, "miou_crf": 62.5})
    repository = MadeRepository(root)
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / ".gitignore").write_text("/.seedmask/\n")
    first = _run_and_commit(repository, "first", 1)
    _set_steps(root, 3)
    dvc(root, "exp", "run", "-n", "three")
    second = _run_and_commit(repository, "second", 2)
    return Gallery(root, first, second)


def _run_and_commit(repository: MadeRepository, name: str, steps: int) -> str:
    _set_steps(repository.root, steps)
    (repository.root / "source/walk.py").write_text(f"# the code of {name}\n")
    dvc(repository.root, "repro", "-q")
    commit = commit_all(repository.root, f"the {name} one")
    repository.git("tag", name)
    return commit


def _set_steps(root: Path, steps: int) -> None:
    text = f"dataset: {{root: data/scenes, seed: 0}}\nwalk_label: {{steps: {steps}, rate: 0.5}}\n"
    (root / "params.yaml").write_text(text)


def _write_dataset(source: Path) -> None:
    rows = []
    for image_id, file in PHOTOGRAPHS.items():
        buffer = io.BytesIO()
        Image.fromarray(photograph(image_id)).save(buffer, format="PNG")
        path = source / "photographs" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())
        md5 = hashlib.md5(buffer.getvalue()).hexdigest()
        rows.append((image_id, "train", file, SIZE[1], SIZE[0], md5))
    folder = source / "dataset"
    write_table(folder / "images.parquet", pd.DataFrame(rows, columns=IMAGES.names), IMAGES)
    categories = pd.DataFrame([(1, "cat"), (2, "<b>dog</b>")], columns=CATEGORIES.names)
    write_table(folder / "categories.parquet", categories, CATEGORIES)
    mask = np.zeros(SIZE, dtype=bool)
    mask[2:5, 3:7] = True
    boxes = [
        ("a", 1, 1, 2.0, 1.0, 9.0, 8.0, 56.0, False, encode_rle(mask), 0.5, None),
        ("a", 2, 2, 0.0, 0.0, 12.0, 10.0, 120.0, False, None, None, None),
    ]
    instances = pd.DataFrame(boxes, columns=INSTANCES.names)
    write_table(folder / "instances.parquet", instances, INSTANCES)
    for image_id in ("a", "b.1"):
        _write(folder / f"ground_truth/semantic/{image_id}.png", encode_label_map(truth(image_id)))


def _write_walk(folder: Path, steps: int) -> None:
    for image_id in PHOTOGRAPHS:
        if (image_id, steps) != ("c", 1):  # added at the second commit
            _write(folder / f"labels/{image_id}.png", encode_label_map(label_map(image_id, steps)))
        _write(folder / f"maps/{image_id}.npz", encode_score_map(score_map()))
        _write(folder / f"graphs/{image_id}.npz", encode_graph(graph()))
    _write(folder / "labels" / ODD, f"{steps}".encode())
    _write_json(folder / "metrics.json", {"steps": steps})


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _write_json(path: Path, content: dict[str, float]) -> None:
    _write(path, json.dumps(content).encode())
