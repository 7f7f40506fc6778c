import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.ops.grid import grid_size

SIDES = st.integers(1, 70)


@given(SIDES, SIDES, st.integers(1, 20))
def test_the_cells_cover_every_pixel_and_each_holds_one(
    height: int, width: int, stride: int
) -> None:
    rows, columns = np.arange(height) // stride, np.arange(width) // stride
    assert grid_size((height, width), stride) == (len(set(rows)), len(set(columns)))
