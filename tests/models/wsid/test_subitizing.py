import numpy as np
import pytest
import torch

from models.wsid.centroids import follow_offsets
from models.wsid.subitizing import (
    Counting,
    count_directions,
    count_errors,
    counted_clusters,
    subitizing_loss,
)
from tests.models.wsid.test_centroids import two_objects

COUNTING = Counting(look_ups=50, short=2.5, least_area=0.01)
SALIENT = torch.zeros(1, 9, 14, dtype=torch.bool)
SALIENT[:, 2:7, 1:13] = True


def one_object():
    rows, columns = torch.meshgrid(
        torch.arange(9, dtype=torch.float64), torch.arange(14, dtype=torch.float64), indexing="ij"
    )
    return torch.stack([4 - rows, 6.5 - columns])


def gradient(field, count, salient=SALIENT):
    offsets = field[None].clone().requires_grad_()
    loss, found = subitizing_loss(offsets, salient, torch.tensor([count]), COUNTING)
    loss.backward()
    return loss.item(), int(found[0]), offsets.grad[0]


def spread(field, slope):
    """How far apart the salient cells' ends lie along x after a step down the gradient."""
    step = 3 / slope.abs().max()  # three cells at most
    ends = (field - step * slope)[1] + torch.arange(14, dtype=torch.float64)
    return ends[SALIENT[0]].std().item()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_the_loss_is_the_squared_error_of_the_number(count):
    loss, found, _ = gradient(two_objects(), count)
    assert found == 2
    assert loss == pytest.approx((2 - count) ** 2)


def test_too_many_draw_the_ends_together_and_too_few_apart():
    _, found, slope = gradient(two_objects(), 1)
    assert found == 2
    assert spread(two_objects(), slope) < spread(two_objects(), 0 * slope + 1e-30) - 1
    _, found, slope = gradient(one_object(), 2)
    assert found == 1
    assert spread(one_object(), slope) > spread(one_object(), 0 * slope + 1e-30) + 1


def test_the_two_errors_push_in_opposite_directions():
    """Left of the middle: one too many pushes right, to the joint centre; one too few left."""
    _, _, joining = gradient(two_objects(), 1)
    _, _, cutting = gradient(one_object(), 2)
    left = SALIENT[0].clone()
    left[:, 7:] = False
    assert (joining[1][left] < 0).all()  # a step down the gradient moves it to the right
    assert (cutting[1][left] > 0).all()
    right = SALIENT[0] & ~left
    assert (joining[1][right] > 0).all()
    assert (cutting[1][right] < 0).all()


def test_the_gradient_is_the_declared_one_and_outside_of_the_salient_region_there_is_none():
    field = two_objects()
    _, _, slope = gradient(field, 1)
    ends = follow_offsets(field[None])[0].numpy()
    clusters = (np.arange(14) > 6.5).astype(np.int64)[None].repeat(9, 0)
    inside = SALIENT[0].numpy()
    directions = count_directions(ends, clusters, inside, [0, 1], 1)
    expected = 2 * (2 - 1) / inside.sum() * directions
    np.testing.assert_allclose(slope.numpy(), expected, atol=1e-15)
    assert (slope[:, ~SALIENT[0]] == 0).all()
    assert (np.linalg.norm(slope.numpy(), axis=0) <= 2 / inside.sum() + 1e-12).all()


def test_nothing_moves_where_the_number_is_right_or_not_known_or_none():
    assert (gradient(two_objects(), 2)[2] == 0).all()
    assert (gradient(two_objects(), 0)[2] == 0).all()
    loss, found, slope = gradient(two_objects(), -1)
    assert (loss, found) == (0, -1)
    assert (slope == 0).all()
    assert (gradient(two_objects(), 3, torch.zeros_like(SALIENT))[2] == 0).all()


def test_steps_down_the_gradient_bring_the_number_to_the_true_one():
    for start, count in ((two_objects(), 1), (one_object(), 2)):
        field = start.clone()
        for _ in range(40):
            loss, _, slope = gradient(field, count)
            if loss == 0:
                break
            field -= 20 * slope
        assert loss == 0


def test_only_clusters_whose_salient_part_is_large_enough_count():
    clusters = np.array([[0, 0, 0, 0], [1, 1, 2, 3]])
    salient = np.array([[1, 0, 0, 0], [1, 1, 1, 0]], dtype=bool)
    assert counted_clusters(clusters, salient, 0.0) == [0, 1, 2]
    assert counted_clusters(clusters, salient, 0.2) == [1]


def test_errors_are_of_the_images_whose_number_is_known():
    found = {"a": 3, "b": 1, "c": 7}
    assert count_errors(found, {"a": 1, "b": 2}) == {"count_error": 1.5, "count_bias": 0.5}
    assert count_errors(found, {"d": 1}) == {}
