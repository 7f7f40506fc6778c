from importlib.metadata import version
from pathlib import Path

from pipelines.graph.dvc_private import TRIED

LOCK = Path(__file__).resolve().parents[3] / "requirements.lock"


def test_the_private_parts_of_dvc_were_tried_with_the_version_in_the_lock() -> None:
    locked = next(line for line in LOCK.read_text().splitlines() if line.startswith("dvc=="))
    found = {locked.removeprefix("dvc==").split()[0], version("dvc")}
    remedy = "run tests/pipelines (graph, run) with it, read dvc_private.py beside it, set TRIED"
    assert found == {TRIED}, f"DVC is another than {TRIED}: {remedy}"
