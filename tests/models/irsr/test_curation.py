"""Which instances of an image are salient, in which order, and why an image is dropped."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.irsr.curation import (
    REASONS,
    Dropped,
    Looks,
    Ranked,
    Votes,
    fixation_map,
    rank_instances,
    rank_map,
    votes_of_gaze,
)
from stages.sources import gaze

SIZE = (12, 30)
RULES: dict[str, Any] = {
    "measure": "max", "more_than": 3, "fewest": 2, "most": 8, "most_overlap": 0.8,
}  # fmt: skip


def mask(x0: int, x1: int, y0: int = 2, y1: int = 10) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    found = np.zeros(SIZE, dtype=bool)
    found[y0:y1, x0:x1] = True
    return found


MASKS = [mask(0, 8), mask(10, 18), mask(20, 28)]
SALIENCY = np.zeros(SIZE, np.float32)
SALIENCY[4, 3], SALIENCY[5, 12], SALIENCY[6, 22] = 0.5, 0.9, 0.2
SALIENCY[:, 0:8] += 0.1  # the first has the largest mean, and not the largest maximum
VOTES = Votes(5, [5, 4, 4], Counter())


def test_the_largest_saliency_inside_the_mask_orders() -> None:
    found = rank_instances(MASKS, VOTES, SALIENCY, None, **RULES)
    assert isinstance(found, Ranked)
    assert found.order == (1, 0, 2)
    assert found.saliency == pytest.approx((0.9, 0.6, 0.2))
    by_mean = rank_instances(MASKS, VOTES, SALIENCY, None, **{**RULES, "measure": "mean"})
    assert isinstance(by_mean, Ranked)
    assert by_mean.order == (0, 1, 2)


def test_instances_that_no_more_than_three_pick_are_not_salient() -> None:
    found = rank_instances(MASKS, Votes(5, [3, 4, 5], Counter()), SALIENCY, None, **RULES)
    assert isinstance(found, Ranked)
    assert found.order == (1, 2)


@pytest.mark.parametrize(
    ("votes", "rule", "reason"),
    [
        (Votes(3, [3, 3, 3], Counter()), "i", "3 subjects saw it; expected more than 3"),
        (replace(VOTES, against=Counter(ii=4)), "ii", "4 of 5 subjects call it inappropriate"),
        (replace(VOTES, against=Counter(ii=3, iii=4)), "iii", "4 of 5 subjects"),
        (replace(VOTES, against=Counter(iv=5)), "iv", "5 of 5 subjects"),
        (Votes(5, [5, 0, 1], Counter()), "iv", "1 of 3 instances are salient; expected 2 to 8"),
        (Votes(5, [0, 0, 0], Counter()), "iv", "0 of 3 instances"),
    ],
)
def test_the_rules_of_the_paper_drop_an_image(votes: Votes, rule: str, reason: str) -> None:
    found = rank_instances(MASKS, votes, SALIENCY, None, **RULES)
    assert isinstance(found, Dropped)
    assert found.rule == rule
    assert reason in found.reason


def test_nine_salient_instances_are_too_many() -> None:
    masks = [mask(3 * n, 3 * n + 2) for n in range(9)]
    values = np.linspace(0.1, 1, SIZE[1], dtype=np.float32) * np.ones(SIZE, np.float32)
    nine = rank_instances(masks, Votes(5, [5] * 9, Counter()), values, None, **RULES)
    assert isinstance(nine, Dropped)
    assert nine.reason == "9 of 9 instances are salient; expected 2 to 8"
    eight = rank_instances(masks[:8], Votes(5, [5] * 8, Counter()), values, None, **RULES)
    assert isinstance(eight, Ranked)
    assert eight.order == tuple(range(7, -1, -1))


def test_an_image_without_instances_or_without_a_look_is_dropped() -> None:
    nothing = rank_instances([], Votes(5, [], Counter()), SALIENCY, None, **RULES)
    unseen = rank_instances(MASKS, VOTES, np.zeros(SIZE, np.float32), None, **RULES)
    assert isinstance(nothing, Dropped)
    assert nothing.reason == "0 of 0 instances are salient; expected 2 to 8"
    assert unseen == Dropped("gaze", "nothing was looked at")


def test_of_equal_maxima_the_means_decide_and_equal_means_drop_the_image() -> None:
    values = np.zeros(SIZE, np.float32)
    values[4, [3, 12]] = 1
    values[5, 13] = 0.5
    tied = rank_instances(MASKS[:2], Votes(5, [5, 5], Counter()), values, None, **RULES)
    assert isinstance(tied, Ranked)
    assert tied.order == (1, 0)
    values[5, 13] = 0
    same = rank_instances(MASKS[:2], Votes(5, [5, 5], Counter()), values, None, **RULES)
    assert same == Dropped("ties", "instances 1 and 2 are equally salient: 1")


def test_an_object_that_is_masked_twice_drops_the_image() -> None:
    both = [MASKS[0], mask(0, 8, 2, 9), MASKS[1]]
    found = rank_instances(both, VOTES, SALIENCY, None, **RULES)
    expected = "instances 1 and 2 overlap by 0.88; expected at most 0.8"
    assert found == Dropped("iii", expected)
    unpicked = rank_instances(both, replace(VOTES, picked=[5, 0, 5]), SALIENCY, None, **RULES)
    assert isinstance(unpicked, Ranked)


def test_a_look_into_a_mask_is_its_subjects_vote_and_its_number_may_order() -> None:
    whose = np.array([0, 0, 1, 2, 2, 3, 3, 0])
    pixels = np.array([[1, 3], [2, 3], [3, 4], [11, 4], [12, 5], [12, 5], [29, 0], [12, 4]])
    looks = Looks(whose, pixels)
    votes = votes_of_gaze(looks, 5, MASKS)
    assert votes == Votes(5, [2, 3, 0], Counter())
    rules = {**RULES, "measure": "fixations", "more_than": 1}
    found = rank_instances(MASKS, votes, fixation_map(looks, SIZE, 1.0), looks, **rules)
    assert isinstance(found, Ranked)
    assert found == Ranked((1, 0), (4.0, 3.0))


def test_the_fixation_map_is_a_sum_of_gaussians() -> None:
    looks = Looks(np.zeros(3, np.int64), np.array([[4, 5], [4, 5], [20, 6]]))
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    expected = np.zeros(SIZE)
    for x, y in looks.pixels:
        expected += np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 1.5**2))
    found = fixation_map(looks, SIZE, 1.5)
    np.testing.assert_allclose(found, expected / expected.max(), atol=2e-3)
    nobody = Looks(np.zeros(0, np.int64), np.zeros((0, 2), np.int64))
    assert not fixation_map(nobody, SIZE, 1.5).any()


def test_grey_levels_divide_the_range_evenly_and_the_salient_is_on_top() -> None:
    found = rank_map([MASKS[0], mask(6, 18), MASKS[2]], [3, 1, 2])
    assert [found[4, 2], found[4, 7], found[4, 22], found[0, 0]] == [85, 255, 170, 0]


def test_every_reason_that_a_table_may_name_has_a_rule() -> None:
    assert set(REASONS) == set(gaze.REASONS)
