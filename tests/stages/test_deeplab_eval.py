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
from stages.deeplab_eval import Params, deeplab_eval
from stages.engine.errors import InputError
from stages.engine.files import write_bytes, write_json
from stages.engine.memo import Memo
from stages.io.data_set import Dataset
from stages.io.label_maps import encode_label_map, read_label_map
from stages.io.networks import save_network
from stages.io.tables import CATEGORIES, IMAGES, write_table

SECTION: dict[str, Any] = {
    "classes": ["background"], "scales": [1.0], "flip": True, "iterations": 2, "gaussian_xy": 3.0,
    "gaussian_compat": 3.0, "bilateral_xy": 50.0, "bilateral_rgb": 5.0, "bilateral_compat": 10.0,
}  # fmt: skip
PARAMS = Params(**SECTION)
SIZE = (40, 48)


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
    truth = np.zeros(SIZE, dtype=np.uint8)
    truth[:10] = 1
    write_bytes(tmp_path / "truth" / "v.png", encode_label_map(truth))
    write_bytes(tmp_path / "truth" / "w.png", encode_label_map(np.zeros(SIZE, np.uint8)))
    write_table(tmp_path / "images.parquet", pd.DataFrame(rows), IMAGES)
    names = pd.DataFrame({"category": [1, 2], "name": ["cat", "dog"]})
    write_table(tmp_path / "categories.parquet", names, CATEGORIES)
    torch.manual_seed(0)
    spec = DeepLabSpec("mobilenet_v2", 1.0, 16, 3, "aspp", 8, (1, 2))
    network = spec.build()
    last = network.head[-1]
    assert isinstance(last, torch.nn.Conv2d)
    assert last.bias is not None
    torch.nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([4.0, 0.0, 0.0])  # says background everywhere
    save_network(tmp_path / "weights" / "weights.pt", network, spec)
    return {
        "data": Dataset(tmp_path, tmp_path / "root"),
        "weights": tmp_path / "weights" / "weights.pt",
        "ground_truth": tmp_path / "truth",
        "out": tmp_path / "out",
        "name": "source",
    }


def measured(paths: dict[str, Any]) -> dict[str, Any]:
    deeplab_eval(PARAMS, **paths)
    content: dict[str, Any] = json.loads((paths["out"] / "source.json").read_text())
    return content


def test_labels_and_measures_the_validation_images(paths: dict[str, Any]) -> None:
    metrics = measured(paths)
    assert metrics["iou"] == metrics["iou_crf"] == {"background": 87.5, "cat": 0.0}
    assert metrics["miou"] == metrics["miou_crf"] == 43.75
    assert metrics["miou_classes"] == metrics["miou_classes_crf"] == 87.5
    assert metrics["accuracy"] == 87.5
    assert (metrics["images"], metrics["images_without_truth"]) == (2, 0)
    for kind in ("plain", "crf"):
        folder = paths["out"] / "source" / kind
        assert {path.name for path in folder.iterdir()} == {"v.png", "w.png"}
        assert not read_label_map(folder / "v.png").any()


def test_labels_do_not_depend_on_the_truth(paths: dict[str, Any]) -> None:
    measured(paths)
    first = (paths["out"] / "source" / "crf" / "v.png").read_bytes()
    (paths["ground_truth"] / "v.png").unlink()
    metrics = measured(paths)
    assert (metrics["images"], metrics["images_without_truth"]) == (1, 1)
    assert (paths["out"] / "source" / "crf" / "v.png").read_bytes() == first


def test_no_network_gives_nulls_and_a_note(
    paths: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    paths["weights"].unlink()
    metrics = measured(paths)
    assert metrics["miou"] is metrics["miou_crf"] is None
    assert "nothing to measure" in capsys.readouterr().out


def test_weights_that_do_not_fit_are_named(paths: dict[str, Any]) -> None:
    beside = paths["weights"].with_suffix(".json")
    write_json(beside, json.loads(beside.read_text()) | {"channels": 4})
    with pytest.raises(InputError, match=r"weights\.pt: does not fit the network"):
        measured(paths)
