from pathlib import Path

import pytest

from pipelines.deps import check_deps, fix_deps

BEFORE = """\
# The graph.
stages:
  draw:
    cmd: >-
      python -m stages.draw
      --out data/draw
    params: [draw] # numbers
    outs: [data/draw]

  refine:
    foreach: [a, b]
    do:
      cmd: python -m stages.refine --out "data/refine/${item}"
      deps: [data/draw, stages/old.py]
      outs: ["data/refine/${item}"]
"""
AFTER = """\
# The graph.
stages:
  draw:
    cmd: >-
      python -m stages.draw
      --out data/draw
    deps:
      - stages/__init__.py
      - stages/draw.py
    params: [draw] # numbers
    outs: [data/draw]

  refine:
    foreach: [a, b]
    do:
      cmd: python -m stages.refine --out "data/refine/${item}"
      deps:
        - data/draw
        - models/__init__.py
        - models/crf.py
        - stages/__init__.py
        - stages/refine.py
      outs: ["data/refine/${item}"]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for package in ("models", "stages"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "models/crf.py").touch()
    (tmp_path / "stages/draw.py").touch()
    (tmp_path / "stages/refine.py").write_text("from models.crf import crf\n")
    (tmp_path / "dvc.yaml").write_text(BEFORE)
    return tmp_path


def test_both_directions_are_found(root: Path) -> None:
    differences = check_deps(root)
    assert "refine: models/crf.py is imported but not a dep" in differences
    assert "refine: stages/old.py is a dep but not imported" in differences
    assert (root / "dvc.yaml").read_text() == BEFORE


def test_fixing_keeps_comments_folds_and_quotes(root: Path) -> None:
    assert fix_deps(root)
    text = (root / "dvc.yaml").read_text()
    assert text == AFTER
    assert check_deps(root) == []
    assert fix_deps(root) == []
    assert (root / "dvc.yaml").read_text() == text


def test_a_stage_without_a_module_stays_a_difference(root: Path) -> None:
    (root / "stages/draw.py").unlink()
    fix_deps(root)
    assert check_deps(root) == ["draw: stages/draw.py is missing"]
