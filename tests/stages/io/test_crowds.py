from pathlib import Path

import numpy as np
import pandas as pd

from stages.io.crowds import crowd_region
from stages.io.data_set import Crowd, crowds_by_image
from stages.io.label_maps import encode_rle
from stages.io.tables import INSTANCES, write_table

SIZE = (20, 30)


def test_crowds_are_grouped_and_single_objects_left_out(tmp_path: Path) -> None:
    row = {"x0": 1.0, "y0": 2.0, "x1": 3.0, "y1": 4.0, "area": 4.0, "mask": None, "score": 1.0}
    rows = [
        row | {"image_id": name, "instance_id": number, "category": 3, "is_crowd": crowd}
        for number, (name, crowd) in enumerate([("b", True), ("a", False), ("b", True)])
    ]
    rows[2]["mask"] = encode_rle(np.ones(SIZE, bool))
    write_table(tmp_path / "t.parquet", pd.DataFrame(rows), INSTANCES)
    crowds = crowds_by_image(tmp_path / "t.parquet")
    assert crowds == {"b": (Crowd((1, 2, 3, 4), None), Crowd((1, 2, 3, 4), rows[2]["mask"]))}


def test_the_region_is_the_outline_and_else_the_box() -> None:
    outline = np.random.default_rng(0).random(SIZE) < 0.1
    box = np.zeros(SIZE, bool)
    box[2:8, 3:9] = True
    outlined = Crowd((0, 0, 30, 20), encode_rle(outline))
    boxed = Crowd((3.2, 2.0, 8.7, 8.0), None)
    np.testing.assert_array_equal(crowd_region([outlined], SIZE), outline)
    np.testing.assert_array_equal(crowd_region([boxed], SIZE), box)
    np.testing.assert_array_equal(crowd_region([outlined, boxed], SIZE), outline | box)
    assert not crowd_region([], SIZE).any()
