import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ops.score_mean import weighted_mean
from tests.reference.score_mean import weighted_mean as looped

cases = settings(deadline=None, max_examples=40, derandomize=True)
seeds = st.integers(0, 2**16)


def sources(generator, classes):
    return generator.dirichlet(np.full(classes, 0.3), (2, 5, 6)).astype(np.float32)


@cases
@given(seeds, st.integers(1, 5))
def test_the_mean_equals_its_loop_and_sums_to_one(seed: int, classes: int) -> None:
    generator = np.random.default_rng(seed)
    first, second = sources(generator, classes).transpose(0, 3, 1, 2)
    weights = [float(weight) for weight in generator.random(classes - 1)]
    mean = weighted_mean(first, second, weights)
    np.testing.assert_allclose(mean, looped(first, second, weights), atol=1e-6)
    np.testing.assert_allclose(mean.sum(axis=0), 1, atol=1e-6)
    assert (mean >= 0).all()


@cases
@given(seeds, st.floats(0, 1))
def test_equal_weights_are_the_plain_mean_of_the_background_too(seed: int, weight: float) -> None:
    first, second = sources(np.random.default_rng(seed), 4).transpose(0, 3, 1, 2)
    mean = weighted_mean(first, second, [weight] * 3)
    np.testing.assert_allclose(mean, weight * first + (1 - weight) * second, atol=1e-6)
