"""How the rows of benchmarks/ablation_wsid.py are measured."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.ablation_wsid import COLUMNS, ROWS, measure
from stages.engine.files import write_bytes
from stages.io.label_maps import encode_rle
from stages.io.salient_maps import encode_region
from stages.io.tables import CATEGORIES, COUNTS, IMAGES, INSTANCES, write_table


def row_of(image: str, number: int, top: int, height: int) -> dict[str, object]:
    mask = np.zeros((24, 9), dtype=bool)
    mask[top : top + height] = True
    return {
        "image_id": image, "instance_id": number, "category": 1, "x0": 0, "y0": top, "x1": 9,
        "y1": top + height, "area": 9 * height, "is_crowd": False, "mask": encode_rle(mask),
        "score": 0.9,
    }  # fmt: skip


def test_instances_are_measured_by_their_masks_and_their_number(tmp_path: Path) -> None:
    made = tmp_path / "data/dataset"
    image = {"split": "val", "file": "v.png", "width": 9, "height": 24, "md5": ""}
    images = [image | {"image_id": name} for name in "vw"]
    write_table(made / "images.parquet", pd.DataFrame(images), IMAGES)
    names = pd.DataFrame({"category": [1], "name": ["cat"]})
    write_table(made / "categories.parquet", names, CATEGORIES)
    counts = pd.DataFrame([("v", 2), ("w", 1)], columns=COUNTS.names)
    write_table(made / "counts.parquet", counts, COUNTS)
    truth = pd.DataFrame([row_of("v", 1, 0, 6), row_of("v", 2, 10, 6), row_of("w", 3, 0, 10)])
    write_table(made / "instances.parquet", truth.assign(mask=None), INSTANCES)
    write_table(made / "ground_truth/instances.parquet", truth, INSTANCES)
    for name in "vw":
        write_bytes(made / f"regions/{name}.png", encode_region(np.ones((24, 9), dtype=bool)))
    found = pd.DataFrame(
        [row_of("v", 1, 0, 6), row_of("v", 2, 10, 6), row_of("v", 3, 18, 3), row_of("w", 4, 0, 6)]
    )
    write_table(tmp_path / "data" / ROWS[0].source, found, INSTANCES)
    measured = measure(tmp_path, ROWS[0])
    assert list(measured) == list(COLUMNS)
    assert measured["AP50"] > measured["AP70"] > 0  # the last one has an IoU of 0.6
    assert measured["count error"] == pytest.approx(50)
