import pytest
import torch

from models.average_precision import mask_overlaps
from models.detection import Batch, DetectorSizes, Targets, as_batch, build_levels
from models.instance_views import filled_masks, instance_view, mask_boxes
from models.maskrcnn import MaskRCNNSpec

SIZES = DetectorSizes(
    pyramid=16, hidden=32, anchor=16, proposals=40, sampled=16, detections=5, overlap=0.5
)


def square(y, x, side, size=64):
    mask = torch.zeros(size, size, dtype=torch.uint8)
    mask[y : y + side, x : x + side] = 1
    return mask


def objects(*masks):
    stacked = torch.stack(masks)
    return Targets(mask_boxes(stacked), torch.arange(1, len(masks) + 1), stacked)


def pictured(targets):
    """A grey image on which each object is bright, uint8 (3, H, W)."""
    bright = targets.masks.any(dim=0).to(torch.uint8)
    return (60 + 150 * bright).expand(3, -1, -1).contiguous()


def test_a_batch_gives_back_the_objects_of_each_image():
    first, second = objects(square(3, 5, 20), square(30, 30, 9)), objects(square(1, 1, 4))
    batch = as_batch([torch.zeros(3, 64, 64)] * 2, [first, second])
    assert isinstance(batch, Batch)
    assert batch.labels.tolist() == [[1, 2], [1, 0]]
    for found, expected in zip(batch.targets(), (first, second), strict=True):
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other)


def test_boxes_and_filled_masks_are_each_others_inverse():
    boxes = torch.tensor([[3.0, 4, 10, 9], [0, 0, 64, 32]])
    assert torch.equal(mask_boxes(filled_masks(boxes.tolist(), (32, 64))), boxes)
    assert mask_boxes(torch.zeros(1, 4, 4)).tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("seed", range(6))
def test_a_view_moves_boxes_and_masks_with_the_image(seed):
    targets = objects(square(3, 5, 20), square(34, 34, 12))
    wider = targets._replace(boxes=targets.boxes + torch.tensor([-2.0, -2, 2, 2]))
    view, seen = instance_view(
        pictured(targets), wider, crop=64, factors=(1.0, 1.0), jitter=(0, 0, 0, 0),
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    assert torch.equal(view[0] > 0.5, seen.masks.any(dim=0))
    assert seen.labels.tolist() == [1, 2]
    margins = (seen.boxes - mask_boxes(seen.masks)).tolist()
    assert margins == [[-2, -2, 2, 2]] * 2


def test_what_a_crop_leaves_nothing_of_is_no_object():
    targets = objects(square(0, 0, 12), square(16, 16, 40))
    seen = [
        instance_view(
            pictured(targets), targets, crop=48, factors=(1.0, 1.0), jitter=(0, 0, 0, 0),
            generator=torch.Generator().manual_seed(seed),
        )[1]
        for seed in range(12)
    ]  # fmt: skip
    assert {len(one.labels) for one in seen} == {1, 2}
    for one in seen:
        assert (one.boxes[:, 2:] > one.boxes[:, :2]).all()
        assert one.masks.flatten(1).any(dim=1).all()


def test_it_learns_to_find_what_it_is_shown():
    torch.manual_seed(0)
    target = objects(square(8, 8, 24))
    image = pictured(target) / 255
    network = MaskRCNNSpec("resnet18", 1.0, 2, True, SIZES).build()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 0.5  # few steps
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    batch = as_batch([image] * 2, [target] * 2)
    for step in range(35):
        terms = network(batch.images, batch.targets())
        assert set(terms) == {"proposals", "proposal_boxes", "classes", "boxes", "masks"}
        optimizer.zero_grad()
        sum(terms.values()).backward()
        if step == 0:
            assert all(parameter.grad is not None for parameter in network.parameters())
        optimizer.step()
    found = network.eval().detect(image[:, :, :60])  # no multiple of 32
    assert found.masks.shape[1:] == (64, 60)
    assert found.boxes.max() <= 64
    iou = mask_overlaps(found.masks[:1].numpy() > 0.5, target.masks[:, :, :60].numpy() > 0)
    assert iou.max() > 0.5


def test_boxes_stay_exact_where_features_are_bfloat16():
    network = MaskRCNNSpec("resnet18", 1.0, 2, True, SIZES).build()
    seen = []
    network.heads.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    targets = objects(square(3, 5, 37, size=288))
    images = pictured(targets)[None] / 255
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(images, [targets])
    levels, proposals, _, given = seen[0]
    assert {level.dtype for level in levels.values()} == {torch.float32}
    assert proposals[0].dtype == torch.float32
    assert given[0]["boxes"].tolist() == [[5, 3, 42, 40]]


def test_a_backbone_without_the_strides_says_so():
    with pytest.raises(ValueError, match="output_stride: resnet38d has 8, got 32"):
        build_levels("resnet38d", 1.0, 8)
