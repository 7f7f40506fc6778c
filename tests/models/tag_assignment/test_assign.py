"""From features, probabilities and keywords to tags: as one problem and in batches."""

from dataclasses import replace

import numpy as np
import pytest

from models.tag_assignment.assign import Settings, assign_tags
from models.tag_assignment.problem import kept_count
from models.tag_assignment.statement import solve_statement
from tests.models.tag_assignment.drawn_problems import Drawn, draw

PAPER = Settings(
    neighbours=3,
    symmetrise="union",
    beta=30,
    retention=0.95,
    infeasible="raise",
    batch=0,
    time_limit=60,
)


def _without_keywords(drawn: Drawn, rows: slice) -> Drawn:
    keywords = drawn.keywords.copy()
    keywords[rows] = False
    return replace(drawn, keywords=keywords)


def test_every_tag_is_a_keyword_and_floor_of_r_n_get_one() -> None:
    drawn = _without_keywords(draw(300, 1), slice(0, 10))
    found = assign_tags(drawn.features, drawn.probabilities, drawn.keywords, PAPER)
    tagged = found.categories >= 0
    assert tagged.sum() == kept_count(0.95, 300) == 285
    assert not tagged[:10].any()
    assert drawn.keywords[tagged, found.categories[tagged]].all()
    assert found.lower <= found.upper <= found.dual_upper
    assert found.upper - found.lower <= 1e-9 * found.upper


def test_margins_name_the_uncertain_ones() -> None:
    drawn = _without_keywords(draw(300, 2), slice(0, 3))
    found = assign_tags(drawn.features, drawn.probabilities, drawn.keywords, PAPER)
    assert np.isinf(found.margins[:3]).all()
    assert (found.margins >= 0).all()
    for row in np.argsort(-found.margins[3:])[:20] + 3:
        tags = np.flatnonzero(drawn.keywords[row])
        if found.margins[row] == 0 or len(tags) < 2:
            continue
        other = drawn.keywords.copy()
        other[row, found.categories[row]] = False
        forced = assign_tags(drawn.features, drawn.probabilities, other, PAPER)
        assert forced.lower <= found.dual_upper - found.margins[row] + 1e-9


def test_batches_are_problems_of_their_own() -> None:
    drawn = draw(250, 3)
    settings = replace(PAPER, batch=100)
    found = assign_tags(drawn.features, drawn.probabilities, drawn.keywords, settings)
    value = 0.0
    for rows in (slice(0, 100), slice(100, 200), slice(200, 250)):
        part = assign_tags(
            drawn.features[rows], drawn.probabilities[rows], drawn.keywords[rows], PAPER
        )
        np.testing.assert_array_equal(found.categories[rows], part.categories)
        np.testing.assert_array_equal(found.margins[rows], part.margins)
        value += part.lower
    assert found.lower == pytest.approx(value)
    assert (found.categories >= 0).sum() == 95 + 95 + kept_count(0.95, 50)


def test_bad_rows_are_named_by_their_place_in_the_whole_set() -> None:
    drawn = draw(50, 4)
    settings = replace(PAPER, batch=20)
    probabilities = drawn.probabilities.copy()
    probabilities[33, 2] = 2
    with pytest.raises(ValueError, match="probabilities: row 33 has 2"):
        assign_tags(drawn.features, probabilities, drawn.keywords, settings)
    features = drawn.features.copy()
    features[41] = 0
    with pytest.raises(ValueError, match="features: row 41 has zeros"):
        assign_tags(features, drawn.probabilities, drawn.keywords, settings)


def test_too_few_with_a_keyword_are_refused_or_all_tagged() -> None:
    drawn = _without_keywords(draw(40, 5), slice(0, 10))
    with pytest.raises(ValueError, match=r"kept: 38 of 40 .* at most the 30 that have"):
        assign_tags(drawn.features, drawn.probabilities, drawn.keywords, PAPER)
    clipped = replace(PAPER, infeasible="clip")
    found = assign_tags(drawn.features, drawn.probabilities, drawn.keywords, clipped)
    assert (found.categories >= 0).tolist() == [False] * 10 + [True] * 30


def test_no_keyword_anywhere_rejects_all_if_that_may_be() -> None:
    drawn = _without_keywords(draw(20, 6), slice(None))
    with pytest.raises(ValueError, match="expected at most the 0 that have a keyword"):
        assign_tags(drawn.features, drawn.probabilities, drawn.keywords, PAPER)
    clipped = replace(PAPER, infeasible="clip")
    found = assign_tags(drawn.features, drawn.probabilities, drawn.keywords, clipped)
    assert (found.categories == -1).all()
    assert (found.lower, found.upper) == (0, 0)


@pytest.mark.parametrize("batch", [0, 400])
def test_an_empty_set_gets_no_tags(batch: int) -> None:
    nothing = np.zeros((0, 4))
    found = assign_tags(nothing, nothing, nothing.astype(bool), replace(PAPER, batch=batch))
    assert found.categories.shape == found.margins.shape == (0,)
    assert (found.lower, found.upper, found.dual_upper) == (0, 0, 0)


def test_r_of_0_rejects_all_and_r_of_1_none() -> None:
    drawn = draw(60, 7)
    for retention, tagged in ((0, 0), (1, 60)):
        settings = replace(PAPER, retention=retention)
        found = assign_tags(drawn.features, drawn.probabilities, drawn.keywords, settings)
        assert (found.categories >= 0).sum() == tagged


def test_cvxpy_may_solve_it_too() -> None:
    drawn = draw(80, 8)
    mine = assign_tags(drawn.features, drawn.probabilities, drawn.keywords, PAPER)
    found = assign_tags(
        drawn.features, drawn.probabilities, drawn.keywords, PAPER, solver=solve_statement
    )
    assert found.lower == pytest.approx(mine.lower, rel=1e-9)
    assert (found.categories >= 0).sum() == (mine.categories >= 0).sum()
