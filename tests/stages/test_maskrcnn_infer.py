import json
from pathlib import Path
from typing import Any

import pytest
import torch

from models.detection import DetectorSizes
from models.maskrcnn import MaskRCNNSpec
from stages.io.data_set import Dataset
from stages.io.label_maps import decode_rle
from stages.io.networks import save_network
from stages.io.tables import INSTANCES, read_rows
from stages.maskrcnn_infer import Params, maskrcnn_infer
from tests.stages.drawn_objects import SIZE, write_objects

SIZES = DetectorSizes(8, 8, 16, 20, 8, 3, 0.5)


def written(data: Dataset, folder: Path, *, any_class: bool, least: float) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    spec = MaskRCNNSpec("mobilenet_v2", 1.0, 2 if any_class else 3, any_class, SIZES)
    network = spec.build()
    torch.nn.init.constant_(network.heads.mask_predictor.mask_fcn_logits.bias, 5.0)
    save_network(folder / "network/weights.pt", network, spec)
    weights = folder / "network/weights.pt"
    maskrcnn_infer(Params(least_score=least), data, "val", weights, folder / "out")
    return read_rows(folder / "out/instances.parquet", INSTANCES)


@pytest.mark.parametrize("any_class", [False, True])
def test_what_is_found_has_a_mask_in_its_box_and_a_class_where_there_are_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, any_class: bool
) -> None:
    data = write_objects(tmp_path, monkeypatch, "maskrcnn_infer")
    rows = written(data, tmp_path, any_class=any_class, least=0.0)
    assert {row["image_id"] for row in rows} == {"v"}
    assert 0 < len(rows) <= SIZES.detections
    assert [row["instance_id"] for row in rows] == list(range(1, len(rows) + 1))
    assert {row["category"] for row in rows} <= ({0} if any_class else {1, 2})
    scores = [row["score"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    for row in rows:
        mask = decode_rle(row["mask"], *SIZE)
        assert mask.sum() == row["area"] > 0
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics == {"images": 1, "instances": len(rows)}
    assert written(data, tmp_path, any_class=any_class, least=1.0) == []


def test_without_a_network_nothing_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_objects(tmp_path, monkeypatch, "maskrcnn_infer")
    nowhere = tmp_path / "nowhere/weights.pt"
    maskrcnn_infer(Params(least_score=0.05), data, "val", nowhere, tmp_path / "out")
    assert read_rows(tmp_path / "out/instances.parquet", INSTANCES) == []
    assert "nothing to find" in capsys.readouterr().out
