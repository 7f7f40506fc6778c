from pathlib import Path

import numpy as np
import pytest

from stages.engine.errors import InputError
from stages.io.features import Features, read_features, write_features


@pytest.mark.parametrize("count", [0, 3])
def test_features_come_back_as_they_were(tmp_path: Path, count: int) -> None:
    values = np.random.default_rng(0).random((count, 5), dtype=np.float32)
    features = Features(np.arange(count) * 7, values)
    path = tmp_path / "sub/features.npz"
    write_features(path, features)
    first = path.read_bytes()
    found = read_features(path)
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(found.instance_ids, features.instance_ids)
    write_features(path, features)
    assert path.read_bytes() == first


def test_what_is_no_file_of_features_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "features.npz"
    with pytest.raises(InputError, match=r"features\.npz: no such features"):
        read_features(path)
    for content in (b"", b"PK", b"nothing"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"features\.npz: not a file of features: "):
            read_features(path)
    np.savez(path, instance_ids=np.arange(3))
    with pytest.raises(InputError, match="values"):
        read_features(path)
    np.savez(path, instance_ids=np.arange(3), values=np.zeros((2, 4), np.float32))
    with pytest.raises(InputError, match="expected"):
        read_features(path)
