"""The stages after the seeds, on discs known by a mask, a scribble, a point or a tag."""

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages import (
    a2gnn_label,
    crf_refine,
    grabcut_seeds,
    instances_split,
    labels_eval,
    labels_final,
    maps_average,
    seeds_fuse,
    walk_label,
)
from stages.engine import parallel
from stages.engine.command import parse_section, read_params_file
from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.engine.memo import Memo
from stages.io.corrections import read_human
from stages.io.data_set import Dataset, Kind
from stages.io.graphs import Graph, encode_graph
from stages.io.label_maps import encode_label_map, read_label_map
from stages.io.salient_maps import encode_grey
from stages.io.score_maps import ScoreMap, encode_score_map, read_score_map
from stages.io.tables import INSTANCES, KINDS, POINTS, read_rows, write_table
from tests.stages.drawn_discs import DISCS, SIZE, draw, overlap, write_discs

NAMES = ("one", "two", "empty")
STRIDE, GRID = 4, (10, 12)
EVERY: tuple[Kind, ...] = ("mask", "box", "scribble", "point", "tag")


def params_of(module: Any, **change: Any) -> Any:
    name = module.__name__.removeprefix("stages.")
    section = read_params_file(Path("params.yaml"))[name]
    return parse_section(module.Params, section | change, f"params.yaml: {name}")


class Line:
    """The discs with their boxes, activations that fall off from their middle, and graphs."""

    def __init__(self, root: Path) -> None:
        self.root, self.data = root, write_discs(root)
        rows, columns = np.mgrid[2:40:4, 2:48:4] - 0.5
        for name in NAMES:
            discs = DISCS[name]
            near = [
                np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (0.5 * radius**2))
                for _, row, column, radius in discs
            ]
            scores = np.array(near, np.float16).reshape(len(discs), *GRID)
            classes = np.array([disc[0] for disc in discs], np.int64)
            self.write(f"cams/{name}.npz", encode_score_map(ScoreMap(scores, classes, SIZE, 4)))
            self.write(f"graphs/{name}.npz", encode_graph(_graph(name)))

    def write(self, name: str, content: bytes) -> None:
        write_bytes(self.root / name, content)

    def known_by(self, **kinds: Kind) -> Dataset:
        """The data where each image carries one kind of label, besides its tags."""
        rows = {(name, kind) for name, kind in kinds.items()}
        rows |= {(name, "tag") for name in kinds}
        table = pd.DataFrame(sorted(rows), columns=KINDS.names)
        write_table(self.data.table("kinds"), table, KINDS)
        points = [
            {"image_id": name, "category": category, "x": column, "y": row}
            for name, kind in kinds.items()
            if kind == "point"
            for category, row, column, _ in DISCS[name]
        ]
        points_table = pd.DataFrame(points, columns=POINTS.names)
        write_table(self.data.table("points"), points_table, POINTS)
        for name, kind in kinds.items():
            if kind == "mask":
                self.write(f"masks/{name}.png", encode_label_map(draw(name)[1]))
            if kind == "scribble":
                self.write(f"scribbles/{name}.png", encode_label_map(strokes(name)))
        return dataclasses.replace(self.data, kinds=EVERY)

    def labels(self, place: str, name: str) -> np.ndarray:
        return read_label_map(self.root / place / f"{name}.png", SIZE)

    def seeds(self, data: Dataset, **change: Any) -> None:
        """Seeds below fuse/, with GrabCut's labels where there are boxes."""
        cuts = params_of(grabcut_seeds)
        grabcut_seeds.grabcut_seeds(cuts, data, self.root / "cut")
        numbers = params_of(seeds_fuse, superpixel=30, labels=data.kinds, **change)
        cams, fuse = self.root / "cams", self.root / "fuse"
        seeds_fuse.seeds_fuse(numbers, data, cams, self.root / "cut/labels", fuse)

    def final(self, data: Dataset) -> None:
        """All stages from the graphs to the final labels and instances."""
        root = self.root
        graphs, cams = root / "graphs", root / "cams"
        small = {"hidden": 32, "first_epochs": 12, "second_epochs": 12}
        a2gnn = params_of(a2gnn_label, **small)
        a2gnn_label.a2gnn_label(a2gnn, data, graphs, root / "fuse/confident", root / "a2gnn")
        walk = params_of(
            walk_label, tag_steps=64, tag_power=6.0
        )  # these activations fill their discs
        walk_label.walk_label(walk, data, graphs, root / "fuse/fused", cams, root / "walk")
        for name in NAMES:  # what a network over boxes says of images without any
            calm = ScoreMap(np.ones((1, *GRID), np.float16), np.array([0]), SIZE, 4)
            self.write(f"second/{name}.npz", encode_score_map(calm))
        maps_average.maps_average(
            params_of(maps_average, weight=1.0),
            data,
            root / "a2gnn/maps",
            root / "second",
            root / "walk/maps",
            root / "fuse/trust.parquet",
            root / "average",
        )
        crf = params_of(crf_refine, iterations=2)
        crf_refine.crf_refine(crf, data, "train", root / "average/maps", root / "crf")
        (root / "corrections").mkdir()
        labels_final.labels_final(
            params_of(labels_final), data, root / "crf", root / "corrections", root / "final"
        )
        instances_split.instances_split(
            params_of(instances_split),
            data,
            root / "final/labels",
            root / "final/origins.csv",
            root / "average/maps",
            root / "split",
        )


def strokes(name: str) -> np.ndarray:
    """A stroke along the middle of every disc and one of background below the upper rim."""
    marks = np.full(SIZE, 255, np.uint8)
    marks[2, 3:45] = 0
    for category, row, column, radius in DISCS[name]:
        marks[row, column - radius // 2 : column + radius // 2] = category
    return marks


def _graph(name: str) -> Graph:
    cells = draw(name)[0].reshape(GRID[0], STRIDE, GRID[1], STRIDE, 3).mean((1, 3)) / 255
    offsets = np.array([(a, b) for a in range(-2, 3) for b in range(-2, 3)])
    edges = np.zeros((GRID[0] * GRID[1], len(offsets)), np.float16)
    for node, (y, x) in enumerate(np.ndindex(GRID)):
        for slot, (dy, dx) in enumerate(offsets):
            if 0 <= y + dy < GRID[0] and 0 <= x + dx < GRID[1]:
                difference = np.abs(cells[y, x] - cells[y + dy, x + dx]).mean()
                edges[node, slot] = np.exp(-10 * difference)
    colours = cells.reshape(-1, 3)
    features = (colours / colours.sum(1, keepdims=True)).astype(np.float16)
    return Graph(features, edges, offsets, GRID, SIZE, STRIDE)


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setenv("SEEDMASK_WORKERS", "1")
    monkeypatch.setattr(parallel, "Memo", partial(Memo, folder=tmp_path / "memo"))
    return Line(tmp_path)


# --- seeds -----------------------------------------------------------------------------------


def test_a_mask_is_all_seeds(line: Line) -> None:
    line.seeds(line.known_by(one="mask", two="mask"))
    for folder in ("fused", "confident", "pairs"):
        for name in ("one", "two"):
            np.testing.assert_array_equal(line.labels(f"fuse/{folder}", name), draw(name)[1])


def test_strokes_and_points_take_their_superpixels(line: Line) -> None:
    line.seeds(line.known_by(one="point", two="scribble"))
    confident = line.labels("fuse/confident", "two")
    marks, true = strokes("two"), draw("two")[1]
    assert (confident == marks)[marks != 255].all()
    assert 2 * (marks != 255).sum() < (confident != 255).sum() < 0.6 * confident.size
    assert (confident == true)[confident != 255].mean() > 0.9
    # between them is what is activated, for the network of pairs alone
    pairs = line.labels("fuse/pairs", "two")
    np.testing.assert_array_equal(pairs, line.labels("fuse/fused", "two"))
    assert (pairs != 255).sum() > (confident != 255).sum()
    assert (pairs == confident)[confident != 255].all()

    point = line.labels("fuse/confident", "one")
    assert point[20, 24] == 1
    assert (point == 1).sum() > (line.labels("fuse/pairs", "one") == 1).sum()
    assert (point == 0).any()  # of the activations: no point names it


def test_tags_give_what_is_activated_and_saliency_the_background(line: Line) -> None:
    data = line.known_by(one="tag", two="tag")
    line.seeds(data)
    plain, true = line.labels("fuse/confident", "two"), draw("two")[1]
    np.testing.assert_array_equal(plain, line.labels("fuse/fused", "two"))
    assert {0, 1, 2, 255} == set(np.unique(plain))
    assert (plain == true)[(plain != 255) & (plain != 0)].all()
    line.write("saliency/two.png", encode_grey(np.where(true > 0, 230, 20).astype(np.uint8)))
    line.seeds(data, saliency=0.5)
    found = line.labels("fuse/confident", "two")
    assert ((found == 0) == (true == 0)).all()
    assert (found == plain)[true > 0].all()
    np.testing.assert_array_equal(line.labels("fuse/fused", "one").shape, SIZE)


def test_boxes_of_an_image_that_is_known_otherwise_are_not_looked_at(line: Line) -> None:
    data = dataclasses.replace(line.known_by(one="box", two="box"), kinds=("tag",))
    line.seeds(data)
    assert not line.labels("cut/labels", "two").any()
    assert read_rows(line.root / "cut/instances.parquet", INSTANCES) == []
    metrics = json.loads((line.root / "fuse/metrics.json").read_text())
    assert metrics["images_by_kind"] == {"tag": 2, "box": 1}  # the empty one shows nothing
    assert (metrics["boxes"], metrics["maps"]) == (0, 0)
    assert not line.labels("fuse/confident", "empty").any()


def test_data_without_the_labels_asked_for_stops_with_one_line(line: Line) -> None:
    data = dataclasses.replace(line.known_by(one="box", two="point"), kinds=("mask", "point"))
    message = (
        r"kinds\.parquet: image one carries box, tag; expected mask or point, the kinds to use"
    )
    with pytest.raises(InputError, match=message) as caught:
        line.seeds(data)
    assert "\n" not in str(caught.value)


# --- the stages after them -------------------------------------------------------------------


def test_a_mask_stays_byte_for_byte_to_the_end(line: Line) -> None:
    data = line.known_by(one="mask", two="tag")
    mask = draw("one")[1]
    mask[0, :9], mask[39] = 2, 255  # far from any box, and unknown
    line.write("masks/one.png", encode_label_map(mask))
    line.seeds(data)
    line.final(data)
    expected = encode_label_map(mask)
    for place in ("a2gnn/labels", "walk/labels", "average/labels", "crf", "final/labels"):
        assert (line.root / place / "one.png").read_bytes() == expected, place
    assert read_human(line.root / "final/origins.csv") == {"one"}
    rows = read_rows(line.root / "split/instances.parquet", INSTANCES)
    assert [row["image_id"] for row in rows] == ["one"]  # its box; that of two is not known


def test_discs_are_found_from_every_kind(line: Line) -> None:
    for kind, least in (("scribble", 0.8), ("point", 0.6), ("tag", 0.5)):
        data = line.known_by(one=kind, two=kind)  # type: ignore[arg-type]
        line.seeds(data)
        (line.root / "corrections").exists() and (line.root / "corrections").rmdir()
        line.final(data)
        for name in ("one", "two"):
            true, found = draw(name)[1], line.labels("final/labels", name)
            for category, *_ in DISCS[name]:
                assert overlap(found == category, true == category) > least, (kind, name)
        assert not line.labels("final/labels", "empty").any()


def test_the_walk_has_its_share_of_tagged_images_alone(line: Line) -> None:
    data = line.known_by(one="tag", two="point")
    line.seeds(data)
    line.final(data)
    for name, share in (("one", 0.75), ("two", 0.0)):
        first, walked, mean = (
            read_score_map(line.root / place / f"{name}.npz", SIZE)
            for place in ("a2gnn/maps", "walk/maps", "average/maps")
        )
        assert first.classes.tolist() == walked.classes.tolist() == mean.classes.tolist()
        cells = mean.scores[:, 2::4, 2::4].astype(np.float32)  # near the middle of each cell
        expected = share * walked.scores + (1 - share) * first.scores
        assert np.abs(cells - expected).mean() < 0.02


def test_the_ladder_tells_the_kinds_apart(line: Line) -> None:
    data = line.known_by(one="tag", two="point")
    for name in NAMES:
        true = draw(name)[1]
        line.write(f"truth/{name}.png", encode_label_map(true))
        line.write(f"mine/{name}.png", encode_label_map(true if name == "one" else 0 * true))

    def measure(data: Dataset) -> dict[str, Any]:
        folders = (line.root / "truth", line.root / "mine", line.root / "eval")
        labels_eval.labels_eval(params_of(labels_eval), data, "train", *folders, "mine")
        found: dict[str, Any] = json.loads((line.root / "eval/mine.json").read_text())
        return found

    found = measure(data)
    assert found["miou_tag"] == 100
    assert found["miou_point"] < 40
    assert found["miou_box"] == 100  # the empty one
    assert not [key for key in measure(line.data) if key.startswith("miou_")]
