import pytest
import torch

from models.wsid.attention import LevelMixing, MutualAttention, shuffle_channels
from tests.reference import wsid as reference


def test_channels_are_shuffled_by_groups():
    joined = torch.arange(20.0).view(1, 20, 1, 1)
    found = shuffle_channels(joined, 5).flatten().tolist()
    assert found == reference.shuffled([float(n) for n in range(20)], 5)
    assert found[:5] == [0, 4, 8, 12, 16]


def test_every_level_sees_every_other():
    torch.manual_seed(0)
    mixing = LevelMixing(5, 4).double()
    maps = [torch.rand(1, 4, 3, 3, dtype=torch.float64, requires_grad=True) for _ in range(5)]
    for found in mixing(maps):
        assert found.shape == (1, 4, 3, 3)
        assert all((slope != 0).any() for slope in torch.autograd.grad(found.sum(), maps))


@pytest.mark.parametrize("connection", ["parallel", "channel_first", "spatial_first"])
def test_attention_weighs_channels_and_places_as_equation_7_says(connection):
    torch.manual_seed(0)
    unit = MutualAttention(8, connection).double()
    features = torch.rand(2, 8, 4, 5, dtype=torch.float64)
    if connection == "parallel":
        expected = features * unit.channel(features) + features * unit.spatial(features)
    elif connection == "channel_first":
        once = features * unit.channel(features)
        expected = once * unit.spatial(once)
    else:
        once = features * unit.spatial(features)
        expected = once * unit.channel(once)
    torch.testing.assert_close(unit(features), expected)
    assert unit.channel(features).shape == (2, 8, 1, 1)
    assert unit.spatial(features).shape == (2, 1, 4, 5)
    small = torch.rand(1, 8, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit, small)
