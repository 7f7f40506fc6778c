import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ops.cells import cells_to_pixels, pixels_to_cells, scores_to_cells


def interpolated(score, row, column, stride):
    """Bilinear between the cells' centres, written out for one pixel."""

    def neighbours(place, count):
        position = (place + 0.5) / stride - 0.5
        low = int(np.floor(position))
        share = position - low
        return [(min(max(low, 0), count - 1), 1 - share), (min(max(low + 1, 0), count - 1), share)]

    return sum(
        score[i, j] * a * b
        for i, a in neighbours(row, score.shape[0])
        for j, b in neighbours(column, score.shape[1])
    )


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.integers(1, 25), st.integers(1, 25), st.sampled_from([1, 2, 4, 8]), st.integers(0, 99))
def test_scores_are_interpolated_between_the_centres_of_cells(height, width, stride, seed):
    shape = (2, -(-height // stride), -(-width // stride))
    scores = np.random.default_rng(seed).random(shape)
    pixels = cells_to_pixels(scores, (height, width), stride)
    assert pixels.dtype == np.float32
    assert pixels.shape == (2, height, width)
    for channel in range(2):
        expected = [
            [interpolated(scores[channel], row, column, stride) for column in range(width)]
            for row in range(height)
        ]
        np.testing.assert_allclose(pixels[channel], expected, atol=1e-5)


def test_no_classes_stay_no_classes():
    assert cells_to_pixels(np.zeros((0, 2, 3)), (8, 12), 4).shape == (0, 8, 12)


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_half_precision_is_read(stride):
    scores = np.full((1, -(-10 // stride), -(-13 // stride)), 0.25, np.float16)
    np.testing.assert_array_equal(cells_to_pixels(scores, (10, 13), stride), 0.25)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 2, 3, 8]), st.integers(0, 99))
def test_a_cell_takes_the_label_at_its_centre_or_at_the_border(height, width, stride, seed):
    labels = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    cells = pixels_to_cells(labels, stride)
    assert cells.shape == (-(-height // stride), -(-width // stride))
    for row, column in np.ndindex(cells.shape):
        y = min(row * stride + stride // 2, height - 1)
        x = min(column * stride + stride // 2, width - 1)
        assert cells[row, column] == labels[y, x]


def test_labels_survive_the_way_to_pixels_and_back():
    cells = np.random.default_rng(0).integers(0, 5, (4, 5)).astype(np.uint8)
    pixels = np.kron(cells, np.ones((8, 8), np.uint8))
    np.testing.assert_array_equal(pixels_to_cells(pixels, 8), cells)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 2, 3, 8]), st.integers(0, 99))
def test_a_cell_takes_the_mean_of_the_scores_that_it_has(height, width, stride, seed):
    scores = np.random.default_rng(seed).random((2, height, width), dtype=np.float32)
    cells = scores_to_cells(scores, stride)
    assert cells.shape == (2, -(-height // stride), -(-width // stride))
    for channel, row, column in np.ndindex(cells.shape):
        y, x = row * stride, column * stride
        own = scores[channel, y : y + stride, x : x + stride]
        np.testing.assert_allclose(cells[channel, row, column], own.mean(), rtol=1e-5)
