from pathlib import Path

import numpy as np
import pytest

from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.io.salient_maps import encode_grey, encode_region, read_region, read_saliency

VALUES = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8)


def test_regions_and_saliency_come_back(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.png", encode_region(VALUES > 99))
    np.testing.assert_array_equal(read_region(tmp_path / "a.png", (5, 7)), VALUES > 99)
    write_bytes(tmp_path / "b.png", encode_grey(VALUES))
    read = read_saliency(tmp_path / "b.png")
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, VALUES / 255, rtol=1e-6)


def test_a_region_is_binary_and_of_its_image(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.png", encode_grey(np.array([[0, 3, 7]], np.uint8)))
    with pytest.raises(InputError, match=r"a\.png: values 3, 7: not binary; expected 0 and one"):
        read_region(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"size \(1, 3\); expected \(3, 1\)"):
        read_region(tmp_path / "a.png", (3, 1))
