from pathlib import Path

import pandas as pd
import pytest

from stages.engine.errors import InputError
from stages.io.tables import CATEGORIES, INSTANCES, TAGS, read_rows, read_table, write_table

ROW = {
    "image_id": "a",
    "instance_id": 1,
    "category": 2,
    "x0": 0.5,
    "y0": 0.0,
    "x1": 4.25,
    "y1": 3.0,
    "area": 11.25,
    "is_crowd": False,
    "mask": None,
    "score": 1.0,
    "rank": None,
}


def test_rows_round_trip(tmp_path: Path) -> None:
    rows = [ROW, ROW | {"instance_id": 2, "mask": "abc", "is_crowd": True}]
    write_table(tmp_path / "t.parquet", pd.DataFrame(rows), INSTANCES)
    assert read_rows(tmp_path / "t.parquet", INSTANCES) == rows
    frame = read_table(tmp_path / "t.parquet", INSTANCES)
    assert list(frame.columns) == INSTANCES.names
    assert frame["instance_id"].tolist() == [1, 2]


def test_an_empty_table_keeps_its_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", pd.DataFrame([], columns=TAGS.names), TAGS)
    assert read_rows(tmp_path / "t.parquet", TAGS) == []
    assert list(read_table(tmp_path / "t.parquet", TAGS).columns) == TAGS.names


def test_the_same_rows_give_the_same_bytes_in_any_order_of_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame([ROW])
    write_table(tmp_path / "a.parquet", frame, INSTANCES)
    write_table(tmp_path / "b.parquet", frame[sorted(frame.columns)], INSTANCES)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_other_columns_and_types_are_refused_on_writing(tmp_path: Path) -> None:
    frame = pd.DataFrame({"category": [1], "name": ["cat"], "colour": ["red"]})
    with pytest.raises(ValueError, match=r"expected columns .*colour"):
        write_table(tmp_path / "t.parquet", frame, CATEGORIES)
    wrong = pd.DataFrame({"category": ["one"], "name": ["cat"]})
    with pytest.raises(ValueError, match="category"):
        write_table(tmp_path / "t.parquet", wrong, CATEGORIES)
    assert list(tmp_path.iterdir()) == []


def test_unreadable_tables_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with pytest.raises(InputError, match=r"t\.parquet: no such table"):
        read_table(path, TAGS)
    path.write_bytes(b"not parquet")
    with pytest.raises(InputError, match=r"t\.parquet: not a parquet table"):
        read_rows(path, TAGS)
    write_table(path, pd.DataFrame({"category": [1], "name": ["cat"]}), CATEGORIES)
    with pytest.raises(InputError, match=r"t\.parquet: expected columns \['image_id'"):
        read_table(path, TAGS)


def test_a_table_from_before_ranks_has_null_ranks(tmp_path: Path) -> None:
    old = INSTANCES.remove(INSTANCES.get_field_index("rank"))
    write_table(tmp_path / "t.parquet", pd.DataFrame([ROW]).drop(columns="rank"), old)
    assert read_rows(tmp_path / "t.parquet", INSTANCES) == [ROW]
    write_table(tmp_path / "t.parquet", pd.DataFrame([ROW]).drop(columns="rank"), INSTANCES)
    assert read_rows(tmp_path / "t.parquet", INSTANCES) == [ROW]
    ranked = [ROW | {"rank": 2}, ROW]
    write_table(tmp_path / "t.parquet", pd.DataFrame(ranked), INSTANCES)
    assert read_rows(tmp_path / "t.parquet", INSTANCES) == ranked


def test_a_column_of_another_type_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pd.DataFrame({"image_id": ["a"], "category": ["cat"]}).to_parquet(path)
    with pytest.raises(InputError, match=r"t\.parquet: expected the types of .*cat") as caught:
        read_rows(path, TAGS)
    assert "\n" not in str(caught.value)
