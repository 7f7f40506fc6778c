import numpy as np
import torch

from models.a2gnn.superpixels import superpixel_cells, superpixel_means


def test_every_cell_gets_the_mean_of_its_superpixel() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)
    superpixels = torch.randint(0, 6, (4, 5), generator=generator)
    found = superpixel_means(maps, superpixels)
    for row in range(4):
        for column in range(5):
            own = superpixels == superpixels[row, column]
            torch.testing.assert_close(found[:, row, column], maps[:, own].mean(1))


def test_superpixels_keep_to_the_edges_of_the_image() -> None:
    image = np.full((64, 80, 3), 30, dtype=np.uint8)
    image[:, 43:] = (200, 120, 40)
    cells = superpixel_cells(image, 8)
    assert cells.shape == (8, 10)
    left, right = (set(part.flatten().tolist()) for part in (cells[:, :5], cells[:, 6:]))
    assert not left & right
    assert 10 <= len(left | right) <= 30
