from pathlib import Path

import pytest

from pipelines.run.freeze import freeze
from stages.engine.errors import InputError
from tests.pipelines.mini_repository import MiniRepository

BEFORE = """\
# The graph.
stages:
  draw:
    desc: draws
    cmd: python -m stages.draw --root ${draw.root} # from nothing
    outs: [data/draw]

  refine:
    foreach: [a, b]
    do:
      cmd: python -m stages.refine --out "data/refine/${item}"
      outs: ["data/refine/${item}"]
"""
AFTER = """\
# The graph.
stages:
  draw:
    desc: draws
    frozen: true
    cmd: python -m stages.draw --root ${draw.root} # from nothing
    outs: [data/draw]

  refine:
    foreach: [a, b]
    do:
      frozen: true
      cmd: python -m stages.refine --out "data/refine/${item}"
      outs: ["data/refine/${item}"]
"""


def test_freezing_adds_a_line_and_its_opposite_takes_it_away(tmp_path: Path) -> None:
    path = tmp_path / "dvc.yaml"
    path.write_text(BEFORE)
    for _ in range(2):
        freeze(tmp_path, ["draw", "refine"])
        assert path.read_text() == AFTER
    for _ in range(2):
        freeze(tmp_path, ["draw", "refine"], frozen=False)
        assert path.read_text() == BEFORE


def test_an_unknown_stage_is_named_and_nothing_written(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(BEFORE)
    with pytest.raises(InputError, match=r"dvc\.yaml: no stage 'refin'; did you mean 'refine'\?"):
        freeze(tmp_path, ["draw", "refin"])
    assert (tmp_path / "dvc.yaml").read_text() == BEFORE


def test_a_frozen_stage_keeps_its_outputs_and_the_others_go_on(made: MiniRepository) -> None:
    before = made.outputs()
    assert made.run("freeze", "left")[0] == 0
    made.set("first", "value", 2)
    code, text = made.run("run", "--local")
    assert code == 0, text
    after = made.outputs()
    assert {name for name in before if before[name] != after[name]} == {
        name for name in before if name.startswith(("data/first", "data/right"))
    }
    made.run("unfreeze", "left")
    made.run("run", "last", "--local")
    assert "first 2" in made.outputs()["data/last.txt"]
