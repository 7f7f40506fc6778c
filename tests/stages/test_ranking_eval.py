"""One ruler for ranked instances, whatever brought them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.io.data_set import Dataset
from stages.io.label_maps import encode_rle
from stages.io.measures import RANK_SCORES, RANKING_MEASURES
from stages.io.salient_maps import encode_grey
from stages.io.tables import IMAGES, INSTANCES, read_rows, write_table
from stages.ranking_eval import Params, ranking_eval

SIZE = (24, 30)
PLACES = ((0, 0, 8, 20), (10, 0, 18, 20), (20, 0, 28, 20))


def mask(place: int) -> Any:
    x0, y0, x1, y1 = PLACES[place]
    found = np.zeros(SIZE, dtype=bool)
    found[y0:y1, x0:x1] = True
    return found


def row(image: str, place: int, rank: int | None, score: float = 1.0) -> dict[str, Any]:
    x0, y0, x1, y1 = PLACES[place]
    return {
        "image_id": image, "instance_id": place + 1, "category": 1, "x0": x0, "y0": y0, "x1": x1,
        "y1": y1, "area": 160.0, "is_crowd": False, "mask": encode_rle(mask(place)),
        "score": score, "rank": rank,
    }  # fmt: skip


TRUTH = [row("a", 0, 2), row("a", 1, 1), row("a", 2, 3), row("b", 0, 1), row("b", 2, 2)]


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    images = [
        {"image_id": name, "split": "val", "file": name, "width": 30, "height": 24, "md5": ""}
        for name in ("a", "b", "c")
    ]
    write_table(tmp_path / "images.parquet", pd.DataFrame(images), IMAGES)
    return Dataset(tmp_path)


def measured(
    data: Dataset, ranked: list[dict[str, Any]] | Path, resamples: int = 0
) -> dict[str, Any]:
    truth = data.folder / "truth.parquet"
    write_table(truth, pd.DataFrame(TRUTH, columns=INSTANCES.names), INSTANCES)
    path = ranked if isinstance(ranked, Path) else data.folder / "ranked.parquet"
    if not isinstance(ranked, Path):
        write_table(path, pd.DataFrame(ranked, columns=INSTANCES.names), INSTANCES)
    ranking_eval(
        Params(seed=0, resamples=resamples), data, "val", truth, path, data.folder / "out", "own"
    )
    found: dict[str, Any] = json.loads((data.folder / "out/own.json").read_text())
    assert set(RANKING_MEASURES) <= set(found)
    return found


def test_the_truth_itself_is_perfect_and_images_used_are_stated(data: Dataset) -> None:
    found = measured(data, TRUTH, resamples=50)
    for key in ("sa_sor_paper", "sa_sor_released", "sa_sor_hungarian", "sor", "ssor"):
        assert (found[key], found[f"{key}_images"]) == (100, 2)
    assert (found["mae"], found["pair_accuracy"], found["pairs"]) == (0, 100, 4)
    assert found["rank_error"] == {"1": 0, "2": 0, "3": 0}
    assert found["sa_sor_paper_interval"] == [100, 100]
    assert (found["images"], found["images_without_prediction"]) == (2, 0)
    rows = read_rows(data.folder / "out/own.parquet", RANK_SCORES)
    assert [(entry["image_id"], entry["pairs"]) for entry in rows] == [("a", 3), ("b", 1)]


def test_order_misses_and_wrong_instances_count(data: Dataset) -> None:
    """Of a the first two are exchanged; of b nothing is found, in c there is no truth."""
    found = measured(data, [row("a", 0, 1), row("a", 1, 2), row("a", 2, 3), row("c", 0, 1)])
    assert found["sa_sor_paper"] == pytest.approx(25)  # 50 and 0
    assert found["pair_accuracy"] == 50
    assert found["images_without_prediction"] == 1
    assert found["rank_error"] == {"1": 1, "2": 1, "3": 0}
    assert found["missed"] == {"1": 1, "2": 1, "3": 0}
    assert (found["ssor"], found["ssor_images"]) == (75, 1)
    levels = np.zeros(SIZE)
    for place, level in ((0, 1 / 3), (1, 1 / 3), (2, 0)):
        levels[mask(place)] = level
    of_b = (0.5 + 1) * 160 / levels.size
    assert found["mae"] == pytest.approx(50 * (levels.mean() + of_b), abs=0.01)


def test_a_folder_of_grey_maps_and_cocos_results_are_read_as_well(data: Dataset) -> None:
    grey = np.zeros(SIZE, np.uint8)
    for place, level in ((0, 170), (1, 255), (2, 85)):
        grey[mask(place)] = level
    write_bytes(data.folder / "maps/a.png", encode_grey(grey))
    by_maps = measured(data, data.folder / "maps")
    assert (by_maps["sa_sor_paper"], by_maps["images_without_prediction"]) == (50, 1)
    entries = [
        {"image_id": "a", "score": 0.9, "saliency": value,
         "segmentation": {"size": list(SIZE), "counts": encode_rle(mask(place))}}
        for place, value in ((0, 5), (1, 8.5), (2, 1))
    ]  # fmt: skip
    results = data.folder / "results.json"
    results.write_text(json.dumps(entries))
    assert measured(data, results) == by_maps


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"saliency": None}, r"\[0\]: saliency None: expected a number"),
        ({"score": float("nan")}, r"\[0\]: score nan: expected a number"),
        ({"segmentation": "x"}, r"\[0\]: segmentation: 'x': not polygons or run lengths"),
        (
            {"segmentation": {"size": [24, 30], "counts": "1"}},
            r"counts cover 1 pixels",
        ),
        ({"segmentation": {"size": [3, 4], "counts": "x"}}, r"size \[3, 4\]; expected \[24, 30\]"),
    ],
)
def test_bad_results_are_one_line(data: Dataset, change: dict[str, Any], message: str) -> None:
    runs = {"size": list(SIZE), "counts": encode_rle(mask(0))}
    entry = {"image_id": "a", "score": 1, "saliency": 1, "segmentation": runs, **change}
    (data.folder / "results.json").write_text(json.dumps([entry]))
    with pytest.raises(InputError, match=message):
        measured(data, data.folder / "results.json")


def test_other_bad_predictions_are_named(data: Dataset) -> None:
    with pytest.raises(InputError, match="instance_id 1: no rank or no mask; expected both"):
        measured(data, [row("a", 0, None)])
    (data.folder / "maps").mkdir()
    with pytest.raises(InputError, match="maps: no map of any image"):
        measured(data, data.folder / "maps")
    grey = np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE)
    write_bytes(data.folder / "maps/a.png", encode_grey(grey))
    with pytest.raises(InputError, match="255 grey levels; expected at most 32, one of each"):
        measured(data, data.folder / "maps")
    (data.folder / "results.json").write_text("{")
    with pytest.raises(InputError, match=r"results\.json: not readable as json"):
        measured(data, data.folder / "results.json")
