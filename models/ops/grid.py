"""The cells of an image: a coarse grid of squares, `stride` pixels wide.

Cell (i, j) covers pixels [i s, (i + 1) s) x [j s, (j + 1) s) and is centred on pixel
((i + 0.5) s - 0.5, (j + 0.5) s - 0.5); the last row and column may reach beyond the image.
"""


def grid_size(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Rows and columns of cells: (ceil(H / stride), ceil(W / stride)).

    Args:
        size: (H, W) pixels.
        stride: pixels per cell.
    """
    return -(-size[0] // stride), -(-size[1] // stride)
