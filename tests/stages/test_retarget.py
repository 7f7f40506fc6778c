"""Images of other sizes, as a stage."""

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from stages.engine.errors import InputError
from stages.io.data_set import Dataset
from stages.io.tables import INSTANCES, read_rows, write_table
from stages.retarget import Params, retarget
from tests.stages.drawn_objects import SIZE, write_objects


def retargeted(data: Dataset, sizes: Any, **more: Any) -> Path:
    numbers = {"multiply": 4.0, "add": 40.0, "together": 8, "most": 2, "quality": 80, **more}
    table, out = data.folder / "ranked.parquet", data.folder / "out"
    retarget(Params(sizes=sizes, **numbers), data, "train", table, table, out)
    return out


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Image a has a small object of rank 1 and a large one of rank 2, b has none."""
    found = write_objects(tmp_path, monkeypatch, "retarget")
    rows = [row | {"rank": 1 + n % 2} for n, row in
            enumerate(read_rows(tmp_path / "objects.parquet", INSTANCES))]  # fmt: skip
    write_table(tmp_path / "ranked.parquet", pd.DataFrame(rows), INSTANCES)
    return found


def test_images_of_all_sizes_are_written_and_the_first_rank_is_spared(data: Dataset) -> None:
    out = retargeted(data, ((0.5, 1.0), (1.25, 0.75)))
    for name, size in (("050x100", (24, 40)), ("125x075", (60, 30))):
        for image_id in "ab":
            with Image.open(out / f"images/{name}/{image_id}.jpg") as image:
                assert image.size == size
    with Image.open(out / "gallery/a.jpg") as image:
        assert image.size == (48 + 2 * 60 + 12, 2 * 40 + 8)
    with (out / "distortion.csv").open() as file:
        rows = {(r["size"], r["method"], r["rank"]): r for r in csv.DictReader(file)}
    assert len(rows) == 8
    ours, plain = (rows["050x100", method, "1"] for method in ("ours", "plain"))
    assert float(ours["kept_area"]) > 90 > float(plain["kept_area"])
    assert float(ours["aspect_change"]) < float(plain["aspect_change"])
    found = json.loads((out / "metrics.json").read_text())
    assert found["images"] == 2
    assert found["ours_050x100"]["kept_area"] == float(ours["kept_area"])
    assert (SIZE[1], SIZE[0]) == (48, 40)


def test_a_size_of_nothing_is_one_line(data: Dataset) -> None:
    with pytest.raises(InputError, match=r"a\.png: size \(40, 0\): expected sides of 2"):
        retargeted(data, ((0.01, 1.0),))
