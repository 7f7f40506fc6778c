"""benchmarks/search.py: which numbers it tries, and what it takes for the best."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.search import coarse_to_fine


@settings(max_examples=20)
@given(st.floats(2, 90), st.floats(2, 90))
def test_the_search_comes_within_a_fine_step_of_the_best_number_of_each(x: float, y: float) -> None:
    def score(numbers: dict[str, float]) -> float:
        return -(math.log(numbers["a"] / x) ** 2) - math.log(numbers["b"] / y) ** 2

    best, found = coarse_to_fine({"a": [1, 10, 100], "b": [100, 1, 10]}, score, finer=3)
    # three halvings of a factor of ten leave at most half of its eighth part on either side
    assert abs(math.log10(best["a"] / x)) < 1 / 8
    assert abs(math.log10(best["b"] / y)) < 1 / 8
    assert found == score(best)


def test_no_choice_is_tried_twice_and_of_equals_the_first_stays() -> None:
    asked: list[tuple[float, ...]] = []

    def score(numbers: dict[str, float]) -> float:
        asked.append(tuple(numbers.values()))
        return 1.0

    best, _ = coarse_to_fine({"a": [1, 4, 16], "b": [0, 1]}, score, finer=1)
    assert best == {"a": 4, "b": 1}
    assert len(asked) == len(set(asked))
    assert set(asked) == {(4, 1), (1, 1), (16, 1), (4, 0), (2, 1), (8, 1), (4, 0.5)}


@pytest.mark.parametrize("finer", [0, 2])
def test_a_single_value_is_its_own_best(finer: int) -> None:
    assert coarse_to_fine({"a": [3.0]}, lambda numbers: numbers["a"], finer) == ({"a": 3.0}, 3.0)
