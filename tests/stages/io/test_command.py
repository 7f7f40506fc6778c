import errno
import os
import sys
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


def test_what_the_machine_refuses_is_one_line_and_a_mistake_of_ours_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_params(tmp_path, "draw_stage: {epochs: 3, learning_rate: 1}\n")
    argv = ["--params", str(file), "--images", "a.parquet", "--out", str(tmp_path)]
    errors = {
        errno.ENOSPC: "No space left on device; ",
        errno.EACCES: "Permission denied\n",
        errno.ENOTDIR: "Not a directory\n",
    }
    for number, text in errors.items():
        error = OSError(number, os.strerror(number), str(tmp_path / "x.bin"))
        monkeypatch.setattr(sys.modules[__name__], "seen", Refusing(error))
        with pytest.raises(SystemExit, match="1"):
            run(draw_stage, argv)
        printed = capsys.readouterr().err
        assert printed.startswith(f"draw_stage: {tmp_path / 'x.bin'}: {text}")
        assert printed.count("\n") == 1
    monkeypatch.setattr(sys.modules[__name__], "seen", Refusing(FileNotFoundError(2, "no", "x")))
    with pytest.raises(FileNotFoundError):
        run(draw_stage, argv)


class Refusing:
    """Takes the place of `seen`."""

    def __init__(self, error: OSError) -> None:
        self.error = error

    def append(self, entry: object) -> None:
        raise self.error
