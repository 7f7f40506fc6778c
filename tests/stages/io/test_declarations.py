from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from hypothesis import given
from hypothesis import strategies as st

from stages.engine.command import read_params_file
from stages.engine.errors import InputError
from stages.io.declarations import Output, overlap, parse_graph, read_nodes, resolve_nodes

ROOT = Path(__file__).resolve().parents[3]

GRAPH = """\
vars: [{seeds: data/a/seeds}]
stages:
  a:
    cmd: make ${seeds} ${section.number} ${nothing.there}
    deps: ["${root.folder}"]
    params: [a, other.yaml: [x]]
    outs:
      - data/a/plain
      - data/a/seeds: {type: label_maps, labels: [seeds, final], cache: false}
    metrics: [data/a/metrics.json: {cache: false}]
    plots: [data/a/curve.csv: {x: epoch}]
  b:
    foreach:
      one: {line: mine, labels: data/a/seeds, row: "a: row"}
      two: {line: mine, labels: data/x, source: the second}
    do:
      cmd: measure ${item.labels} ${key}
      deps: ["${item.labels}"]
      outs: ["data/b/${key}": {type: "${item.line}_maps", meta: {line: "of ${key}"}}]
      metrics: ["data/b/${item.line}/${key}.json"]
  c: {foreach: [4, five], do: {cmd: "make ${item}", outs: ["data/c/${item}"]}}
"""


def test_members_values_and_notes_are_resolved() -> None:
    params = {"section": {"number": 3}, "root": {"folder": "data/raw"}}
    nodes = {node.name: node for node in resolve_nodes(parse_graph(GRAPH.encode(), "x"), params)}
    assert list(nodes) == ["a", "b@one", "b@two", "c@4", "c@five"]
    first = nodes["a"]
    assert first.cmd == "make data/a/seeds 3 ${nothing.there}", "what is not known stays"
    assert first.deps == (Path("data/raw"),)
    assert first.params == ("a",)
    assert [(output.path, output.type, output.labels) for output in first.outputs] == [
        ("data/a/plain", "", ()),
        ("data/a/seeds", "label_maps", ("seeds", "final")),
        ("data/a/metrics.json", "measures", ()),
        ("data/a/curve.csv", "curves", ()),
    ]
    folder, numbers = nodes["b@two"].outputs
    assert (folder.path, folder.type, folder.line) == ("data/b/two", "mine_maps", "of two")
    assert (numbers.path, numbers.line, numbers.source) == (
        "data/b/mine/two.json",
        "mine",
        "the second",
    )
    one = nodes["b@one"].outputs[1]
    assert (one.source, one.meta["row"], one.meta["labels"]) == ("one", "a: row", "data/a/seeds")
    assert nodes["c@4"].outs == (Path("data/c/4"),)


def test_the_graph_is_read_as_dvc_reads_it() -> None:
    ours = read_nodes(ROOT / "dvc.yaml", read_params_file(ROOT / "params.yaml"))
    with Repo(str(ROOT)) as repo:
        theirs = {stage.name: stage for stage in repo.index.stages if not stage.is_data_source}
        assert [node.name for node in ours] == list(theirs)
        for node in ours:
            stage = theirs[node.name]
            assert node.cmd == stage.cmd
            assert {str(out) for out in node.outs} == {out.def_path for out in stage.outs}
            assert {str(dep) for dep in node.deps} <= {dep.def_path for dep in stage.deps}
            notes = {out.def_path: out.annot for out in stage.outs}
            for output in node.outputs:
                annot = notes[output.path]
                assert output.type in (annot.type or "", "measures", "curves")
                assert list(output.labels) == list(annot.labels or [])
                assert dict(annot.meta or {}).items() <= output.meta.items()


@pytest.mark.parametrize("content", ["", "stages: 3", "a: b", "stages: {a: b}", "{", "[1]", "\x01"])
def test_what_is_no_graph_is_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "dvc.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"dvc\.yaml: ") as caught:
        read_nodes(path, {})
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"none\.yaml"):
        read_nodes(tmp_path / "none.yaml", {})


PLAIN = st.recursive(
    st.one_of(st.none(), st.integers(), st.text("ab:${}[]", max_size=4)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab"), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(["type", "labels", "meta", "cache"]), PLAIN))
def test_notes_of_any_kind_do_not_break_the_reader(notes: dict[str, Any]) -> None:
    content = {"stages": {"a": {"cmd": "x", "outs": [{"data/a": notes}]}}}
    [node] = resolve_nodes(content, {})
    [output] = node.outputs
    assert isinstance(output, Output)
    assert all(isinstance(label, str) for label in output.labels)
    assert output.line == str(output.meta.get("line", ""))


def test_paths_overlap_when_one_holds_the_other() -> None:
    a, b, c = Path("data/a"), Path("data/a/b"), Path("data/ab")
    assert overlap(a, b)
    assert overlap(b, a)
    assert not overlap(a, c)
