import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.a2gnn.seeds import box_seeds
from models.ops.boxes import filled_boxes
from models.ops.grabcut import label_cuts
from stages import grabcut_seeds
from stages.engine import parallel
from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.engine.memo import Memo
from stages.io.label_maps import encode_label_map, read_label_map
from stages.io.score_maps import ScoreMap, encode_score_map
from stages.seeds_fuse import Params, seeds_fuse
from tests.stages.drawn_discs import DISCS, SIZE, add_crowd, draw, write_discs


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """GrabCut seeds without error; activations that fall off from each disc's centre."""
    monkeypatch.setenv("SEEDMASK_WORKERS", "1")
    monkeypatch.setattr(parallel, "Memo", partial(Memo, folder=tmp_path / "memo"))
    written = write_discs(tmp_path)
    boxes = written.boxes()
    rows, columns = np.mgrid[2:40:4, 2:48:4] - 0.5
    for name, discs in DISCS.items():
        true = draw(name)[1]
        corners = [box.corners for box in boxes.get(name, ())]
        cuts = [true == disc[0] for disc in discs]
        labels = label_cuts(cuts, corners, [disc[0] for disc in discs], SIZE)
        write_bytes(tmp_path / "cuts" / f"{name}.png", encode_label_map(labels))
        cams = [
            np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * (0.6 * radius) ** 2))
            for _, row, column, radius in discs
        ]
        scores = np.array(cams, np.float16).reshape(len(discs), *rows.shape)
        classes = np.array([disc[0] for disc in discs], np.int64)
        content = encode_score_map(ScoreMap(scores, classes, SIZE, 4))
        write_bytes(tmp_path / "cams" / f"{name}.npz", content)
    return {
        "data": written,
        "cams": tmp_path / "cams",
        "cuts": tmp_path / "cuts",
        "out": tmp_path / "out",
    }


def params(**changes: object) -> Params:
    numbers = {"threshold": 0.3, "confident_fraction": 0.4, "confident_rule": "agreement"}
    numbers |= {"inside_background": 0.0, "trust": -1.0, "labels": ("mask", "box", "tag")}
    numbers |= {"activated_rule": "top", "low_alpha": 2.0, "high_alpha": 4.0}
    numbers |= {"superpixel": 30, "compactness": 10.0, "saliency": 0.0}
    return Params(**(numbers | changes))  # type: ignore[arg-type]


def read(paths: dict[str, Any], folder: str, name: str) -> np.ndarray:
    return read_label_map(paths["out"] / folder / f"{name}.png")


def test_seeds_are_right_and_grow_fewer(paths: dict[str, Any]) -> None:
    seeds_fuse(params(), **paths)
    for name in ("one", "two"):
        true = draw(name)[1]
        counts = []
        for folder in ("fused", "confident"):
            labels = read(paths, folder, name)
            known = labels != 255
            np.testing.assert_array_equal(labels[known], true[known])
            counts.append((known & (true != 0)).sum() / (true != 0).sum())
        assert 0.5 < counts[0] < 1
        assert 0.2 < counts[1] < 0.9 * counts[0]
        assert set(np.unique(read(paths, "cam", name))) == {0, *(disc[0] for disc in DISCS[name])}


def test_an_image_without_boxes_is_background(paths: dict[str, Any]) -> None:
    seeds_fuse(params(), **paths)
    for folder in ("cam", "fused", "confident"):
        np.testing.assert_array_equal(read(paths, folder, "empty"), np.zeros(SIZE))
        assert not (paths["out"] / folder / "held.png").exists()


def test_the_printed_rule_keeps_all_fused_seeds(paths: dict[str, Any]) -> None:
    seeds_fuse(params(confident_rule="printed"), **paths)
    for name in ("one", "two"):
        np.testing.assert_array_equal(read(paths, "confident", name), read(paths, "fused", name))


def test_background_that_both_sources_see_in_a_box_becomes_a_seed(paths: dict[str, Any]) -> None:
    for limit, found in ((0.0, False), (0.2, True)):
        seeds_fuse(params(inside_background=limit), **paths)
        for name in ("one", "two"):
            true, boxes = draw(name)[1], paths["data"].boxes()[name]
            fused = read(paths, "fused", name)
            inside = filled_boxes([box.corners for box in boxes], [1] * len(boxes), SIZE) == 1
            assert (fused[inside] == 0).any() == found
            assert not (true[fused == 0]).any()


def test_a_class_that_the_activations_miss_is_taken_from_grabcut(paths: dict[str, Any]) -> None:
    scores = np.zeros((1, 10, 12), np.float16)
    content = encode_score_map(ScoreMap(scores, np.array([1]), SIZE, 4))
    write_bytes(paths["cams"] / "one.npz", content)
    seeds_fuse(params(), **paths)
    grabcut = read_label_map(paths["cuts"] / "one.png")
    boxes = [box.corners for box in paths["data"].boxes()["one"]]
    np.testing.assert_array_equal(read(paths, "fused", "one"), box_seeds(grabcut, boxes))
    np.testing.assert_array_equal(read(paths, "confident", "one"), box_seeds(grabcut, boxes))
    metrics = json.loads((paths["out"] / "metrics.json").read_text())
    assert metrics["boxes"] == 3
    assert metrics["boxes_without_their_class_in_cam"] == 1
    shares = metrics["confident_share_of_box_pixels"], metrics["fused_share_of_box_pixels"]
    assert 0 < shares[0] < shares[1] < 1


@pytest.mark.parametrize("rule", ["agreement", "printed"])
@pytest.mark.parametrize("activation", [0.0, 1.0])
def test_a_crowd_gives_no_seeds_however_activated(
    paths: dict[str, Any], tmp_path: Path, rule: str, activation: float
) -> None:
    region = add_crowd(paths["data"].table("instances"), "two", (22, 0, 47, 30))
    grabcut = grabcut_seeds.Params(
        seed=0, iterations=5, min_fraction=0.1, margin=1.0, least_side=0, most_side=0
    )
    cut = tmp_path / "cut"
    grabcut_seeds.grabcut_seeds(grabcut, paths["data"], cut)
    scores = np.full((2, 40, 48), activation, np.float16)
    content = encode_score_map(ScoreMap(scores, np.array([1, 2]), SIZE, 1))
    write_bytes(paths["cams"] / "two.npz", content)
    numbers = params(confident_rule=rule, inside_background=0.3)
    seeds_fuse(numbers, **(paths | {"cuts": cut / "labels"}))
    boxes = [box.corners for box in paths["data"].boxes()["two"]]
    inside = filled_boxes(boxes, [1, 1], SIZE) == 1
    for folder in ("fused", "confident"):
        labels = read(paths, folder, "two")
        assert not (labels[region] == 0).any()
        assert (labels[region & ~inside] == 255).all()
        assert (labels[~region & ~inside] == 0).all() or folder == "confident"
    metrics = json.loads((paths["out"] / "metrics.json").read_text())
    assert metrics["fused_share_of_box_pixels"] <= 1


def test_a_map_of_another_size_is_refused(paths: dict[str, Any]) -> None:
    labels = np.zeros((40, 44), np.uint8)
    write_bytes(paths["cuts"] / "two.png", encode_label_map(labels))
    with pytest.raises(InputError, match=r"two\.png: size \(40, 44\); expected \(40, 48\)"):
        seeds_fuse(params(), **paths)


def test_missing_activations_are_named(paths: dict[str, Any]) -> None:
    (paths["cams"] / "one.npz").unlink()
    with pytest.raises(InputError, match=r"one\.npz: no such score map"):
        seeds_fuse(params(), **paths)


def test_activations_beside_the_object_are_left_out_and_counted(
    paths: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    scores = np.zeros((2, 10, 12), np.float16)
    scores[0, 8:, :] = 1  # of category 1, in no box of it; that of 2 is where its disc is
    scores[1, 5:7, 7:9] = 1
    content = encode_score_map(ScoreMap(scores, np.array([1, 2]), SIZE, 4))
    write_bytes(paths["cams"] / "two.npz", content)
    content = encode_score_map(ScoreMap(scores[:1], np.array([1]), SIZE, 4))
    write_bytes(paths["cams"] / "one.npz", content)
    seeds_fuse(params(trust=0.1, inside_background=0.3), **paths)
    grabcut = read_label_map(paths["cuts"] / "two.png")
    first, second = (box.corners for box in paths["data"].boxes()["two"])
    confident = read(paths, "confident", "two")
    ours = filled_boxes([first], [1], SIZE) == 1
    np.testing.assert_array_equal(confident[ours], grabcut[ours])
    theirs = filled_boxes([second], [1], SIZE) == 1
    assert 0 < (confident[theirs] == 2).sum() < 0.5 * (grabcut[theirs] == 2).sum()
    assert set(np.unique(read(paths, "cam", "two"))) == {0, 1, 2}
    trust = pd.read_parquet(paths["out"] / "trust.parquet").set_index(["image_id", "category"])
    assert (trust["trust"] < 0.1).tolist() == [True, True, False]
    assert trust["class_trust"].nunique() == 2
    metrics = json.loads((paths["out"] / "metrics.json").read_text())
    counts = ("classes", "classes_too_weak", "maps", "maps_too_weak")
    assert [metrics[name] for name in counts] == [2, 1, 3, 2]
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == "seeds_fuse: activations of 1 of 2 classes are too weak to use"


def test_without_any_trust_the_seeds_are_those_of_grabcut(paths: dict[str, Any]) -> None:
    seeds_fuse(params(trust=1.0, inside_background=0.3), **paths)
    for name in ("one", "two", "empty"):
        grabcut = read_label_map(paths["cuts"] / f"{name}.png")
        for folder in ("fused", "confident"):
            np.testing.assert_array_equal(read(paths, folder, name), grabcut)
