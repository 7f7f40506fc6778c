from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from models.backbones import build_backbone
from models.cam import tag_loss
from models.seam import (
    SeamClassifier,
    SeamView,
    correlation_scores,
    pixel_correlation,
    resize_maps,
    seam_losses,
)
from tests.reference import seam as reference
from tests.reference.multiscale import read_at


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def view_of(maps: Tensor, refined: Tensor) -> SeamView:
    return SeamView(maps.mean((2, 3)), maps, refined)


def drawn_views(seed: int = 0) -> tuple[SeamView, SeamView, Tensor]:
    views = [
        view_of(drawn(2, 3, 4, 3, seed=seed + k), drawn(2, 4, 4, 3, seed=seed + 5 + k).sigmoid())
        for k in (1, 2)
    ]
    return views[0], views[1], torch.tensor([[1.0, 0, 1], [0, 1, 1]], dtype=torch.float64)


@pytest.fixture(scope="module")
def network() -> SeamClassifier:
    torch.manual_seed(0)
    return SeamClassifier(build_backbone("resnet38d", output_stride=8, width=1 / 16), 3, dropout=0)


@pytest.mark.parametrize("seed", range(3))
def test_correlation_is_that_of_the_whole_table(seed: int) -> None:
    scores = drawn(2, 3, 4, 5, seed=seed).requires_grad_()
    embedding = drawn(2, 6, 4, 5, seed=seed + 9).requires_grad_()
    found = pixel_correlation(scores, embedding)
    expected = reference.pixel_correlation(scores, embedding)
    torch.testing.assert_close(found, expected)
    direction = drawn(2, 3, 4, 5, seed=seed + 20)
    own = torch.autograd.grad((found * direction).sum(), (scores, embedding))
    theirs = torch.autograd.grad((expected * direction).sum(), (scores, embedding))
    torch.testing.assert_close(own, theirs)
    with torch.no_grad():
        torch.testing.assert_close(pixel_correlation(scores, embedding), expected)


def test_what_is_spread_is_the_strongest_class_and_the_background() -> None:
    maps = drawn(2, 3, 4, 5)
    maps[0, 1] = -maps[0, 1].abs()  # a class without evidence
    torch.testing.assert_close(correlation_scores(maps), reference.correlation_scores(maps))


def test_alike_cells_share_their_scores_and_others_do_not() -> None:
    scores = torch.tensor([1.0, 0, 0, 0]).view(1, 1, 1, 4)
    embedding = torch.tensor([[1.0, 2, 0, 0], [0, 0, 1, 3]]).view(1, 2, 1, 4)
    expected = torch.tensor([0.5, 0.5, 0, 0]).view(1, 1, 1, 4)
    torch.testing.assert_close(pixel_correlation(scores, embedding), expected, atol=1e-4, rtol=0)


class LiveTables(TorchDispatchMode):
    """Counts the N x N tables that are alive at once."""

    def __init__(self, nodes: int) -> None:
        super().__init__()
        self.nodes = nodes
        self.most = 0
        self.seen: list[StorageWeakRef] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.shape == (self.nodes, self.nodes):
            self.seen.append(StorageWeakRef(result.untyped_storage()))
        self.most = max(self.most, self.alive())
        return result

    def alive(self) -> int:
        return len({ref.cdata for ref in self.seen if not ref.expired()})


def test_tables_of_pairs_live_no_longer_than_one_image_needs_them() -> None:
    most = []
    for images in (1, 4):
        scores, embedding = drawn(images, 2, 9, 9), drawn(images, 4, 9, 9).requires_grad_()
        with LiveTables(81) as tables:
            result = pixel_correlation(scores, embedding)
            assert tables.alive() == 0, "nothing waits for the backward pass"
            result.sum().backward()
        most.append(tables.most)
    assert 0 < most[1] == most[0]


@pytest.mark.parametrize("seed", range(3))
def test_losses_are_those_of_loops_over_the_cells(seed: int) -> None:
    first, second, tags = drawn_views(seed)
    inputs = [*first[1:], *second[1:]]
    for part in inputs:
        part.requires_grad_()
    found = seam_losses(first, second, tags, share=0.2, min_pool=True)
    expected = reference.losses(first[1:], second[1:], tags, 0.2)
    torch.testing.assert_close(found, expected)
    for name, value in found.items():
        own = torch.autograd.grad(value, inputs, allow_unused=True, materialize_grads=True)
        theirs = torch.autograd.grad(
            expected[name], inputs, allow_unused=True, materialize_grads=True, retain_graph=True
        )
        torch.testing.assert_close(own, theirs, msg=name)


def test_the_pooling_term_is_there_only_when_asked_for() -> None:
    views = drawn_views()
    assert list(seam_losses(*views, share=0.2, min_pool=False)) == ["equivariance", "cross"]


def test_maps_that_are_resized_with_the_image_cost_nothing() -> None:
    first, _, tags = drawn_views()
    maps = first.maps.repeat_interleave(4, 2).repeat_interleave(4, 3)  # [2, 3, 16, 12]
    smaller = resize_maps(maps, (64, 48), (32, 24), 4)
    other = view_of(smaller, torch.rand(2, 4, 8, 6, dtype=torch.float64))
    resized = view_of(resize_maps(maps, (64, 48), (32, 24), 4), other.refined)
    assert seam_losses(resized, other, tags, share=0.2, min_pool=False)["equivariance"] == 0
    moved = view_of(smaller.roll(2, 3), other.refined)
    assert seam_losses(resized, moved, tags, share=0.2, min_pool=False)["equivariance"] > 0.05


def test_maps_are_read_where_the_cells_of_the_smaller_image_lie() -> None:
    maps = drawn(1, 2, 5, 7)
    size, smaller, stride = (37, 50), (11, 15), 8
    found = resize_maps(maps, size, smaller, stride)
    assert found.shape == (1, 2, 2, 2)
    for i in range(2):
        for j in range(2):
            y, x = (i + 0.5) * stride * 37 / 11, (j + 0.5) * stride * 50 / 15
            expected = [read_at(one, y, x, stride) for one in maps[0].numpy()]
            assert found[0, :, i, j].tolist() == pytest.approx(expected)


def losses_of(network: SeamClassifier) -> dict[str, Tensor]:
    torch.manual_seed(1)
    images, tags = torch.rand(2, 3, 48, 40), torch.tensor([[1.0, 0, 1], [1, 1, 0]])
    first, second = network(images, 0.5)
    tag_terms = tag_loss(first.logits, tags) + tag_loss(second.logits, tags)
    return {"tags": tag_terms, **seam_losses(first, second, tags, share=0.2, min_pool=True)}


@pytest.mark.parametrize(
    ("term", "learns"),
    [
        ("tags", {"backbone", "head"}),
        ("equivariance", {"backbone", "head"}),
        ("cross", {"embedding"}),
        ("min_pool", {"embedding"}),
    ],
)
def test_each_loss_reaches_its_own_part_of_the_network(
    network: SeamClassifier, term: str, learns: set[str]
) -> None:
    network.zero_grad()
    network.train()
    losses_of(network)[term].backward()
    reached = {
        name.split(".")[0]
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
    assert reached == learns


def test_both_views_have_their_maps_on_the_cells_of_the_smaller_image(
    network: SeamClassifier,
) -> None:
    network.eval()
    images = torch.rand(2, 3, 50, 70)
    with torch.no_grad():
        whole = network.view(images)
        first, second = network(images, 0.3)
        assert (whole.maps.shape, whole.refined.shape) == ((2, 3, 7, 9), (2, 4, 7, 9))
        for view in (first, second):
            assert (view.maps.shape, view.refined.shape) == ((2, 3, 2, 3), (2, 4, 2, 3))
        expected = resize_maps(whole.maps, (50, 70), (15, 21), 8)
        torch.testing.assert_close(first.maps, expected)
        torch.testing.assert_close(first.logits, whole.maps.mean((2, 3)))
        torch.testing.assert_close(network.logits(images), first.logits)
        torch.testing.assert_close(network.class_maps(images), whole.refined[:, 1:])


def test_refined_maps_are_the_same_in_training_and_without_gradients(
    network: SeamClassifier,
) -> None:
    network.eval()
    images = torch.rand(1, 3, 40, 40)
    with torch.no_grad():
        expected: Any = network.view(images)
    torch.testing.assert_close(tuple(network.view(images)), tuple(expected))
