from functools import partial

import pytest
import torch
from torch import Tensor

from models.boxmask.losses import pairwise_loss, projection_loss, teacher_loss
from tests.reference import box_masks as reference

SHAPE = (2, 5, 6)


def drawn(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, a map in [0, 1], colours of which some are alike, and the inside of a box."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    share = torch.rand(SHAPE, generator=generator, dtype=torch.float64)
    colours = torch.rand(2, 3, 5, 6, generator=generator, dtype=torch.float64).round()
    inside = torch.zeros(SHAPE, dtype=torch.float64)
    inside[0, 1:4, 2:5] = 1
    inside[1, 0:2, 0:3] = 0.7
    return logits, share, colours, inside


@pytest.mark.parametrize("seed", range(3))
def test_losses_are_those_of_the_loops(seed: int) -> None:
    logits, share, colours, inside = drawn(seed)
    weight = share.flip(0)
    arrays = [tensor.numpy() for tensor in (logits, share, weight, colours, inside)]
    own, target, worth, colour, box = arrays
    assert teacher_loss(logits, share, weight).item() == pytest.approx(
        reference.teacher_loss(own, target, worth)
    )
    assert projection_loss(logits, inside).item() == pytest.approx(
        reference.projection_loss(own, box)
    )
    # each pair is met from both of its ends in the loops, which leaves the mean
    assert pairwise_loss(logits, colours, inside, 0.1).item() == pytest.approx(
        reference.pairwise_loss(own, colour, box, 0.1)
    )


def test_gradients_are_right() -> None:
    logits, share, colours, inside = drawn(0)
    logits.requires_grad_(True)
    for loss in (
        partial(teacher_loss, target=share, weight=share.flip(0)),
        partial(projection_loss, inside=inside),
        partial(pairwise_loss, colours=colours, inside=inside, closeness=0.1),
    ):
        assert torch.autograd.gradcheck(loss, (logits,))


def test_what_nobody_knows_costs_nothing_and_is_no_nan() -> None:
    logits = torch.randn(SHAPE, requires_grad=True)
    nothing = torch.zeros(SHAPE)
    colours = torch.rand(2, 3, 5, 6)
    found = teacher_loss(logits, nothing, nothing) + pairwise_loss(logits, colours, nothing, 0.1)
    found.backward()  # type: ignore[no-untyped-call]
    assert found.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, nothing)


def test_a_mask_that_touches_all_sides_of_its_box_projects_without_loss() -> None:
    inside = torch.zeros(1, 6, 6)
    inside[:, 1:5, 1:5] = 1
    cross = torch.full((1, 6, 6), -50.0)
    cross[:, 1:5, 2] = cross[:, 3, 1:5] = 50.0
    assert projection_loss(cross, inside).item() == pytest.approx(0, abs=1e-5)
    short = cross.clone()
    short[:, 1] = -50.0
    assert projection_loss(short, inside).item() > 0.1
