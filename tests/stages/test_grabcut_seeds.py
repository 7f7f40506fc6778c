import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.engine import parallel
from stages.engine.errors import InputError
from stages.engine.memo import Memo
from stages.grabcut_seeds import Params, grabcut_seeds
from stages.io.label_maps import decode_rle, encode_rle, read_label_map
from stages.io.tables import INSTANCES, read_rows
from tests.stages.drawn_discs import DISCS, SIZE, add_crowd, draw, overlap, write_discs

VIEW = {"margin": 1.0, "least_side": 0, "most_side": 0}


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("SEEDMASK_WORKERS", "1")
    monkeypatch.setattr(parallel, "Memo", partial(Memo, folder=tmp_path / "memo"))
    written = write_discs(tmp_path)
    return {"data": written, "out": tmp_path / "out"}


def test_every_box_becomes_the_object_inside_it(paths: dict[str, Any]) -> None:
    grabcut_seeds(Params(seed=0, iterations=5, min_fraction=0.1, **VIEW), **paths)
    for name in ("one", "two"):
        true = draw(name)[1]
        labels = read_label_map(paths["out"] / "labels" / f"{name}.png")
        filled = read_label_map(paths["out"] / "filled" / f"{name}.png")
        for category in {disc[0] for disc in DISCS[name]}:
            assert overlap(labels == category, true == category) > 0.9
            assert overlap(filled == category, true == category) < 0.85
        assert not labels[filled == 0].any()


def test_only_training_images_are_labelled_and_those_without_boxes_are_background(
    paths: dict[str, Any],
) -> None:
    grabcut_seeds(Params(seed=0, iterations=1, min_fraction=0.1, **VIEW), **paths)
    for folder in ("labels", "filled"):
        found = {path.stem for path in (paths["out"] / folder).iterdir()}
        assert found == {"one", "two", "empty"}
        empty = read_label_map(paths["out"] / folder / "empty.png")
        np.testing.assert_array_equal(empty, np.zeros(SIZE))


@pytest.mark.parametrize("outlined", [False, True])
def test_a_crowd_is_unknown_where_no_box_claims_it(paths: dict[str, Any], outlined: bool) -> None:
    outline = np.random.default_rng(0).random(SIZE) < 0.5
    mask = encode_rle(outline) if outlined else None
    region = add_crowd(paths["data"].table("instances"), "one", (20, 0, 48, 40), mask)
    region = outline if outlined else region
    grabcut_seeds(Params(seed=0, iterations=5, min_fraction=0.1, **VIEW), **paths)
    true = draw("one")[1]
    box = np.zeros(SIZE, bool)
    box[11:30, 15:34] = True
    filled = read_label_map(paths["out"] / "filled" / "one.png")
    np.testing.assert_array_equal(filled, np.where(box, 1, np.where(region, 255, 0)))
    labels = read_label_map(paths["out"] / "labels" / "one.png")
    np.testing.assert_array_equal(labels[~box], filled[~box])
    assert overlap(labels == 1, true == 1) > 0.9
    assert not (labels[region] == 0).any()
    assert (labels[region & box] == 255).any()  # the corners of the box: crowd or background
    metrics = json.loads((paths["out"] / "metrics.json").read_text())
    assert metrics["boxes"] == 3


def test_degenerate_cuts_are_counted(
    paths: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DISCS, "one", [(1, 20, 24, 60)])  # its box covers the image
    written = write_discs(paths["data"].root)
    assert written.table("instances") == paths["data"].table("instances")
    grabcut_seeds(Params(seed=0, iterations=5, min_fraction=0.1, **VIEW), **paths)
    metrics = json.loads((paths["out"] / "metrics.json").read_text())
    assert metrics == {
        "images": 3,
        "boxes": 3,
        "boxes_kept_full": 0,
        "boxes_filled_after_small_cut": 0,
        "boxes_filled_after_failed_cut": 1,
    }
    one = read_label_map(paths["out"] / "labels" / "one.png")
    np.testing.assert_array_equal(one, np.ones(SIZE))


def test_the_table_has_what_was_made_of_each_box_alone(
    paths: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DISCS, "one", [(1, 20, 24, 60)])  # its box covers the image
    write_discs(paths["data"].root)
    grabcut_seeds(Params(seed=0, iterations=5, min_fraction=0.1, **VIEW), **paths)
    given = [
        row
        for row in read_rows(paths["data"].table("instances"), INSTANCES)
        if row["image_id"] != "held"
    ]
    found = read_rows(paths["out"] / "instances.parquet", INSTANCES)
    same = ("image_id", "instance_id", "category", "x0", "y0", "x1", "y1", "is_crowd")
    assert [[row[key] for key in same] for row in found] == [
        [row[key] for key in same] for row in given
    ]
    masks = [decode_rle(row["mask"], *SIZE) for row in found]
    assert [row["area"] for row in found] == [mask.sum() for mask in masks]
    assert masks[0].all()  # nothing to learn from
    true = draw("two")[1]
    for category, mask in ((1, masks[1]), (2, masks[2])):
        assert overlap(mask, true == category) > 0.9
    assert [row["score"] for row in found] == [0, 1, 1]


def test_a_run_that_finds_its_results_kept_writes_the_same_table(
    paths: dict[str, Any], tmp_path: Path
) -> None:
    params = Params(seed=0, iterations=1, min_fraction=0.1, **VIEW)
    grabcut_seeds(params, **paths)
    grabcut_seeds(params, **(paths | {"out": tmp_path / "again"}))
    for name in ("instances.parquet", "metrics.json"):
        assert (tmp_path / "again" / name).read_bytes() == (paths["out"] / name).read_bytes()


def test_results_repeat_bit_for_bit(paths: dict[str, Any], tmp_path: Path) -> None:
    grabcut_seeds(Params(seed=3, iterations=2, min_fraction=0.1, **VIEW), **paths)
    (tmp_path / "memo").rename(tmp_path / "forgotten")
    grabcut_seeds(
        Params(seed=3, iterations=2, min_fraction=0.1, **VIEW),
        **(paths | {"out": tmp_path / "again"}),
    )
    for path in paths["out"].rglob("*.png"):
        assert (
            path.read_bytes() == (tmp_path / "again" / path.relative_to(paths["out"])).read_bytes()
        )


def test_a_photograph_changed_since_the_dataset_stage_is_refused(paths: dict[str, Any]) -> None:
    (paths["data"].root / "photos" / "two.png").write_bytes(b"other")
    with pytest.raises(InputError, match=r"two\.png: content changed since the dataset stage"):
        grabcut_seeds(Params(seed=0, iterations=1, min_fraction=0.1, **VIEW), **paths)
