from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.engine.errors import InputError
from stages.io.box_masks import BoxMask, fills_its_box, read_box_masks
from stages.io.label_maps import encode_rle
from stages.io.tables import INSTANCES, write_table

SIZE = (6, 8)


def row(image_id: str, number: int, mask: str | None) -> dict[str, Any]:
    return {"image_id": image_id, "instance_id": number, "category": 3, "x0": 1.5, "y0": 2.0,
            "x1": 5.0, "y1": 5.5, "area": 4.0, "is_crowd": False, "mask": mask,
            "score": 1.0}  # fmt: skip


def test_every_image_has_its_boxes_in_the_order_of_the_table(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    masks = [generator.random(SIZE) < 0.5 for _ in range(3)]
    texts = [encode_rle(mask) for mask in masks]
    rows = [row("b", 7, texts[0]), row("a", 3, texts[1]), row("b", 5, texts[2])]
    write_table(tmp_path / "table.parquet", pd.DataFrame(rows), INSTANCES)
    found = read_box_masks(tmp_path / "table.parquet")
    assert {name: [number for number, _ in own] for name, own in found.items()} == {
        "b": [7, 5],
        "a": [3],
    }
    assert found["a"][0][1] == BoxMask(3, (1.5, 2.0, 5.0, 5.5), texts[1])
    for (_, box), mask in zip(found["b"], (masks[0], masks[2]), strict=True):
        np.testing.assert_array_equal(box.decode(SIZE), mask)


def test_a_box_without_a_mask_is_named(tmp_path: Path) -> None:
    write_table(tmp_path / "table.parquet", pd.DataFrame([row("b", 7, None)]), INSTANCES)
    with pytest.raises(InputError, match=r"table\.parquet: instance 7 of image b: mask: expected"):
        read_box_masks(tmp_path / "table.parquet")


def test_a_mask_fills_its_box_when_no_pixel_that_the_box_touches_is_left_out() -> None:
    mask = np.zeros(SIZE, bool)
    mask[2:6, 1:5] = True
    corners = (1.5, 2.0, 5.0, 5.5)
    assert fills_its_box(mask, corners)
    mask[5, 4] = False
    assert not fills_its_box(mask, corners)
