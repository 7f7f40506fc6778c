import json
from pathlib import Path

import pytest
import torch

from models.wsid.network import Branches, WSIDSpec
from stages.io.label_maps import decode_rle
from stages.io.networks import save_network
from stages.io.tables import INSTANCES, read_rows
from stages.wsid_infer import Params, wsid_infer
from tests.models.wsid.test_fusion import FUSION
from tests.stages.drawn_objects import SIZE, write_objects

SPEC = WSIDSpec(
    "mobilenet_v2",
    1.0,
    16,
    48,
    Branches(4, (1,), 4, True, "parallel", "both", (0.67, 1.33), 4, True),
    FUSION,
)


def test_what_is_found_has_the_box_of_its_mask_and_no_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_objects(tmp_path, monkeypatch, "wsid_infer")
    torch.manual_seed(0)
    network = SPEC.build()
    last = network.saliency[-1]
    assert isinstance(last, torch.nn.Conv2d)
    assert last.bias is not None
    torch.nn.init.constant_(last.bias, 4.0)  # all is salient
    weights = tmp_path / "network/weights.pt"
    save_network(weights, network, SPEC)
    wsid_infer(Params(least_score=0.0), data, "val", weights, tmp_path / "out")
    rows = read_rows(tmp_path / "out/instances.parquet", INSTANCES)
    assert rows
    assert {(row["image_id"], row["category"]) for row in rows} == {("v", 0)}
    for row in rows:
        ys, xs = decode_rle(row["mask"], *SIZE).nonzero()
        box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert (row["x0"], row["y0"], row["x1"], row["y1"]) == box
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics == {"images": 1, "instances": len(rows)}
    wsid_infer(Params(least_score=1.0), data, "val", weights, tmp_path / "out")
    assert read_rows(tmp_path / "out/instances.parquet", INSTANCES) == []
