import json
from pathlib import Path

import pytest
import torch

from models.cgcnet.network import CGCNetSpec, MaskBranch
from models.detection import DetectorSizes
from stages.cgcnet_infer import Params, cgcnet_infer
from stages.io.label_maps import decode_rle
from stages.io.networks import save_network
from stages.io.tables import INSTANCES, read_rows
from tests.stages.drawn_objects import SIZE, write_objects

SPEC = CGCNetSpec(
    "mobilenet_v2",
    1.0,
    DetectorSizes(8, 8, 16, 20, 8, 3, 0.5),
    MaskBranch("gfr", 4, 4, 4, 0.5, 0.5),
)


def test_what_is_found_lies_in_its_box_and_has_no_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_objects(tmp_path, monkeypatch, "cgcnet_infer")
    torch.manual_seed(0)
    network = SPEC.build()
    last = network.masks[-1]
    assert isinstance(last, torch.nn.Conv2d)
    assert last.bias is not None
    torch.nn.init.constant_(last.bias, 5.0)
    weights = tmp_path / "network/weights.pt"
    save_network(weights, network, SPEC)
    cgcnet_infer(Params(least_score=0.0), data, "val", weights, tmp_path / "out")
    rows = read_rows(tmp_path / "out/instances.parquet", INSTANCES)
    assert rows
    assert {(row["image_id"], row["category"]) for row in rows} == {("v", 0)}
    for row in rows:
        ys, xs = decode_rle(row["mask"], *SIZE).nonzero()
        assert row["x0"] - 1 < xs.min() <= xs.max() < row["x1"] + 1
        assert row["y0"] - 1 < ys.min() <= ys.max() < row["y1"] + 1
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics == {"images": 1, "instances": len(rows)}
    cgcnet_infer(Params(least_score=1.0), data, "val", weights, tmp_path / "out")
    assert read_rows(tmp_path / "out/instances.parquet", INSTANCES) == []
