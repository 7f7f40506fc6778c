import numpy as np
import pytest

from models.ops.crf import Kernels
from models.wsid.labels import confident_labels, refined_labels

KERNELS = Kernels(5, 3.0, 3.0, 20.0, 10.0, 4.0)
NONE = Kernels(0, 3.0, 3.0, 20.0, 10.0, 4.0)
NUMBERS = {"high": 0.3, "low": 0.05, "confidence": 0.7}


@pytest.mark.parametrize("seed", range(2))
def test_without_a_crf_the_labels_are_those_of_the_thresholds(seed):
    cams = np.random.default_rng(seed).random((2, 8, 9)) ** 3
    found = confident_labels(cams, [3, 7], np.zeros((8, 9, 3), np.uint8), kernels=NONE, **NUMBERS)
    for y in range(8):
        for x in range(9):
            strongest = max(cams[:, y, x])
            if strongest > 0.3:
                assert found[y, x] == (3, 7)[int(cams[:, y, x].argmax())]
            else:
                assert found[y, x] == (255 if strongest > 0.05 else 0)


def test_the_crf_completes_an_object_that_is_activated_in_part():
    image = np.full((30, 40, 3), 60, np.uint8)
    image[8:22, 10:30] = 200
    cams = np.zeros((1, 30, 40))
    cams[0, 8:22, 10:24] = 0.8
    cams[0, 8:22, 24:30] = 0.1
    truth = image[..., 0] == 200
    found = confident_labels(cams, [5], image, kernels=KERNELS, **NUMBERS)
    assert set(np.unique(found)) <= {0, 5, 255}
    assert (found[~truth] == 0).mean() > 0.95
    before = confident_labels(cams, [5], image, kernels=NONE, **NUMBERS)
    assert (found == 5).sum() > (before == 5).sum()


def test_nothing_tagged_is_background_and_unknown_pixels_are_filled():
    image = np.zeros((4, 5, 3), np.uint8)
    found = confident_labels(np.zeros((0, 4, 5)), [], image, kernels=KERNELS, **NUMBERS)
    assert (found == 0).all()
    labels = np.full((4, 5), 255, np.uint8)
    labels[:, :2] = 1
    labels[:, 3:] = 0
    assert 255 not in refined_labels(labels, image, 0.7, KERNELS)
