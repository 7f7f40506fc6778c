"""Every stage reads and writes only what dvc.yaml declares for it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from pipelines.graph.presets import use_preset
from stages.engine.files import write_bytes
from stages.io.declarations import Node
from stages.io.label_maps import encode_label_map
from tests import planted_stages
from tests.sealed_line import run_sealed

ROOT = Path(__file__).resolve().parents[1]
IMAGE = "train_0000"  # of the drawn ones, 160 x 128


def test_every_stage_touches_only_what_it_declares(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    use_preset(tmp_path, "tiny")
    (tmp_path / "data/raw/weights").mkdir(parents=True)
    corrected = encode_label_map(np.zeros((128, 160), np.uint8))
    write_bytes(tmp_path / "data/corrections" / f"{IMAGE}.png", corrected)
    environment = {**os.environ, "SEEDMASK_WORKERS": "1", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-m", "tests.sealed_line", str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert {name: deeds for name, deeds in found.items() if deeds} == {}
    assert "report@masks" in found
    exported = tmp_path / f"data/masks_export/masks/voc/SegmentationClass/{IMAGE}.png"
    assert exported.read_bytes() == corrected


@pytest.mark.parametrize(
    ("stage", "deed"),
    [
        (planted_stages.honest, None),
        (planted_stages.reads_ground_truth, "open data/dataset/ground_truth/semantic/a.png"),
        (planted_stages.reads_the_repository, "open dvc.yaml"),
        (planted_stages.changes_its_input, "changed data/dataset/images.txt"),
        (planted_stages.leaves_a_file, "left data/leaves_a_file/more.txt"),
        (planted_stages.makes_nothing, "did not make data/makes_nothing/out.txt"),
        (planted_stages.fails, "ended with 1"),
    ],
)
def test_what_is_not_declared_is_found(
    tmp_path: Path, stage: Callable[..., None], deed: str | None
) -> None:
    name = stage.__name__
    images = Path("data/dataset/images.txt")
    command = f"python -m stages.{name} --images {images} --out data/{name}"
    node = Node(name, command, (images,), (name,), (Path(f"data/{name}/out.txt"),))
    (tmp_path / "params.yaml").write_text(f"{name}: {{}}\n")
    (tmp_path / images).parent.mkdir(parents=True)
    (tmp_path / images).write_text("a\n")
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        found = pool.submit(run_sealed, node, stage, tmp_path).result()
    assert deed in found if deed else found == []
