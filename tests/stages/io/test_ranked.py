"""Ranked instances and fixations, drawn."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.io.label_maps import encode_rle
from stages.io.ranked import (
    COLOURS,
    dot_layer,
    number_layer,
    picture_of_rows,
    places_of_image,
    rank_colour,
)
from stages.io.tables import FIXATIONS, write_table

SIZE = (40, 60)


def test_dots_lie_on_what_was_looked_at_and_of_that_image_alone(tmp_path: Path) -> None:
    rows = [("a", "s", 5.9, 7.2, 0.0), ("b", "s", 30.0, 30.0, 0.0), ("a", "t", 59.0, 39.0, None)]
    table = tmp_path / "fixations.parquet"
    write_table(table, pd.DataFrame(rows, columns=FIXATIONS.names), FIXATIONS)
    places = places_of_image(table, "a")
    assert places.tolist() == [[5, 7], [59, 39]]
    drawn = dot_layer(SIZE, places)
    assert drawn[7, 5].tolist() == [255] * 4
    assert drawn[39, 59, 3] == 255
    assert drawn[30, 30, 3] == 0
    assert 0 < (drawn[..., 3] > 0).mean() < 0.05


def test_instances_have_the_colours_and_the_numbers_of_their_ranks() -> None:
    mask = np.zeros(SIZE, bool)
    mask[2:38, 2:28] = True
    numbers = number_layer([mask], [3])
    rows, columns = np.nonzero(numbers[..., 3])
    assert abs(rows.mean() - 20) < 4
    assert abs(columns.mean() - 15) < 4
    image = np.full((*SIZE, 3), 100, np.uint8)
    shown = [{"mask": encode_rle(mask), "rank": 9}, {"mask": encode_rle(~mask), "rank": None}]
    picture = picture_of_rows(image, shown)
    assert np.abs(picture[3, 3] - (55 + 0.45 * np.array(COLOURS[-1]))).max() < 1
    assert picture[3, 50].tolist() == [75] * 3
    assert rank_colour(1) == COLOURS[0]
