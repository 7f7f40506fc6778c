"""Given instances ranked without a network."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.instances_rank import Params, Ranker, instances_rank
from stages.io.data_set import Dataset
from stages.io.salient_maps import encode_grey
from stages.io.tables import INSTANCES, read_rows, write_table
from tests.stages.drawn_objects import OBJECTS, SIZE, mask_of, write_objects


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Of image a the first object is smaller, further out and surer; both have ranks already."""
    found = write_objects(tmp_path, monkeypatch, "instances_rank")
    rows = [row | {"score": 1 / row["instance_id"], "rank": 7} for row in
            read_rows(tmp_path / "objects.parquet", INSTANCES)]  # fmt: skip
    write_table(tmp_path / "objects.parquet", pd.DataFrame(rows), INSTANCES)
    return found


def ranks(data: Dataset, by: Ranker) -> dict[str, list[int]]:
    out = data.folder / "out"
    instances_rank(
        Params(), data, "train", data.folder / "objects.parquet", by, data.folder / "maps", out
    )
    found: dict[str, list[int]] = {}
    for row in read_rows(out / "instances.parquet", INSTANCES):
        found.setdefault(row["image_id"], []).append(row["rank"])
    return found


@pytest.mark.parametrize(
    ("by", "of_a"), [("area", [2, 1]), ("centrality", [2, 1]), ("score", [1, 2])]
)
def test_every_image_is_ranked_by_itself(data: Dataset, by: Ranker, of_a: list[int]) -> None:
    assert ranks(data, by) == {"a": of_a, "c": [1], "d": [1]}


def test_a_map_ranks_by_its_mean_and_every_image_needs_one(data: Dataset) -> None:
    grey = np.zeros(SIZE, np.uint8)
    grey[mask_of(OBJECTS[0][2])] = 90
    for name in "acd":
        write_bytes(data.folder / f"maps/{name}.png", encode_grey(grey))
    assert ranks(data, "maps")["a"] == [1, 2]
    assert sorted(ranks(data, "spectral")["a"]) == [1, 2]
    (data.folder / "maps/c.png").unlink()
    with pytest.raises(InputError, match=r"maps/c\.png: no such map; expected one of every image"):
        ranks(data, "maps")
