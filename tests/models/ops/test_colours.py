import torch

from models.ops.colours import cell_colours


def test_cell_colours_are_the_image_at_the_centres_of_its_cells() -> None:
    ramp = torch.arange(20, dtype=torch.float64).view(1, 1, 1, 20).expand(1, 3, 16, 20) / 20
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(3, 1, 1)
    cells = cell_colours(ramp, 8) * std + mean
    assert cells.shape == (1, 3, 2, 3)
    torch.testing.assert_close(cells[0, 0, 0], torch.tensor([3.5, 11.5, 19.0]).double() / 20)
