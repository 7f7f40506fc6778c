import numpy as np
import pytest

from models.ops.crf import Kernels
from models.ops.crf_seeds import agreed_labels, background_crf, crf_seeds
from tests.reference.crf import dense_crf as exact_crf
from tests.reference.crf_seeds import agreed_labels as slow_agreed_labels

NONE = Kernels(1, 3, 0, 50, 5, 0)  # kernels without weight: the unary energies alone


@pytest.mark.parametrize("least", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_seeds_are_what_both_leave_no_doubt_of(seed: int, least: float) -> None:
    generator = np.random.default_rng(seed)
    low, high = generator.dirichlet(np.ones(3), (2, 9, 8)).transpose(0, 3, 1, 2).astype(np.float32)
    low[:, 0, :3], high[:, 0, :3] = 0, 0  # what a crop leaves beyond the image
    found = agreed_labels(low, high, [4, 7], least)
    np.testing.assert_array_equal(found, slow_agreed_labels(low, high, [4, 7], least))
    assert {0, 4, 7, 255} == set(found.ravel().tolist())


@pytest.mark.parametrize("alpha", [4.0, 24.0])
def test_background_is_the_power_of_what_no_class_claims(alpha: float) -> None:
    cams = np.random.default_rng(0).random((2, 5, 6)).astype(np.float32)
    image = np.zeros((5, 6, 3), dtype=np.uint8)
    found = background_crf(cams, image, alpha, NONE)
    for y, x in np.ndindex(5, 6):
        scores = np.array([(1 - cams[:, y, x].max()) ** alpha, *cams[:, y, x]])
        scores = np.maximum(scores, 1e-5)
        np.testing.assert_allclose(found[:, y, x], scores / scores.sum(), rtol=1e-4, atol=1e-7)


def test_one_step_follows_the_exact_crf_of_scores_that_do_not_sum_to_one() -> None:
    generator = np.random.default_rng(1)
    image = generator.integers(0, 256, (1, 1, 3)).repeat(10, 0).repeat(12, 1).astype(np.uint8)
    image[:, 6:] //= 2
    cams = generator.random((1, 10, 12)).astype(np.float32)
    numbers = (1, 3, 3, 8, 30, 0)
    scores = np.maximum(np.concatenate([(1 - cams) ** 4, cams]), 1e-5)
    exact = exact_crf(scores.astype(float), image, *numbers)
    found = background_crf(cams, image, 4.0, Kernels(*numbers))
    moved, expected = (np.log(p[1] / p[0]) - np.log(scores[1] / scores[0]) for p in (found, exact))
    assert np.linalg.norm(moved - expected) < 0.15 * np.linalg.norm(expected)


def test_the_sure_middle_is_object_the_sure_rest_background_and_the_rim_unknown() -> None:
    rows, columns = np.mgrid[:48, :48]
    distance = np.hypot(rows - 24, columns - 24)
    cams = np.clip(1.1 - distance / 20, 0, 1)[None].astype(np.float32)
    image = np.full((48, 48, 3), 120, dtype=np.uint8)
    labels = crf_seeds(cams, [5], image, kernels=NONE)
    assert (labels[distance < 10] == 5).all()
    assert (labels[distance > 22] == 0).all()
    assert (labels[(distance > 17) & (distance < 19)] == 255).all()


def test_the_crf_carries_seeds_to_the_edge_in_the_image() -> None:
    image = np.full((40, 40, 3), 40, dtype=np.uint8)
    image[10:30, 10:30] = 200
    rows, columns = np.mgrid[:40, :40]
    cams = np.exp(-((rows - 16) ** 2 + (columns - 16) ** 2) / 72)[None].astype(np.float32)
    labels = crf_seeds(cams, [3], image)
    inside = image[..., 0] == 200
    assert (labels[inside] == 3).mean() > 0.9
    assert (labels[~inside] == 0).mean() > 0.9


def test_an_image_without_a_class_is_background() -> None:
    labels = crf_seeds(np.zeros((0, 6, 7), np.float32), [], np.zeros((6, 7, 3), np.uint8))
    assert labels.dtype == np.uint8
    assert (labels == 0).all()
