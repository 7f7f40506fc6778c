import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.a2gnn.trust import activation_share, map_trust
from tests.reference import trust as looped

cases = settings(deadline=None, max_examples=40, derandomize=True)
seeds = st.integers(0, 2**16)


@cases
@given(seeds)
def test_shares_and_trust_equal_their_loops(seed: int) -> None:
    generator = np.random.default_rng(seed)
    count = int(generator.integers(0, 12))
    categories = [int(label) for label in generator.choice([3, 5, 254], count)]
    shares, chances = [], []
    for _ in range(count):
        activations = generator.random((7, 9), dtype=np.float32) * generator.integers(0, 2)
        own = generator.random((7, 9)) < generator.random()
        found = activation_share(activations, own)
        assert found == pytest.approx(looped.activation_share(activations, own))
        shares.append(found[0])
        chances.append(found[1])
    classes, maps = map_trust(categories, shares, chances)
    assert classes == {
        label: pytest.approx(looped.class_trust(label, categories, shares, chances))
        for label in categories
    }
    assert maps == [
        pytest.approx(looped.map_trust(index, categories, shares, chances))
        for index in range(count)
    ]
    assert all(-1 <= value <= 1 for value in [*classes.values(), *maps])


@cases
@given(seeds, st.floats(0.02, 0.9))
def test_an_even_map_has_no_trust_however_large_its_object(seed: int, area: float) -> None:
    own = np.random.default_rng(seed).random((20, 20)) < area
    share, chance = activation_share(np.full((20, 20), 0.3, np.float32), own)
    classes, maps = map_trust([1, 1], [share, share], [chance, chance])
    assert classes[1] == pytest.approx(0, abs=1e-6)
    assert maps == pytest.approx([0, 0], abs=1e-6)


@cases
@given(st.floats(0.01, 0.6), st.integers(1, 30))
def test_more_images_alike_are_more_trust(chance: float, count: int) -> None:
    few = map_trust([1] * count, [1.0] * count, [chance] * count)
    more = map_trust([1] * (count + 1), [1.0] * (count + 1), [chance] * (count + 1))
    assert 0 < few[0][1] < more[0][1] < 1
    assert few[1][0] < more[1][0] < 1


def test_where_the_object_fills_the_picture_its_class_decides() -> None:
    for share, trusted in ((0.95, True), (0.05, False)):
        _, maps = map_trust([1] * 10, [1.0] + [share] * 9, [1.0] + [0.2] * 9)
        assert (maps[0] > 0.5) == trusted


def test_a_map_without_activation_is_trusted_less_than_an_even_one() -> None:
    own = np.zeros((4, 4), bool)
    own[1:3, 1:3] = True
    share, chance = activation_share(np.zeros((4, 4), np.float32), own)
    assert (share, chance) == (0.0, 0.25)
    assert map_trust([1], [share], [chance])[1][0] < 0
