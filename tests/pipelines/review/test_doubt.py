from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipelines.graph.objects import Objects
from pipelines.graph.revisions import read_revision
from pipelines.look.layers import Catalogue, Kind
from pipelines.review.doubt import (
    Doubt,
    disagreement,
    doubt,
    doubt_of_files,
    entropy,
    final_layer,
    opinions,
    unfilled,
    worst_first,
)
from stages.engine.errors import InputError
from stages.io.data_set import Box
from stages.io.label_maps import encode_label_map
from stages.io.score_maps import ScoreMap, encode_score_map
from tests.pipelines.made_repository import Made, MadeRepository, dataset_stage
from tests.reference import doubt as reference

SIZE = (9, 11)
LABELS = arrays(np.uint8, SIZE, elements=st.sampled_from([0, 1, 2, 255]))
SIDES = st.floats(-3, 14, width=16)
CORNERS = st.tuples(st.integers(1, 2), SIDES, SIDES, SIDES, SIDES)


def plain(*rows: str) -> np.ndarray:
    values = {".": 0, "a": 1, "b": 2, "?": 255}
    return np.array([[values[letter] for letter in row] for row in rows], dtype=np.uint8)


@given(st.lists(LABELS, max_size=3))
def test_disagreement_is_that_of_the_reference(maps: list[np.ndarray]) -> None:
    assert disagreement(maps) == reference.disagreement(maps)


@given(
    arrays(
        np.float16,
        st.tuples(st.integers(1, 4), st.just(3), st.just(4)),
        elements=st.one_of(st.just(0), st.floats(0, 1, width=16)),
    )
)
def test_entropy_is_that_of_the_reference(scores: np.ndarray) -> None:
    size = (scores.shape[1] * 2, scores.shape[2] * 2)
    found = entropy(ScoreMap(scores, np.arange(len(scores)), size, 2))
    expected = reference.entropy(scores)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-3))


@given(LABELS, st.lists(CORNERS, max_size=3))
def test_unfilled_is_that_of_the_reference(labels: np.ndarray, found: list[tuple]) -> None:
    ordered = [
        (label, min(x), min(y), max(x), max(y))
        for label, x, y in ((label, (x0, x1), (y0, y1)) for label, x0, y0, x1, y1 in found)
    ]
    for box in ordered:
        expected = reference.unfilled(labels, [box])
        assert unfilled(labels, Box(*box)) == (
            None if expected is None else pytest.approx(expected)
        )


def test_only_pixels_that_all_know_are_held_against_one_another() -> None:
    assert disagreement([plain("aa??"), plain("ab?a"), plain("aaaa")]) == 50
    assert disagreement([plain("??"), plain("aa")]) is None
    assert disagreement([plain("aa")]) is None


def test_even_odds_are_the_largest_entropy_and_certainty_none() -> None:
    even = ScoreMap(np.full((2, 1, 1), 0.5, np.float16), np.array([0, 1]), (4, 4), 4)
    certain = ScoreMap(np.array([[[1]], [[0]]], np.float16), np.array([0, 1]), (4, 4), 4)
    assert entropy(even) == pytest.approx(100)
    assert entropy(certain) == 0


def test_the_box_that_is_filled_least_counts(tmp_path: Path) -> None:
    final = tmp_path / "final.png"
    final.write_bytes(encode_label_map(plain("aa..", "....", "...b", "...b")))
    full, half, empty = Box(1, 0, 0, 2, 1), Box(2, 2, 2, 4, 4), Box(2, 0, 0, 2, 2)
    outside = Box(1, 90, 90, 99, 99)
    for boxes, shares, worst in (
        ([full], (0,), 0),
        ([full, half], (0, 50), 50),
        ([full, empty, outside, half], (0, 100, None, 50), 100),
        ([outside], (None,), None),
        ([], (), None),
    ):
        found = doubt_of_files("a", [], None, final, boxes)
        assert (found.boxes, found.unfilled) == (shares, worst)


def scores(probability: float) -> bytes:
    values = np.full((2, 1, 1), probability, np.float16)
    values[0] = 1 - probability
    return encode_score_map(ScoreMap(values, np.array([0, 1]), (4, 4), 4))


def made(repository: MadeRepository, line: str = "") -> Catalogue:
    """Images "calm" and "wild", whose sources disagree in a quarter; and "bare", without boxes."""
    black = np.zeros((4, 4, 3), np.uint8)
    scenes, dataset = dataset_stage(
        dict.fromkeys(("calm", "wild", "bare"), black),
        boxes={"calm": [(1, 0, 0, 2, 4)], "wild": [(1, 0, 0, 4, 4)]},
    )
    half = plain("aa..", "aa..", "aa..", "aa..")
    seeds = plain("a?..", "aa.?", "aa..", "aa..")
    other = plain("aabb", "aabb", "aa..", "aa..")
    stages = {"scenes": scenes, "dataset": dataset}
    for name, wild in (("seeds_fuse/fused", seeds), ("walk_label/labels", other)):
        files = {"calm": half, "wild": wild, "bare": half * 0}
        folder = {f"{image_id}.png": encode_label_map(labels) for image_id, labels in files.items()}
        meta = {"line": line} if line else {}
        stages[name.split("/")[0]] = Made({f"data/{name}": folder}, labels=["opinion"], meta=meta)
    labels = {f"{name}.png": encode_label_map(half) for name in ("calm", "wild")}
    labels["bare.png"] = encode_label_map(half * 0)
    maps = {"calm.npz": scores(0.01), "wild.npz": scores(0.4)}
    found = {"data/a2gnn_label/labels": labels, "data/a2gnn_label/maps": maps}
    stages["a2gnn_label"] = Made(found, labels=["opinion"])
    for name in ("masks", "other"):  # the first is meant
        final = {f"data/labels_final/{name}": labels}
        stages[f"labels_final@{name}"] = Made(final, labels=["final"], meta={"line": "${key}"})
    repository.record(stages)
    return Catalogue(Objects(repository.root), read_revision(repository.root))


def test_the_image_whose_sources_disagree_comes_first(tmp_path: Path) -> None:
    catalogue = made(MadeRepository(tmp_path))
    wild = doubt(catalogue, "wild")
    assert wild.disagreement == pytest.approx(100 * 3 / 14)
    assert wild.entropy == pytest.approx(97.1, abs=0.1)
    assert wild.unfilled == 50
    calm = doubt(catalogue, "calm")
    assert (calm.disagreement, calm.unfilled) == (0, 0)
    assert calm.entropy is not None
    assert calm.entropy < 10
    bare = doubt(catalogue, "bare")
    assert bare == Doubt("bare", 0, None, None)
    assert worst_first(catalogue, "disagreement") == [wild, bare, calm]
    assert worst_first(catalogue, "unfilled") == [wild, calm, bare], "what cannot be told is last"


def test_the_opinions_are_those_of_the_line_whose_labels_are_final(tmp_path: Path) -> None:
    catalogue = made(MadeRepository(tmp_path / "one"), "masks")
    assert final_layer(catalogue).name == "labels_final/masks"
    names = {layer.name for layer in opinions(catalogue, Kind.LABELS)}
    assert names == {"seeds_fuse/fused", "walk_label/labels", "a2gnn_label/labels"}
    other = made(MadeRepository(tmp_path / "other"), "other")
    assert [layer.name for layer in opinions(other, Kind.LABELS)] == ["a2gnn_label/labels"]


def test_a_revision_without_labels_is_told_in_one_line(tmp_path: Path) -> None:
    repository = MadeRepository(tmp_path)
    scenes, dataset = dataset_stage({"one": np.zeros((4, 4, 3), np.uint8)})
    repository.record({"scenes": scenes, "dataset": dataset})
    catalogue = Catalogue(Objects(tmp_path), read_revision(tmp_path))
    assert doubt(catalogue, "one") == Doubt("one", None, None, None)
    with pytest.raises(InputError, match=r"workspace: has no final labels"):
        worst_first(catalogue, "entropy")
