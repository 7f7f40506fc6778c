import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.ops.grid import cells_near_boxes, grid_size
from tests.reference.seeds import inside

SIDES = st.integers(1, 70)


@given(SIDES, SIDES, st.integers(1, 20))
def test_the_cells_cover_every_pixel_and_each_holds_one(
    height: int, width: int, stride: int
) -> None:
    rows, columns = np.arange(height) // stride, np.arange(width) // stride
    assert grid_size((height, width), stride) == (len(set(rows)), len(set(columns)))


@given(st.integers(0, 2**16), st.integers(1, 9), st.integers(0, 3))
def test_a_window_holds_the_cells_that_boxes_touch_and_a_margin(
    seed: int, stride: int, margin: int
) -> None:
    generator = np.random.default_rng(seed)
    size = (int(generator.integers(1, 40)), int(generator.integers(1, 40)))
    sides = [np.sort(generator.uniform(0, side, (2, 2)), axis=1) for side in size]
    boxes = [
        (float(x[0]), float(y[0]), float(x[1]), float(y[1])) for y, x in zip(*sides, strict=True)
    ]
    touched = [
        (row // stride, column // stride)
        for row, column in np.ndindex(size)
        if any(inside(box, row, column) for box in boxes)
    ]
    grid = grid_size(size, stride)
    window = cells_near_boxes(boxes, size, stride, margin)
    for side, found in enumerate(window):
        cells = [cell[side] for cell in touched]
        assert found.start == max(min(cells) - margin, 0)
        assert found.stop == min(max(cells) + 1 + margin, grid[side])
