"""Two revisions of labels of a few small images, with names that try to break out of the page."""

from pathlib import Path

import numpy as np

from stages.io.graphs import Graph, encode_graph
from stages.io.label_maps import LabelMap, encode_label_map
from stages.io.photographs import RGB
from stages.io.score_maps import ScoreMap, encode_score_map
from tests.pipelines.made_repository import Made, MadeRepository, dataset_stage

SIZE = (24, 32)
IMAGES = [f"photo_{number:02d}" for number in range(70)]
HOSTILE = "<script>document.title='broken'</script> \"ü\".txt"
NAMES = ["<b>cat</b>", "dog & 'friend'"]


def labels_of(number: int, revision: int) -> LabelMap:
    """A label map with unknown pixels; every second image changes from 0 to 1."""
    random = np.random.default_rng([number, revision if number % 2 else 0])
    labels = np.zeros(SIZE, dtype=np.uint8)
    x, y = random.integers(2, 12, 2)
    labels[y : y + 9, x : x + 11] = random.integers(1, 3)
    labels[:2] = 255
    return labels


def photograph_of(number: int) -> RGB:
    """Noise."""
    return np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def make_album(root: Path) -> tuple[MadeRepository, list[str]]:
    """The repository and its two commits; the workspace is as the second."""
    repository = MadeRepository(root)
    boxes = {image_id: [(1, 3.0, 4.0, 14.0, 15.0)] for image_id in IMAGES}
    photographs = {image_id: photograph_of(number) for number, image_id in enumerate(IMAGES)}
    scenes, dataset = dataset_stage(photographs, NAMES, boxes)
    truth = {
        f"{image_id}.png": encode_label_map(np.where(labels == 255, 0, labels).astype(np.uint8))
        for number, image_id in enumerate(IMAGES)
        for labels in [labels_of(number, 0)]
    }
    outs = {
        **dataset.outs,
        "data/dataset/ground_truth": {f"semantic/{k}": v for k, v in truth.items()},
    }
    commits = []
    for revision in range(2):
        labels = {
            f"{image_id}.png": encode_label_map(labels_of(number, revision))
            for number, image_id in enumerate(IMAGES)
        }
        stages = {
            "scenes": scenes,
            "dataset": Made(outs, dataset.deps, dataset.params),
            "classifier_infer": Made(
                {"data/classifier_infer/maps": {f"{IMAGES[0]}.npz": scores()}},
                ["data/dataset/images.parquet"],
            ),
            "graph_build": Made(
                {"data/graph_build/graphs": {f"{IMAGES[0]}.npz": graph()}},
                ["data/classifier_infer/maps"],
            ),
            "crf_refine@a2gnn": Made(
                {"data/crf_refine/a2gnn": labels},
                ["data/graph_build/graphs"],
                {"crf_refine.iterations": 10 - revision, "crf_refine.xy": 0.5},
                labels=["final"],
            ),
            "labels_eval@a2gnn_crf": Made(
                {
                    "data/labels_eval/a2gnn_crf.json": b'{"miou": %d.5, "images": 70}'
                    % (80 - revision)
                },
                ["data/crf_refine/a2gnn"],
                meta={"line": "masks", "labels": "data/crf_refine/a2gnn"},
            ),
            "train": Made(
                {
                    "data/train/curve.csv": b"epoch,loss\n1,2.5\n2,1.5\n3,0.5\n",
                    "data/train/odd": {HOSTILE: b"odd", "plain.txt": b"plain"},
                },
                ["data/crf_refine/a2gnn"],
                command="echo '<script>'",
            ),
        }
        commits.append(repository.commit(stages, f"labels <{revision}>"))
    return repository, commits


def scores() -> bytes:
    """A score map of the two classes."""
    values = np.linspace(0, 1, 2 * 3 * 4, dtype=np.float16).reshape(2, 3, 4)
    return encode_score_map(ScoreMap(values, np.array([0, 1]), SIZE, 8))


def graph() -> bytes:
    """Each cell is bound to the one on its right by 0.5."""
    offsets = np.array([(0, 0), (0, 1)])
    edges = np.zeros((12, 2), dtype=np.float16)
    edges[:, 0] = 1
    edges[np.arange(12) % 4 != 3, 1] = 0.5
    return encode_graph(Graph(np.ones((12, 1), np.float16), edges, offsets, (3, 4), SIZE, 8))
