"""Measures of ranking against the letter of their definitions."""

import math

import numpy as np
import pytest
import torch

from models.irsr import ranking_scores as ours
from tests.reference import ranking_scores as slow

NAN = math.nan


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """IoUs [P, G] of disjoint or overlapping instances, saliency with ties, confidence, truth."""
    rng = np.random.default_rng(seed)
    found, true = int(rng.integers(0, 6)), int(rng.integers(1, 5))
    iou = rng.random((found, true)) ** rng.choice([0.3, 1.0, 3.0])
    saliency = rng.integers(0, 4, found).astype(float) if seed % 3 else rng.random(found)
    truth = rng.integers(0, 3, true).astype(float) if seed % 4 == 0 else rng.permutation(true) + 1.0
    return iou, saliency, rng.permutation(found) / 7, truth


@pytest.mark.parametrize("seed", range(60))
def test_sa_sor_is_that_of_the_letter(seed: int) -> None:
    iou, saliency, confidence, truth = drawn(seed)
    args = iou.tolist(), saliency.tolist()
    expected = {
        "paper": slow.paper_sa_sor(*args, confidence.tolist(), truth.tolist()),
        "released": slow.released_sa_sor(*args, truth.tolist()),
        "hungarian": slow.hungarian_sa_sor(*args, truth.tolist()),
    }
    for version in ours.VERSIONS:
        got = ours.sa_sor(iou, saliency, confidence, truth, version)
        assert got == pytest.approx(expected[version], nan_ok=True), version


def test_sa_sor_of_the_paper_and_of_its_code_differ_where_a_wrong_one_ranks_between() -> None:
    """Three true ones, two hits and a wrong one between them: facts of the public code."""
    iou = [[0.9, 0, 0], [0, 0, 0], [0, 0.8, 0]]
    saliency, truth = [3.0, 2.0, 1.0], [3.0, 2.0, 1.0]
    assert ours.sa_sor(iou, saliency, [1, 1, 1], truth, "released") == pytest.approx(1.0)
    assert ours.sa_sor(iou, saliency, [1, 1, 1], truth, "paper") == pytest.approx(0.9820, abs=1e-4)
    missed = [[0.9, 0, 0], [0, 0, 0], [0, 0, 0.8]]
    assert ours.sa_sor(missed, saliency, [1, 1, 1], truth, "released") == pytest.approx(0.5)
    assert ours.sa_sor(missed, saliency, [1, 1, 1], truth, "paper") == pytest.approx(
        0.6547, abs=1e-4
    )


@pytest.mark.parametrize(
    ("iou", "saliency", "truth", "expected"),
    [
        (np.eye(1), [1], [1], (NAN, NAN, 0)),  # one true instance
        (np.eye(2), [1, 2], [1, 1], (NAN, NAN, 0)),  # all equally salient
        (np.zeros((0, 2)), [], [1, 2], (0, 0, 0)),  # nothing found
        (np.zeros((3, 2)), [1, 2, 3], [1, 2], (0, 0, 0)),  # only wrong ones
        (np.eye(2), [1, 1], [1, 2], (0, 0, 0)),  # found equally salient
        (np.eye(2), [1, 1], [2, 2], (NAN, 0, 0)),  # and equally salient in truth
        (np.array([[0.0, 0.9]]), [1], [1, 2], (1, 1, 1)),  # any hit on the more salient of two
        (np.array([[0.5, 0], [0, 0.5]]), [1, 2], [1, 2], (1, 1, 0)),  # at the threshold
    ],
)
def test_what_sa_sor_is_at_its_edges(
    iou: np.ndarray, saliency: list[float], truth: list[float], expected: tuple[float, ...]
) -> None:
    got = [ours.sa_sor(iou, saliency, saliency, truth, version) for version in ours.VERSIONS]
    assert got == pytest.approx(expected, nan_ok=True)


def test_an_order_of_found_instances_does_not_count() -> None:
    iou, saliency, confidence, truth = drawn(7)
    order = np.random.default_rng(0).permutation(len(iou))
    for version in ours.VERSIONS:
        first = ours.sa_sor(iou, saliency, confidence, truth, version)
        again = ours.sa_sor(iou[order], saliency[order], confidence[order], truth, version)
        assert first == pytest.approx(again, nan_ok=True)


def test_tensors_do_as_well() -> None:
    iou, saliency, confidence, truth = map(torch.from_numpy, drawn(7))
    values = drawn(7)
    assert ours.sa_sor(iou, saliency, confidence, truth) == ours.sa_sor(*values)
    masks = [torch.eye(4) > 0, torch.eye(4).flip(0) > 0]
    grey = torch.full((4, 4), 7, dtype=torch.uint8)
    assert math.isnan(ours.ssor(grey, masks, torch.tensor([1.0, 2.0])))
    assert ours.mae(torch.zeros(2, 2), torch.ones(2, 2)) == 1


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("rule", ["mode", "mean"])
def test_ssor_is_that_of_the_letter(seed: int, rule: str) -> None:
    rng = np.random.default_rng(seed)
    grey = rng.choice([0, 0, 51, 102, 153], (9, 12)).astype(np.uint8)
    masks = [rng.random((9, 12)) < 0.3 for _ in range(int(rng.integers(1, 5)))]
    for mask in masks[:2]:
        grey[mask] = rng.choice([51, 102, 204])
    truth = rng.permutation(len(masks)) * 0.5
    expected = slow.ssor(grey, masks, truth.tolist(), rule)
    got = ours.ssor(grey, masks, truth, rule)  # type: ignore[arg-type]
    assert got == pytest.approx(expected, nan_ok=True)


def test_ssor_leaves_out_what_is_half_painted_and_counts_one_that_is_left_as_right() -> None:
    grey = np.zeros((4, 8), np.uint8)
    left, right = np.zeros((4, 8), bool), np.zeros((4, 8), bool)
    left[:, :4], right[:, 4:] = True, True
    grey[:2, :4], grey[:, 4:] = 255, 128
    assert ours.ssor(grey, [left, right], [2, 1]) == 1.0  # the left one is half painted: out
    grey[2, 0] = 255
    assert ours.ssor(grey, [left, right], [1, 2]) == 0.0
    assert math.isnan(ours.ssor(grey * 0, [left, right], [1, 2]))


@pytest.mark.parametrize("seed", range(12))
def test_pairs_and_rank_errors_are_those_of_the_letter(seed: int) -> None:
    iou, saliency, confidence, truth = drawn(seed)
    taken = slow.paper_matches(iou.tolist(), confidence.tolist())
    matched = ours.match_confident(iou, confidence)
    assert {g: p for g, p in enumerate(matched.tolist()) if p >= 0} == taken
    assert ours.agreeing_pairs(matched, saliency, truth) == slow.pairs(taken, saliency, truth)
    errors = ours.rank_errors(matched, saliency, truth)
    for g, error in enumerate(errors.tolist()):
        if g not in taken:
            assert math.isnan(error)
            continue
        place = slow.ranks_of([-v for v in saliency])[taken[g]]
        assert error == abs(place - slow.ranks_of([-v for v in truth])[g])


def test_levels_divide_the_range_and_the_mean_difference_is_over_all_pixels() -> None:
    first, second = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    first[0], second[:, 0] = True, True
    levels = ours.rank_levels([first, second], [0.9, 0.2], (2, 4))
    np.testing.assert_array_equal(levels, [[0.5, 1, 1, 1], [0.5, 0, 0, 0]])
    assert ours.mae(levels, np.zeros((2, 4))) == pytest.approx(4 / 8)
    assert not ours.rank_levels([], [], (2, 4)).any()
    ranks = np.random.default_rng(0).integers(0, 4, (2, 5, 6)).astype(np.uint8)
    expected = ours.mae(ranks[0] / ranks[0].max(), ranks[1] / ranks[1].max())
    assert ours.mae_of_ranks(*ranks) == pytest.approx(expected)
    assert ours.mae_of_ranks(ranks[0] * 0, ranks[1]) == pytest.approx((ranks[1] / 3).mean())


def test_sor_and_its_mean_say_which_images_are_used() -> None:
    assert ours.sor([1, 2, 3], [3, 2, 1]) == 0
    assert ours.sor([1, 1, 2], [1, 1, 2]) == pytest.approx(1)
    assert math.isnan(ours.sor([1.0], [1.0]))
    assert math.isnan(ours.sor([1.0, 1.0], [1.0, 2.0]))
    assert ours.mean_used([1.0, NAN, 0.0]) == (0.5, 2)
    assert ours.mean_used([NAN])[1] == 0
