import os
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.io.command import parse_section, read_params_file, run
from stages.io.errors import InputError


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    epochs: Annotated[int, Field(gt=0)]
    learning_rate: float


seen: list[object] = []


def draw_stage(params: Params, images: Path, out: Path, name: str = "plain") -> None:
    """A stage for the tests."""
    if not images.name.endswith(".parquet"):
        raise InputError(f"{images}: expected a .parquet file")
    seen.append((params, images, out, name))


def write_params(path: Path, text: str) -> Path:
    file = path / "params.yaml"
    file.write_text(text)
    return file


def test_scientific_notation_is_a_number(tmp_path: Path) -> None:
    file = write_params(tmp_path, "draw_stage: {epochs: 3, learning_rate: 1e-4}\n")
    assert read_params_file(file)["draw_stage"]["learning_rate"] == 1e-4


def test_run_gives_the_stage_typed_params_and_paths(tmp_path: Path) -> None:
    file = write_params(tmp_path, "draw_stage:\n  epochs: 3\n  learning_rate: 1\n")
    seen.clear()
    run(draw_stage, ["--images", "a.parquet", "--out", "o", "--params", str(file)])
    assert seen == [(Params(3, 1.0), Path("a.parquet"), Path("o"), "plain")]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"epoch": 3, "epochs": 1, "learning_rate": 1.0}, "did you mean 'epochs'"),
        ({"colour": 3, "epochs": 1, "learning_rate": 1.0}, "known keys: epochs, learning_rate"),
        ({"epochs": 3}, "params.yaml: s.learning_rate: missing"),
        ({"epochs": 0, "learning_rate": 1.0}, "greater than 0, found 0"),
        ({"epochs": 3.5, "learning_rate": 1.0}, "found 3.5"),
        ([1], "expected key: value pairs"),
    ],
)
def test_a_wrong_section_is_one_line(section: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_section(Params, section, "params.yaml: s")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_input_error_is_one_line_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_params(tmp_path, "draw_stage: {epochs: 3, learning_rate: 1}\n")
    with pytest.raises(SystemExit) as caught:
        run(draw_stage, ["--images", "a.csv", "--out", "o", "--params", str(file)])
    assert caught.value.code == 1
    assert capsys.readouterr().err == "draw_stage: a.csv: expected a .parquet file\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("other: {}\n", "section 'draw_stage' is missing"),
        ("draw_stage: [1\n", "not valid YAML"),
        ("- 1\n", "expected one section per stage"),
    ],
)
def test_a_wrong_params_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    file = write_params(tmp_path, text)
    with pytest.raises(SystemExit):
        run(draw_stage, ["--images", "a.parquet", "--out", "o", "--params", str(file)])
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_missing_params_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_params_file(tmp_path / "params.yaml")


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "1e999", "'inf'", "'nan'"])
def test_a_number_that_is_not_finite_is_refused(tmp_path: Path, value: str) -> None:
    file = write_params(tmp_path, f"draw_stage: {{epochs: 3, learning_rate: {value}}}\n")
    section = read_params_file(file)["draw_stage"]
    with pytest.raises(InputError, match=r"p: s\.learning_rate: expected a finite number, found "):
        parse_section(Params, section, "p: s")


def test_what_is_no_file_or_no_text_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    os.mkfifo(file)
    with pytest.raises(InputError, match=r"params\.yaml: expected a file, found something else$"):
        read_params_file(file)
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(InputError, match=r"params\.yaml: "):
        read_params_file(file)
    file.unlink()
    file.write_bytes("a: {b: é}".encode("latin-1"))
    with pytest.raises(InputError, match="expected YAML in UTF-8, found byte 0xe9 at 7"):
        read_params_file(file)
    file.write_bytes(b"\xef\xbb\xbfa: {b: 1}")  # editors write this mark; DVC reads it too
    assert read_params_file(file) == {"a": {"b": 1}}


def test_a_long_value_is_shown_shortly(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        parse_section(Params, {"epochs": "x" * 10_000, "learning_rate": 1.0}, "p: s")
    assert "p: s.epochs: " in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_path_is_looked_up_in_params(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = "Tom's (new) $(touch x) photos"
    text = "draw_stage: {epochs: 3, learning_rate: 1}\ndata:\n"
    file = write_params(tmp_path, f'{text}  root: "{folder}.parquet"\n  size: 3\n')
    seen.clear()
    run(draw_stage, ["--images", "@data.root", "--out", "o", "--params", str(file)])
    assert seen == [(Params(3, 1.0), Path(f"{folder}.parquet"), Path("o"), "plain")]
    for key, found in (("data.size", "3"), ("data.nothing", "None"), ("nothing.root", "None")):
        with pytest.raises(SystemExit):
            run(draw_stage, ["--images", f"@{key}", "--out", "o", "--params", str(file)])
        assert capsys.readouterr().err.endswith(f"{key}: expected a path, found {found}\n")
