import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.graph.needs import all_above, lack, resolve_needs
from tests.pipelines.mini_repository import MiniRepository

NEED = "data/count.json:masks"
Graph = tuple[dict[str, list[str]], dict[str, str], set[str]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Stages "0", "1", ... each after those it reads, own needs, targets; "0" makes the file."""
    names = [str(index) for index in range(draw(st.integers(1, 9)))]
    upstream = {
        name: sorted(draw(st.sets(st.sampled_from(names[:index])))) if index else []
        for index, name in enumerate(names)
    }
    own = {name: draw(st.sampled_from(["", NEED])) for name in names}
    targets = draw(st.sets(st.sampled_from(names), min_size=1))
    wanted = targets.union(*(all_above(name, upstream) for name in targets))
    kept = {name: upstream[name] for name in names if name in wanted}
    return kept, {name: own[name] for name in kept}, targets


@given(graphs())
def test_what_is_left_out_is_all_that_nobody_else_wants(graph: Graph) -> None:
    upstream, own, targets = graph
    found = resolve_needs(own, upstream, targets, lambda file: "0")
    for name in upstream:
        readers = [other for other in upstream if name in upstream[other]]
        is_after_the_maker = "0" in all_above(name, upstream)
        of_use_alone = name in targets and not own[name]
        expected = (
            is_after_the_maker and not of_use_alone and all(found[r] == NEED for r in readers)
        )
        assert (found[name] == NEED) == expected


@pytest.mark.parametrize(
    ("content", "is_lacking"),
    [('{"masks": 0}', True), ('{"masks": 3}', False), ("{}", False), ("[", False), ("[0]", False)],
)
def test_only_a_number_that_is_there_and_0_leaves_out(
    tmp_path: Path, content: str, is_lacking: bool
) -> None:
    (tmp_path / "count.json").write_text(content)
    assert lack(tmp_path, "count.json:masks") == ("masks is 0 in count.json" if is_lacking else "")
    assert lack(tmp_path, "none.json:masks") == ""
    assert lack(tmp_path, "") == ""


@pytest.fixture
def counting(mini: MiniRepository) -> MiniRepository:
    """`first` counts the masks, which are its value; `right` and `last` need some."""
    path = mini.root / "stages/first.py"
    count = 'write_bytes(out.parent / "count.json", b\'{"masks": %d}\' % params.value)'
    path.write_text(
        path.read_text().replace("    if params.fail", f"    {count}\n    if params.fail")
    )
    path = mini.root / "dvc.yaml"
    text = path.read_text().replace(
        "data/first.txt]\n  left", "data/first.txt, data/count.json]\n  left"
    )
    for name in ("right", "last"):
        outs = f"    outs: [data/{name}, data/{name}.txt]"
        text = text.replace(outs, f'{outs}\n    meta: {{needs: "{NEED}"}}')
    path.write_text(text)
    mini.set("first", "value", 0)
    return mini


def test_a_run_leaves_out_what_needs_something_that_is_not_there(counting: MiniRepository) -> None:
    for _ in range(2):  # when it is not known beforehand, and when it is
        code, text = counting.run("run", "last", "--local")
        assert code == 1, text
        last = "last: cannot be made, as masks is 0 in data/count.json"
        assert text.strip().splitlines()[-1] == last
    assert json.loads((counting.root / "data/count.json").read_text()) == {"masks": 0}
    assert set(counting.outputs()) == {f"data/first/{n}.txt" for n in range(5)} | {"data/first.txt"}
    code, text = counting.run("run", "--local")
    assert code == 0, text
    assert "Left out, as masks is 0 in data/count.json: right, last" in text
    assert "left: data/left, data/left.txt" in text
    code, text = counting.run("run", "--local")
    assert code == 0, text
    assert "Everything is up to date: 2 stages unchanged." in text
    code, text = counting.run("status")
    assert "left out" in text
    assert "4 stages, 0 not up to date" in text


def test_what_is_left_out_is_made_as_soon_as_there_is_something(counting: MiniRepository) -> None:
    assert counting.run("run", "--local")[0] == 0
    counting.set("first", "value", 2)
    code, text = counting.run("run", "--local")
    assert code == 0, text
    assert "Left out" not in text
    assert counting.outputs()["data/last.txt"] == "first 2\nleft 1\nlast 1\n"


def test_who_takes_what_is_there_does_without_what_is_left_out(counting: MiniRepository) -> None:
    """`left` measures into a folder that `last` reads as it is."""
    path = counting.root / "dvc.yaml"
    text = path.read_text()
    for before, after in (
        ("--source data/left.txt --out data/last", "--source data/first.txt --out data/last"),
        ("deps: [data/left.txt]", "deps: [data/measures, data/first.txt]"),
        ("--out data/left\n", "--out data/measures/left\n"),
        (
            "outs: [data/left, data/left.txt]",
            f'outs: [data/measures/left.txt]\n    meta: {{needs: "{NEED}"}}',
        ),
        (
            f'outs: [data/last, data/last.txt]\n    meta: {{needs: "{NEED}"}}',
            "outs: [data/last.txt]",
        ),
    ):
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)
    source = counting.root / "stages/left.py"  # leaves nothing but what it declares
    source.write_text(source.read_text().replace("write_bytes(out /", "(lambda *_: None)(out /"))
    counting.set("first", "value", 2)
    assert counting.run("run", "last", "--local")[0] == 0
    measured = counting.root / "data/measures/left.txt"
    assert measured.is_file()
    counting.set("first", "value", 0)
    for said in ("2 completed, 1 left out", "Everything is up to date: 2 stages unchanged."):
        code, text = counting.run("run", "last", "--local")
        assert code == 0, text
        assert said in text
        assert "Left out, as masks is 0 in data/count.json: left" in text
        assert not measured.exists(), "what was measured of other data is gone"
    assert counting.outputs()["data/last.txt"] == "first 0\nlast 1\n"
    counting.set("first", "value", 2)
    assert counting.run("run", "last", "--local")[0] == 0
    assert measured.is_file()


def test_plain_dvc_repro_makes_all_of_it(counting: MiniRepository) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=counting.root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "data/last.txt" in counting.outputs()
