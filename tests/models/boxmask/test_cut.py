import numpy as np
import pytest

from models.boxmask import cut
from models.boxmask.cut import cut_again, mixed
from tests.reference import box_masks as reference


def disc(size: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A bright disc on dark ground, and where it is."""
    rows, columns = np.mgrid[:size, :size]
    mask = (rows - size / 2) ** 2 + (columns - size / 2) ** 2 < (0.3 * size) ** 2
    noise = np.random.default_rng(0).normal(0, 8, (size, size, 3))
    picture = np.where(mask[..., None], [200, 60, 50], [40, 130, 60]) + noise
    return picture.clip(0, 255).astype(np.uint8), mask


@pytest.mark.parametrize("size", [40, 300])
def test_a_blurred_guess_becomes_the_disc(size: int) -> None:
    picture, mask = disc(size)
    guess = np.full(mask.shape, 0.3, np.float32)
    middle = slice(3 * size // 8, 5 * size // 8)
    guess[middle, middle] = 0.95
    found = cut_again(picture, guess, np.ones_like(mask), 0)
    assert (found & mask).sum() / (found | mask).sum() > 0.95


def test_nothing_is_found_outside_of_the_box() -> None:
    picture, mask = disc()
    inside = np.zeros_like(mask)
    inside[:, :20] = True
    found = cut_again(picture, np.where(mask, 0.8, 0.2).astype(np.float32), inside, 0)
    assert found.any()
    assert not found[~inside].any()


def test_the_guess_stays_where_there_is_nothing_to_cut_or_the_cut_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture, mask = disc()
    every = np.ones_like(mask)
    for value in (0.05, 0.95):
        same = np.full(mask.shape, value, np.float32)
        np.testing.assert_array_equal(cut_again(picture, same, every, 0), same > 0.5)

    def fail(*_: object) -> None:
        raise cut.cv2.error("no")

    monkeypatch.setattr(cut.cv2, "grabCut", fail)
    guess = np.where(mask, 0.8, 0.2).astype(np.float32)
    np.testing.assert_array_equal(cut_again(picture, guess, every, 0), mask)


def test_the_guess_stays_where_the_cut_loses_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    picture, mask = disc()
    guess = np.where(mask, 0.8, 0.2).astype(np.float32)
    monkeypatch.setattr(cut.cv2, "grabCut", lambda image, marks, *_: marks.fill(0))
    np.testing.assert_array_equal(cut_again(picture, guess, np.ones_like(mask), 0), mask)


@pytest.mark.parametrize("seed", range(20))
def test_opinions_are_mixed_as_far_as_they_reach(seed: int) -> None:
    generator = np.random.default_rng(seed)
    height, width = generator.integers(1, 9, size=2)
    predicted = generator.random((height, width)).astype(np.float32)
    predicted *= generator.random() < 0.8  # a network that sees nothing
    again, first = generator.random((2, height, width)) < generator.random()
    for cut_of_box in (first, None):
        expected = reference.mixed(predicted, again, cut_of_box)
        np.testing.assert_allclose(mixed(predicted, again, cut_of_box), expected, atol=1e-6)


def test_a_cat_on_a_chair_is_no_chair() -> None:
    chair = np.ones((10, 10), bool)
    chair[4:6, 4:6] = False
    cat = np.where(chair, 0.02, 0.98).astype(np.float32)
    probability = mixed(cat, cat > 0.5, chair)
    assert (probability[chair] > 0.5).all()
    assert (mixed(cat, cat > 0.5, None)[chair] > 0.5).all()
    fitting = np.zeros((10, 10), np.float32)
    fitting[2:8] = fitting[:, 3:7] = 0.98  # reaches all sides
    assert ((mixed(fitting, fitting > 0.5, None) > 0.5) == (fitting > 0.5)).all()
