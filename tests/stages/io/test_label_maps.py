import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from stages.engine.errors import InputError
from stages.io.label_maps import decode_rle, encode_label_map, encode_rle, palette, read_label_map

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=20)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(labels=arrays(np.uint8, SHAPES))
def test_label_maps_round_trip(
    tmp_path_factory: pytest.TempPathFactory, labels: npt.NDArray[np.uint8]
) -> None:
    path = tmp_path_factory.mktemp("labels") / "a.png"
    path.write_bytes(encode_label_map(labels))
    np.testing.assert_array_equal(read_label_map(path), labels)


def test_label_maps_wear_the_colours_of_voc() -> None:
    colours = np.frombuffer(palette(), dtype=np.uint8).reshape(256, 3)
    assert colours[0].tolist() == [0, 0, 0]
    assert colours[1].tolist() == [128, 0, 0]
    assert colours[15].tolist() == [192, 128, 128]
    assert colours[255].tolist() == [224, 224, 192]
    labels = np.array([[0, 15, 255]], dtype=np.uint8)
    with Image.open(io.BytesIO(encode_label_map(labels))) as image:
        assert image.mode == "P"
        assert np.asarray(image.convert("RGB"))[0, 1].tolist() == [192, 128, 128]


def test_grey_label_maps_are_read(tmp_path: Path) -> None:
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(labels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), labels)


def test_other_arrays_are_no_label_maps() -> None:
    with pytest.raises(ValueError, match=r"labels: expected uint8 \[H, W\], got int64"):
        encode_label_map(np.zeros((2, 2), dtype=np.int64))


def test_unreadable_label_maps_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(InputError, match=r"a\.png: no such label map"):
        read_label_map(path)
    path.write_bytes(b"?")
    with pytest.raises(InputError, match=r"a\.png: not a readable PNG"):
        read_label_map(path)
    Image.new("RGB", (2, 2)).save(path)
    with pytest.raises(InputError, match=r"a\.png: mode RGB; expected a palette or grey PNG"):
        read_label_map(path)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(mask=arrays(np.bool_, SHAPES))
def test_run_lengths_round_trip(mask: npt.NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(decode_rle(encode_rle(mask), *mask.shape), mask)


def test_another_size_than_that_of_the_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode_label_map(np.zeros((3, 4), np.uint8)))
    assert read_label_map(path, (3, 4)).shape == (3, 4)
    with pytest.raises(InputError, match=r"a\.png: size \(3, 4\); expected \(4, 3\) of its image"):
        read_label_map(path, (4, 3))
