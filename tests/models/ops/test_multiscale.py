import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.ops.multiscale import multiscale_cams, stretched
from tests.reference.multiscale import multiscale_reference

WEIGHTS = torch.randn(2, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def class_maps(images: Tensor) -> Tensor:
    """Mean colour of each 4-pixel cell (edges repeated), times signed weights."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (0, -width % 4, 0, -height % 4), mode="replicate")
    return torch.einsum("ck,bkhw->bchw", WEIGHTS.to(images), F.avg_pool2d(padded, 4))


@settings(deadline=None, max_examples=15, derandomize=True)
@given(
    height=st.integers(8, 23),
    width=st.integers(8, 23),
    stride=st.integers(1, 5),
    scales=st.lists(st.sampled_from([0.5, 0.75, 1.0, 1.6]), min_size=1, max_size=3),
    flip=st.booleans(),
)
def test_agrees_with_the_reference(
    height: int, width: int, stride: int, scales: list[float], flip: bool
) -> None:
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0)).double()
    found = multiscale_cams(
        class_maps, image, scales=scales, flip=flip, source_stride=4, stride=stride
    )
    expected = multiscale_reference(class_maps, image, scales, flip, 4, stride)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_maps_of_the_mirrored_image_are_the_mirrored_maps() -> None:
    image = torch.rand(3, 24, 40, generator=torch.Generator().manual_seed(1))
    scales = (1.0, 0.5, 1.3)
    both = [
        multiscale_cams(class_maps, view, scales=scales, flip=True, source_stride=4, stride=4)
        for view in (image, image.flip(-1))
    ]
    torch.testing.assert_close(both[1], both[0].flip(-1))


def test_every_class_with_evidence_reaches_its_maximum_and_no_minimum_is_taken_off() -> None:
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(2))
    floor = 5.0
    cams = multiscale_cams(
        lambda images: torch.cat([class_maps(images) * 0 - 1, class_maps(images) + floor], 1),
        image,
        scales=(1.0,),
        flip=False,
        source_stride=4,
        stride=4,
    )
    assert (cams[:2] == 0).all()
    assert cams[2:].amax((1, 2)).numpy() == pytest.approx([1, 1], abs=1e-5)
    assert (cams[2:].amin((1, 2)) > 0.5).all()


def test_stretched_maps_lie_between_their_own_least_and_greatest() -> None:
    maps = torch.tensor([[[1.0, 3.0, 2.0]], [[-4.0, -1.0, 2.0]], [[5.0, 5.0, 5.0]]])
    expected = torch.tensor([[[0, 1, 0.5]], [[0, 0, 1]], [[0, 0, 0]]])
    torch.testing.assert_close(stretched(maps), expected, atol=2e-5, rtol=0)
