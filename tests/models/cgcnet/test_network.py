from typing import get_args

import pytest
import torch

from models.average_precision import mask_overlaps
from models.backbones import freeze_batch_norm
from models.cgcnet.network import (
    CGCNetSpec,
    MaskBranch,
    Refining,
    apart,
    cells_to_image,
    chosen_rois,
)
from models.detection import DetectorSizes, Targets, as_batch
from models.instance_views import mask_boxes

SIZES = DetectorSizes(16, 32, 16, 40, 16, 5, 0.5)


def built(refining):
    branch = MaskBranch(refining, 4, 8, 6, 0.5, 0.5)
    torch.manual_seed(0)
    return CGCNetSpec("mobilenet_v2", 1.0, SIZES, branch).build()


def objects(*boxes, size=64):
    masks = torch.zeros(len(boxes), size, size, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
    return Targets(mask_boxes(masks), torch.ones(len(boxes), dtype=torch.int64), masks)


@pytest.mark.parametrize("refining", get_args(Refining))
def test_every_way_of_refining_trains_and_finds(refining):
    network = built(refining)
    targets = [objects((8, 8, 30, 30), (34, 20, 60, 60)), objects()]
    batch = as_batch([torch.rand(3, 64, 64)] * 2, targets)
    terms = network(batch.images, batch.targets())
    assert set(terms) == {"proposals", "proposal_boxes", "classes", "boxes", "masks", "update"}
    assert terms["update"] <= 1e-5
    sum(terms.values()).backward()
    assert all(parameter.grad is not None for parameter in network.masks.parameters())
    network.eval()
    image = torch.rand(3, 50, 70)
    found = network.detect(image)
    assert found.masks.shape == (len(found.boxes), 50, 70)
    boxes = torch.tensor([[4.0, 4, 30, 30], [20, 10, 70, 50]])
    masks = network.masks_of(image, boxes)
    assert masks.shape == (2, 50, 70)
    assert masks[0, :, 31:].max() == masks[1, :9].max() == 0
    assert network.masks_of(image, boxes[:0]).shape == (0, 50, 70)


def test_the_branch_learns_to_tell_two_objects_of_overlapping_boxes():
    network = built("gfr")
    target = objects((4, 4, 34, 60), (30, 4, 60, 60))
    target.masks[0, 30:, 16:] = 0  # an L
    image = (0.3 + 0.5 * target.masks.any(dim=0).float()).expand(3, -1, -1)
    freeze_batch_norm(network.levels)
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    for _ in range(20):
        optimizer.zero_grad()
        network(image[None], [target])["masks"].backward()
        optimizer.step()
    masks = network.eval().masks_of(image, target.boxes)
    ious = mask_overlaps(masks.numpy() > 0.5, target.masks.numpy() > 0)
    assert ious.diagonal().min() > 0.6


def test_cells_stand_for_the_pixels_that_they_sample():
    cells = torch.zeros(1, 1, 4, 5)
    cells[0, 0, 2, 3] = 1
    for stride in (4, 8):
        pixels = cells_to_image(cells, stride, (4 * stride, 5 * stride))[0, 0]
        rows, columns = torch.meshgrid(*map(torch.arange, pixels.shape), indexing="ij")
        centre = [(pixels * place).sum() / pixels.sum() for place in (rows, columns)]
        assert torch.stack(centre).tolist() == pytest.approx([2 * stride, 3 * stride], abs=0.51)


def test_rois_are_the_objects_and_proposals_that_are_one_of_them():
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    proposals = torch.tensor([[1.0, 0, 11, 10], [5, 5, 25, 25], [20, 21, 30, 30]])
    rois, own = chosen_rois(proposals, boxes, 10)
    pairs = {(tuple(roi), index) for roi, index in zip(rois.tolist(), own.tolist(), strict=True)}
    assert pairs == {
        ((0, 0, 10, 10), 0), ((20, 20, 30, 30), 1), ((1, 0, 11, 10), 0), ((20, 21, 30, 30), 1)
    }  # fmt: skip
    assert len(chosen_rois(proposals, boxes, 3)[0]) == 3
    assert sorted(chosen_rois(proposals, boxes, 2)[1].tolist()) == [0, 1], "objects come first"


def test_of_masks_that_overlap_the_best_is_kept():
    masks = torch.zeros(3, 8, 8, dtype=torch.bool)
    masks[0, :4], masks[1, :5], masks[2, 5:] = True, True, True
    assert apart(masks, 0.7).tolist() == [0, 2]
    assert apart(masks, 0.9).tolist() == [0, 1, 2]
