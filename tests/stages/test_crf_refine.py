from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from stages.crf_refine import Params, crf_refine
from stages.engine import parallel
from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.engine.memo import Memo
from stages.io.label_maps import encode_label_map, read_label_map
from stages.io.score_maps import ScoreMap, encode_score_map
from tests.stages.drawn_discs import DISCS, SIZE, add_crowd, draw, overlap, write_discs

TRAIN = ("one", "two", "empty")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("SEEDMASK_WORKERS", "1")
    monkeypatch.setattr(parallel, "Memo", partial(Memo, folder=tmp_path / "memo"))
    written = write_discs(tmp_path)
    return {
        "data": written,
        "split": "train",
        "source": tmp_path / "source",
        "out": tmp_path / "out",
    }


def params(**changes: object) -> Params:
    numbers = {
        "iterations": 5,
        "gaussian_xy": 3.0,
        "gaussian_compat": 3.0,
        "bilateral_xy": 50.0,
        "bilateral_rgb": 20.0,
        "bilateral_compat": 10.0,
        "box_share": 0.25,
        "least_side": 0,
        "least_reach": 0.0,
        "least_kept": 0.0,
        "label_confidence": 0.7,
        "inside_boxes": True,
        "box_margin": 0.0,
    }
    return Params(**(numbers | changes))  # type: ignore[arg-type]


def shrunk(name: str, pixels: int = 3) -> np.ndarray:
    true = draw(name)[1]
    return np.where(ndimage.binary_erosion(true > 0, iterations=pixels), true, 0).astype(np.uint8)


def write_scores(path: Path, name: str) -> None:
    """A coarse guess: each disc, too large, with 0.6 of the probability."""
    rows, columns = np.mgrid[2:40:4, 2:48:4] - 0.5
    scores = [np.full(rows.shape, 0.4)]
    for _, row, column, radius in DISCS[name]:
        near = (rows - row) ** 2 + (columns - column) ** 2 < (radius + 4) ** 2
        scores.append(np.where(near, 0.6, 0.0))
    classes = np.array([0, *(disc[0] for disc in DISCS[name])], np.int64)
    write_bytes(
        path / f"{name}.npz",
        encode_score_map(ScoreMap(np.array(scores, np.float16), classes, SIZE, 4)),
    )


def test_labels_grow_to_the_edges_of_the_photograph(paths: dict[str, Any]) -> None:
    for name in TRAIN:
        labels = shrunk(name)
        labels[draw(name)[1] != labels] = 255
        write_bytes(paths["source"] / f"{name}.png", encode_label_map(labels))
    crf_refine(params(), **paths)
    assert {path.name for path in paths["out"].iterdir()} == {f"{name}.png" for name in TRAIN}
    for name in ("one", "two"):
        found, true = read_label_map(paths["out"] / f"{name}.png"), draw(name)[1]
        for category in {disc[0] for disc in DISCS[name]}:
            before = overlap(shrunk(name) == category, true == category)
            assert before < 0.6
            assert overlap(found == category, true == category) > 0.95
    np.testing.assert_array_equal(read_label_map(paths["out"] / "empty.png"), np.zeros(SIZE))


def test_coarse_scores_become_labels_of_every_pixel(paths: dict[str, Any]) -> None:
    for name in TRAIN:
        write_scores(paths["source"], name)
    crf_refine(params(), **paths)
    for name in ("one", "two"):
        found, true = read_label_map(paths["out"] / f"{name}.png"), draw(name)[1]
        for category in {disc[0] for disc in DISCS[name]}:
            assert overlap(found == category, true == category) > 0.95


def flat_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photographs of one colour: nothing but the start of the CRF tells one pixel from another."""
    grey = np.full((*SIZE, 3), 128, np.uint8)
    monkeypatch.setattr("stages.io.data_set.read_image", lambda *_: grey)


def write_one(paths: dict[str, Any], scores: np.ndarray, classes: list[int]) -> None:
    """These scores [C, H, W] for image "one", background for the others."""
    for name in TRAIN:
        found, labels = (scores, classes) if name == "one" else (np.ones((1, *SIZE)), [0])
        content = encode_score_map(ScoreMap(found.astype(np.float16), np.array(labels), SIZE, 1))
        write_bytes(paths["source"] / f"{name}.npz", content)


def test_where_only_forbidden_classes_are_left_there_is_background(
    paths: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside the box the source is sure of the object: the CRF must not hear of it."""
    flat_photographs(monkeypatch)
    scores = np.zeros((2, *SIZE))
    scores[1] = 1
    box = np.zeros(SIZE, bool)
    box[11:30, 15:34] = True
    scores[:, box] = [[0.6], [0.4]]
    write_one(paths, scores, [0, 1])
    crf_refine(params(), **paths)
    assert not read_label_map(paths["out"] / "one.png").any()


def test_a_crowd_is_unknown_and_no_evidence_for_background(
    paths: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    flat_photographs(monkeypatch)
    outside = add_crowd(paths["data"].table("instances"), "one", (0, 0, 48, 40))
    outside[11:30, 15:34] = False
    for name in TRAIN:
        labels = np.full(SIZE, 255 if name == "one" else 0, np.uint8)
        labels[18:22, 22:26] = 1 if name == "one" else 0
        write_bytes(paths["source"] / f"{name}.png", encode_label_map(labels))
    crf_refine(params(), **paths)
    found = read_label_map(paths["out"] / "one.png")
    assert (found[outside] == 255).all()
    assert (found[~outside] == 1).all()


def test_a_margin_lets_a_class_out_of_a_tight_box(paths: dict[str, Any]) -> None:
    scores = np.ones((2, *SIZE)) * [[[0.1]], [[0.9]]]
    write_one(paths, scores, [0, 1])
    for margin in (0.0, 0.1, 0.25):
        crf_refine(params(box_margin=margin, iterations=0), **paths)
        found = read_label_map(paths["out"] / "one.png")
        rows, columns = np.nonzero(found)
        out = int(np.ceil(19 * margin))  # the box has 19 pixels a side
        assert (rows.min(), rows.max() + 1) == (11 - out, 30 + out)
        assert (columns.min(), columns.max() + 1) == (15 - out, 34 + out)


def test_no_box_loses_all_that_the_source_has_in_it(paths: dict[str, Any]) -> None:
    for name in TRAIN:
        labels = np.zeros(SIZE, np.uint8)
        if name == "one":
            labels[20, 24] = 1  # one pixel of a disc of 19 across: the CRF removes it
        write_bytes(paths["source"] / f"{name}.png", encode_label_map(labels))
    crf_refine(params(), **paths)
    found = read_label_map(paths["out"] / "one.png")
    assert list(zip(*np.nonzero(found), strict=True)) == [(20, 24)]


@pytest.mark.parametrize("inside_boxes", [True, False])
def test_a_class_stays_inside_its_own_boxes(paths: dict[str, Any], inside_boxes: bool) -> None:
    true = draw("two")[1]
    wrong = np.where(true == 1, 2, np.where(true == 2, 1, 0)).astype(np.uint8)
    for name in TRAIN:
        labels = wrong if name == "two" else draw(name)[1]
        write_bytes(paths["source"] / f"{name}.png", encode_label_map(labels))
    crf_refine(params(inside_boxes=inside_boxes), **paths)
    found = read_label_map(paths["out"] / "two.png")
    outside = np.ones(SIZE, bool)
    outside[14:35, 22:43] = False  # the box of class 2
    assert (found[outside] == 2).any() == (not inside_boxes)


def test_without_steps_a_complete_label_map_is_returned_unchanged(paths: dict[str, Any]) -> None:
    for name in TRAIN:
        write_bytes(paths["source"] / f"{name}.png", encode_label_map(draw(name)[1]))
    crf_refine(params(iterations=0), **paths)
    for name in TRAIN:
        np.testing.assert_array_equal(read_label_map(paths["out"] / f"{name}.png"), draw(name)[1])


def test_an_image_without_source_is_named(paths: dict[str, Any]) -> None:
    paths["source"].mkdir()
    with pytest.raises(InputError, match=r"source: neither one\.npz nor one\.png"):
        crf_refine(params(), **paths)


def test_a_source_of_another_size_is_refused(paths: dict[str, Any]) -> None:
    for name in TRAIN:
        labels = np.zeros((8, 9), np.uint8)
        write_bytes(paths["source"] / f"{name}.png", encode_label_map(labels))
    with pytest.raises(InputError, match=r"one\.png: size \(8, 9\); expected \(40, 48\)"):
        crf_refine(params(), **paths)


def test_scores_without_background_are_refused(paths: dict[str, Any]) -> None:
    scores = np.ones((1, 40, 48), np.float16)
    for name in TRAIN:
        content = encode_score_map(ScoreMap(scores, np.array([3]), SIZE, 1))
        write_bytes(paths["source"] / f"{name}.npz", content)
    with pytest.raises(InputError, match=r"one\.npz: classes \[3\]; expected 0, the background"):
        crf_refine(params(), **paths)


def test_validation_images_are_refined_without_a_look_at_their_boxes(paths: dict[str, Any]) -> None:
    region = add_crowd(paths["data"].table("instances"), "held", (0, 0, 48, 40))
    assert region.all()
    labels = np.full(SIZE, 2, np.uint8)  # far beyond the boxes, and no class of theirs
    write_bytes(paths["source"] / "held.png", encode_label_map(labels))
    crf_refine(params(), **(paths | {"split": "val"}))
    assert [path.name for path in paths["out"].iterdir()] == ["held.png"]
    np.testing.assert_array_equal(read_label_map(paths["out"] / "held.png"), labels)


def test_an_empty_source_is_an_error_but_for_validation_images(paths: dict[str, Any]) -> None:
    paths["source"].mkdir()
    crf_refine(params(), **(paths | {"split": "val"}))
    assert list(paths["out"].iterdir()) == []
    with pytest.raises(InputError, match=r"neither one\.npz nor one\.png"):
        crf_refine(params(), **paths)
