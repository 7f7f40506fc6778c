import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from models.deeplab import DeepLabSpec
from stages.crf_refine import Params as CrfParams
from stages.crf_refine import crf_refine
from stages.deeplab_infer import Params, deeplab_infer
from stages.engine.command import read_params_file
from stages.engine.errors import InputError
from stages.engine.files import write_json
from stages.engine.memo import Memo
from stages.io.data_set import Dataset
from stages.io.label_maps import read_label_map
from stages.io.networks import read_network, save_network
from stages.io.score_maps import read_score_map
from stages.io.tables import CATEGORIES, IMAGES, INSTANCES, write_table
from stages.labels_eval import Params as EvalParams
from stages.labels_eval import labels_eval

PARAMS = Params(scales=(1.0,), flip=True)
SIZE = (40, 48)
SPEC = DeepLabSpec("mobilenet_v2", 1.0, 16, 3, "aspp", 8, (1, 2))


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("SEEDMASK_WORKERS", "1")
    monkeypatch.setattr("stages.engine.parallel.Memo", partial(Memo, folder=tmp_path / "memo"))
    generator = np.random.default_rng(0)
    rows = []
    for name, split in (("a", "train"), ("v", "val"), ("w", "val")):
        file = tmp_path / "root" / f"{name}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(file)
        md5 = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        rows.append({"image_id": name, "split": split, "file": file.name, "width": 48,
                     "height": 40, "md5": md5})  # fmt: skip
    write_table(tmp_path / "images.parquet", pd.DataFrame(rows), IMAGES)
    torch.manual_seed(0)
    network = SPEC.build()
    last = network.head[-1]
    assert isinstance(last, torch.nn.Conv2d)
    assert last.bias is not None
    torch.nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([3.0, 4.0, 0.0])  # says cat everywhere, and hardly ever dog
    save_network(tmp_path / "weights" / "weights.pt", network, SPEC)
    return {
        "data": Dataset(tmp_path, tmp_path / "root"),
        "weights": tmp_path / "weights" / "weights.pt",
        "out": tmp_path / "out",
    }


def test_labels_the_validation_images_and_keeps_the_likely_classes(paths: dict[str, Any]) -> None:
    deeplab_infer(PARAMS, **paths)
    shares = np.exp([3.0, 4.0, 0.0]) / np.exp([3.0, 4.0, 0.0]).sum()
    assert shares[2] < 0.05
    for kind, suffix in (("labels", "png"), ("maps", "npz")):
        found = {path.name for path in (paths["out"] / kind).iterdir()}
        assert found == {f"v.{suffix}", f"w.{suffix}"}
    assert (read_label_map(paths["out"] / "labels/v.png") == 1).all()
    score_map = read_score_map(paths["out"] / "maps/v.npz")
    assert (score_map.classes.tolist(), score_map.size, score_map.stride) == ([0, 1], SIZE, 1)
    expected = np.broadcast_to(shares[:2, None, None], (2, *SIZE))
    np.testing.assert_allclose(score_map.scores, expected, atol=5e-4)  # float16


def test_the_background_is_kept_however_unlikely(paths: dict[str, Any]) -> None:
    network = read_network(paths["weights"], SPEC)
    last = network.head[-1]
    assert isinstance(last, torch.nn.Conv2d)
    last.bias = torch.nn.Parameter(torch.tensor([0.0, 9.0, 0.0]))
    save_network(paths["weights"], network, SPEC)
    deeplab_infer(PARAMS, **paths)
    assert read_score_map(paths["out"] / "maps/w.npz").classes.tolist() == [0, 1]


def test_no_network_leaves_empty_folders_that_end_in_nulls(
    paths: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """As a data set without ground truth does, whose upper bound is never trained."""
    paths["weights"].unlink()
    deeplab_infer(PARAMS, **paths)
    assert "nothing to label" in capsys.readouterr().out
    data, out = paths["data"], paths["out"]
    table = pd.DataFrame({"category": [1, 2], "name": ["cat", "dog"]})
    write_table(data.table("categories"), table, CATEGORIES)
    write_table(data.table("instances"), pd.DataFrame(columns=INSTANCES.names), INSTANCES)
    numbers = read_params_file(Path("params.yaml"))["crf_refine"]
    crf_refine(CrfParams(**numbers), data, "val", out / "maps", out / "crf")
    labels_eval(EvalParams(["cat"]), data, "val", out, out / "crf", out, "nothing")
    measures = json.loads((out / "nothing.json").read_text())
    assert measures["miou"] is measures["miou_classes"] is None
    assert measures["images"] == 0


def test_weights_that_do_not_fit_are_named(paths: dict[str, Any]) -> None:
    beside = paths["weights"].with_suffix(".json")
    write_json(beside, json.loads(beside.read_text()) | {"channels": 4})
    with pytest.raises(InputError, match=r"weights\.pt: does not fit the network"):
        deeplab_infer(PARAMS, **paths)
