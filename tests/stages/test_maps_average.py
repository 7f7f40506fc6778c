import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.engine import parallel
from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.engine.memo import Memo
from stages.io.label_maps import read_label_map
from stages.io.score_maps import ScoreMap, encode_score_map, read_score_map
from stages.io.tables import TRUST, write_table
from stages.maps_average import Params, maps_average
from tests.stages.drawn_discs import DISCS, SIZE, add_crowd, draw, write_discs


def write_map(path: Path, scores: np.ndarray, classes: list[int], stride: int) -> None:
    content = ScoreMap(scores.astype(np.float16), np.array(classes, np.int64), SIZE, stride)
    write_bytes(path, encode_score_map(content))


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A first source of background alone, on cells, and a second one without error, on pixels."""
    monkeypatch.setenv("SEEDMASK_WORKERS", "1")
    monkeypatch.setattr(parallel, "Memo", partial(Memo, folder=tmp_path / "memo"))
    data = write_discs(tmp_path)
    for name, discs in DISCS.items():
        classes = [0, *(disc[0] for disc in discs)]
        calm = np.zeros((len(classes), 10, 12))
        calm[0] = 1
        write_map(tmp_path / "first" / f"{name}.npz", calm, classes, 4)
        true = draw(name)[1]
        right = np.array([true == label for label in classes], np.float32)
        write_map(tmp_path / "second" / f"{name}.npz", right, classes, 1)
    write_trust(tmp_path / "trust.parquet", [0.4, 0.1, 0.0])
    names = ("first", "second", "walk", "out")
    return {name: tmp_path / name for name in names} | {
        "data": data,
        "trust": tmp_path / "trust.parquet",
    }


def write_trust(path: Path, trusts: list[float]) -> None:
    rows = [
        {"image_id": str(number), "category": 1, "class_trust": 0.2, "trust": trust}
        for number, trust in enumerate(trusts)
    ]
    write_table(path, pd.DataFrame(rows, columns=TRUST.names), TRUST)


def params(**changes: object) -> Params:
    numbers = {"weight": 0.5, "least_trust": 0.1, "inside_boxes": True, "box_margin": 0}
    numbers |= {"walk_tag": 0.75, "walk_point": 0.0, "walk_scribble": 0.0}
    return Params(**(numbers | changes))  # type: ignore[arg-type]


def labels(paths: dict[str, Any], name: str) -> np.ndarray:
    return read_label_map(paths["out"] / "labels" / f"{name}.png", SIZE)


@pytest.mark.parametrize("weight", [0.25, 0.75])
def test_the_map_is_the_weighted_mean_and_the_heavier_source_labels(
    paths: dict[str, Any], weight: float
) -> None:
    maps_average(params(weight=weight), **paths)
    true = draw("two")[1]
    np.testing.assert_array_equal(labels(paths, "two"), true if weight < 0.5 else 0 * true)
    found = read_score_map(paths["out"] / "maps" / "two.npz", SIZE)
    assert found.classes.tolist() == [0, 1, 2]
    expected = [(true == label) * (1 - weight) + (label == 0) * weight for label in range(3)]
    np.testing.assert_allclose(found.scores, expected, atol=1e-3)
    metrics = json.loads((paths["out"] / "metrics.json").read_text())
    share = np.mean([(draw(name)[1] > 0).mean() for name in ("one", "two", "empty")])
    assert metrics["mean_dispute"] == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize(
    ("trusts", "weight"), [([0.4, 0.09, 0.0], 0.0), ([0.4, 0.1, 0.0], 0.75), ([], 0.75)]
)
def test_where_most_activations_are_too_weak_the_second_source_stands_alone(
    paths: dict[str, Any],
    trusts: list[float],
    weight: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_trust(paths["trust"], trusts)
    maps_average(params(weight=0.75), **paths)
    true = draw("two")[1]
    np.testing.assert_array_equal(labels(paths, "two"), 0 * true if weight else true)
    assert json.loads((paths["out"] / "metrics.json").read_text())["weight"] == weight
    assert ("the second source alone" in capsys.readouterr().out) == (not weight)


def test_a_class_that_one_source_lacks_is_nowhere_in_it(paths: dict[str, Any]) -> None:
    write_map(paths["first"] / "two.npz", np.ones((1, 10, 12)), [0], 4)
    maps_average(params(weight=0.25), **paths)
    np.testing.assert_array_equal(labels(paths, "two"), draw("two")[1])


def test_labels_keep_to_their_boxes_and_leave_crowds_unknown(paths: dict[str, Any]) -> None:
    everywhere = np.zeros((3, *SIZE))
    everywhere[2] = 1
    write_map(paths["second"] / "two.npz", everywhere, [0, 1, 2], 1)
    region = add_crowd(paths["data"].table("instances"), "two", (0, 30, 12, 40))
    maps_average(params(weight=0.0), **paths)
    found = labels(paths, "two")
    assert (found[14:35, 22:43] == 2).all()
    assert (found[region] == 255).all()
    rest = ~region
    rest[14:35, 22:43] = False
    assert not found[rest].any()


def test_a_map_without_background_is_refused(paths: dict[str, Any]) -> None:
    write_map(paths["second"] / "one.npz", np.ones((1, *SIZE)), [1], 1)
    with pytest.raises(InputError, match=r"one\.npz: classes \[1\]; expected 0, the background"):
        maps_average(params(), **paths)


def test_a_missing_map_is_named(paths: dict[str, Any]) -> None:
    (paths["first"] / "one.npz").unlink()
    with pytest.raises(InputError, match=r"one\.npz: cannot be read"):
        maps_average(params(), **paths)
