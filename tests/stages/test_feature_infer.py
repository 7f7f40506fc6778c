"""What feature_infer computes is tested beside the network that it needs, in test_feature_train."""

from pathlib import Path

import pytest

from stages.engine.errors import InputError
from stages.feature_infer import Params, feature_infer
from stages.io.data_set import Dataset
from tests.stages.drawn_objects import write_objects


def test_weights_that_are_none_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data: Dataset = write_objects(tmp_path, monkeypatch, "feature_infer")
    with pytest.raises(InputError, match=r"weights\.json: "):
        feature_infer(
            Params(), data, tmp_path / "objects.parquet", tmp_path / "weights.pt", tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()
