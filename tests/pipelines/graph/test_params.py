import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.graph.params import check_sections, check_values, params_type
from stages.engine.command import parse_section, read_params_file
from stages.engine.errors import InputError

HERE = Path(__file__).resolve().parents[3]
DVC = """
stages:
  scenes:
    cmd: python -m stages.scenes
    params: [scenes]
  crf_refine:
    foreach: [a]
    do:
      cmd: python -m stages.crf_refine
      params: [crf_refine, scenes.root]
"""


def folder(tmp_path: Path, params: str) -> Path:
    (tmp_path / "dvc.yaml").write_text(DVC)
    (tmp_path / "params.yaml").write_text(params)
    return tmp_path


def test_sections_that_fit_are_returned(tmp_path: Path) -> None:
    sections = check_sections(folder(tmp_path, "scenes: {root: x}\ncrf_refine: {}\n"))
    assert sections == {"scenes": {"root": "x"}, "crf_refine": {}}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("scenes: {root: x}\n", "section 'crf_refine' is missing"),
        ("scenes: {root: x}\ncrf_refin: {}\n", "unknown section 'crf_refin'; did you mean 'crf_r"),
        ("scenes: {}\ncrf_refine: {}\n", "scenes.root is missing, which dvc.yaml needs"),
        ("scenes: {a: 1, a: 2}\n", "not valid YAML"),
        ("- scenes\n", "expected one section per stage, found list"),
    ],
)
def test_what_does_not_fit_dvc_yaml_is_one_line(tmp_path: Path, params: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_sections(folder(tmp_path, params))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_our_own_params_are_valid(tmp_path: Path) -> None:
    sections = check_sections(HERE)
    check_values(sections, tmp_path / "params.yaml")


def test_only_a_section_that_was_not_yet_right_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = read_params_file(HERE / "params.yaml")
    checked: list[str] = []

    def watched(name: str) -> type[Any]:
        checked.append(name)
        return params_type(name)

    monkeypatch.setattr("pipelines.graph.params.params_type", watched)
    two = {name: sections[name] for name in ("scenes", "crf_refine")}
    check_values(two, tmp_path / "params.yaml")
    check_values(two, tmp_path / "params.yaml")
    assert checked == ["scenes", "crf_refine"]
    two["scenes"]["seed"] = "zero"
    for _ in range(2):  # what is wrong stays wrong
        with pytest.raises(InputError, match=r"scenes\.seed"):
            check_values(two, tmp_path / "params.yaml")
    assert checked[2:] == ["scenes", "scenes"]
    two["scenes"]["seed"] = 1
    monkeypatch.setattr("pipelines.graph.params._code_digest", lambda: "another")
    check_values(two, tmp_path / "params.yaml")
    assert checked[4:] == ["scenes", "crf_refine"]


def test_every_problem_of_every_section_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sections = read_params_file(HERE / "params.yaml")
    sections["crf_refine"]["iteratons"] = sections["crf_refine"].pop("iterations")
    sections["scenes"]["seed"] = "zero"
    with pytest.raises(InputError) as caught:
        check_values(sections, Path("params.yaml"))
    first, second = str(caught.value).splitlines()
    assert first.startswith("params.yaml: scenes.seed: ")
    assert "crf_refine.iteratons: unknown key; did you mean 'iterations'?" in second


def test_a_stage_without_a_module_is_named() -> None:
    with pytest.raises(InputError, match=r"stages/nothing\.py: no such file"):
        check_values({"nothing": {}}, Path("params.yaml"))


@pytest.mark.parametrize("name", list(read_params_file(HERE / "params.yaml")))
def test_no_stage_takes_a_number_that_is_not_finite(name: str) -> None:
    section = read_params_file(HERE / "params.yaml")[name]
    kind = params_type(name)
    for key, value in section.items():
        for number in (math.inf, -math.inf, math.nan, "inf", "nan"):
            for changed in _with(value, number):
                with pytest.raises(InputError, match=rf"{name}\.{key}"):
                    parse_section(kind, section | {key: changed}, f"params.yaml: {name}")


def _with(value: object, number: object) -> Iterator[object]:
    """The number in the place of each number of a parameter."""
    if isinstance(value, list):
        for index, inner in enumerate(value):
            for changed in _with(inner, number):
                yield [*value[:index], changed, *value[index + 1 :]]
    elif isinstance(value, int | float):
        yield number
