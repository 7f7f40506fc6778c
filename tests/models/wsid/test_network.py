from typing import Any

import pytest
import torch

from models.wsid.network import Branches, WSIDSpec, on_cells
from tests.models.wsid.test_fusion import FUSION

FULL: dict[str, Any] = {
    "saliency_channels": 8, "rates": (1, 2), "channels": 4, "mixing": True, "mutual": "parallel",
    "enhancement": "both", "canny": (0.67, 1.33), "enhancement_channels": 4, "detached": True,
}  # fmt: skip
IRN = {"mixing": False, "mutual": "none", "enhancement": "none"}


def network(**changes):
    torch.manual_seed(0)
    return WSIDSpec("mobilenet_v2", 1.0, 16, 48, Branches(**(FULL | changes)), FUSION).build()


@pytest.mark.parametrize("changes", [{}, IRN, {"mixing": False}, {"mutual": "none"}])
def test_every_map_has_a_cell_per_four_pixels(changes):
    net = network(**changes).eval()
    with torch.no_grad():
        maps = net(torch.rand(2, 3, 35, 50))
    assert maps.saliency.shape == maps.boundaries.shape == (2, 9, 13)
    assert maps.offsets.shape == (2, 2, 9, 13)
    assert (net.mixing is None) == (not (FULL | changes)["mixing"])
    assert (net.reduced_apart is None) == (FULL | changes)["mixing"]


def test_only_the_saliency_branch_trains_the_backbone_where_the_others_are_detached():
    for detached in (True, False):
        net = network(detached=detached).eval()
        weight = next(net.pyramid.backbone.parameters())
        maps = net(torch.rand(1, 3, 32, 32))
        others = maps.boundaries.sum() + maps.offsets.sum()
        slope = torch.autograd.grad(others, weight, retain_graph=True, allow_unused=True)[0]
        assert (slope is None) == detached
        assert (torch.autograd.grad(maps.saliency.sum(), weight)[0] != 0).any()


def test_the_mean_of_the_offsets_is_taken_off():
    net = network()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        first = net.train()(images).offsets.mean((0, 2, 3))
        for _ in range(10):
            last = net(images).offsets.mean((0, 2, 3))
    assert (last.abs() < 0.6 * first.abs()).all()
    before = net.mean_offset.clone()
    net.eval()(images)
    assert torch.equal(before, net.mean_offset)


def test_features_are_read_where_the_backbone_sampled_the_image():
    ramp = torch.arange(0.0, 64.0)
    for stride in (2, 4, 8, 16):
        sampled = ramp[::stride].view(1, 1, 1, -1)  # feature j lies at pixel j * stride
        cells = on_cells(sampled, stride, (1, 16))[0, 0, 0]
        expected = torch.arange(16) * 4 + 1.5
        inside = expected <= ramp[::stride][-1]
        torch.testing.assert_close(cells[inside], expected[inside])


def test_instances_are_found_in_images_of_any_size():
    net = network().eval()
    spec = WSIDSpec("mobilenet_v2", 1.0, 16, 48, Branches(**FULL), FUSION)
    torch.nn.init.constant_(net.saliency[-1].bias, 4.0)  # all is salient
    for size in ((48, 36), (70, 100)):
        found = spec.detect(net, torch.rand(3, *size))
        assert found
        assert all(one.mask.shape == size and one.mask.any() for one in found)
        assert [one.score for one in found] == sorted([one.score for one in found], reverse=True)
