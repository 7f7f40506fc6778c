"""The cells of an image: a coarse grid of squares, `stride` pixels wide.

Cell (i, j) covers pixels [i s, (i + 1) s) x [j s, (j + 1) s) and is centred on pixel
((i + 0.5) s - 0.5, (j + 0.5) s - 0.5); the last row and column may reach beyond the image.
"""

from collections.abc import Sequence

from models.ops.boxes import BoxTuple, pixel_box


def grid_size(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Rows and columns of cells: (ceil(H / stride), ceil(W / stride)).

    Args:
        size: (H, W) pixels.
        stride: pixels per cell.
    """
    return -(-size[0] // stride), -(-size[1] // stride)


def cells_near_boxes(
    boxes: Sequence[BoxTuple], size: tuple[int, int], stride: int, margin: int
) -> tuple[slice, slice]:
    """The window of cells that all boxes touch, and so many cells around it.

    Args:
        boxes: in pixels; at least one.
        size: (H, W) pixels.
        stride: pixels per cell.
        margin: cells on each side, as far as the grid goes.

    Returns:
        Its rows and its columns.
    """
    corners = [pixel_box(box, size) for box in boxes]
    height, width = grid_size(size, stride)
    left, top, _, _ = (min(side) // stride - margin for side in zip(*corners, strict=True))
    _, _, right, bottom = (-(-max(side) // stride) + margin for side in zip(*corners, strict=True))
    return slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
