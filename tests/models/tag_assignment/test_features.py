import numpy as np
import pytest
import torch

from models.ops.colours import MEAN_COLOUR
from models.tag_assignment.features import FeatureSpec
from models.tag_assignment.painting import painted
from tests.reference.tag_assignment import painted_map


def test_a_crop_is_the_box_and_around_a_mask_the_mean_colour() -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    mask = np.zeros((20, 30), dtype=bool)
    mask[4:12, 6:10] = True
    box = (6.0, 4.0, 14.0, 12.0)
    crop = FeatureSpec("resnet18", 1.0, 32, 8, masked=False).crop(image, mask, box)
    np.testing.assert_array_equal(crop, image[4:12, 6:14])
    crop = FeatureSpec("resnet18", 1.0, 32, 8, masked=True).crop(image, mask, box)
    np.testing.assert_array_equal(crop[:, :4], image[4:12, 6:10])
    mean = np.rint(np.array(MEAN_COLOUR) * 255)
    np.testing.assert_array_equal(crop[:, 4:], np.broadcast_to(mean, (8, 4, 3)))


@pytest.mark.parametrize(("backbone", "channels"), [("resnet18", 512), ("mobilenet_v2", 320)])
def test_a_feature_is_the_mean_of_the_deepest_cells(backbone: str, channels: int) -> None:
    network = FeatureSpec(backbone, 1.0, 16, 32, masked=False).build().eval()
    crops = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        features, cells = network(crops), network.backbone(crops)[2]
    assert features.shape == (2, channels) == (2, network.channels)
    torch.testing.assert_close(features, cells.flatten(2).mean(2))


@pytest.mark.parametrize("seed", range(10))
def test_smaller_instances_lie_on_top_and_rejected_ones_are_unknown(seed: int) -> None:
    generator = np.random.default_rng(seed)
    masks = list(generator.random((5, 6, 7)) < generator.random((5, 1, 1)))
    labels = generator.integers(0, 4, 5).tolist()
    np.testing.assert_array_equal(
        painted(masks, labels, (6, 7)), painted_map(masks, labels, (6, 7))
    )


def test_where_nothing_has_a_name_nothing_is_known() -> None:
    assert (painted([], [], (3, 4)) == 255).all()
    assert (painted([np.eye(4, dtype=bool)], [0], (4, 4)) == 255).all()
