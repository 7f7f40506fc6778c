import errno
import inspect
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, get_type_hints

import pytest
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.engine.command import parse_section, read_params_file, run
from stages.engine.errors import InputError
from stages.engine.inputs import read_inputs


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    epochs: Annotated[int, Field(gt=0)]
    learning_rate: float

    @property
    def files(self) -> tuple[Path, ...]:
        return (Path(f"weights_{self.epochs}.pth"),)


STAGES = sorted(path.stem for path in Path("stages").glob("[!_]*.py"))
seen: list[object] = []


def draw_stage(params: Params, images: Path, out: Path, name: str = "plain") -> None:
    """A stage for the tests."""
    if not images.name.endswith(".parquet"):
        raise InputError(f"{images}: expected a .parquet file")
    seen.append((params, images, out, name))


def read_slowly(params: Params, images: Path, out: Path) -> None:
    """A stage under which something happens."""
    meanwhile.pop()()


meanwhile: list[Callable[[], object]] = []


@dataclass(frozen=True)
class Folder:
    folder: Path
    root: Path = Path("nowhere")
    kinds: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.folder / "table",)


def read_folder(params: Params, data: Folder, out: Path) -> None:
    """A stage that is given a dataclass of paths."""
    seen.append(data)
    for edit in meanwhile:
        edit()


@pytest.mark.parametrize("words", [[], ["--root", "@photographs.root"]])
def test_a_dataclass_of_paths_is_an_option_per_field(tmp_path: Path, words: list[str]) -> None:
    section = "read_folder: {epochs: 3, learning_rate: 1}\nphotographs: {root: 'a b'}\n"
    file = write_params(tmp_path, section)
    seen.clear()
    run(read_folder, ["--data", "d", *words, "--out", "o", "--params", str(file)])
    assert seen == [Folder(Path("d"), Path("a b" if words else "nowhere"))]


def test_names_are_looked_up_in_params(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "read_folder: {epochs: 3, learning_rate: 1}\nlabels: {use: [box, tag], size: 3}\n"
    words = ["--data", "d", "--out", "o", "--params", str(write_params(tmp_path, text)), "--kinds"]
    seen.clear()
    run(read_folder, [*words, "@labels.use"])
    assert seen == [Folder(Path("d"), kinds=("box", "tag"))]
    with pytest.raises(SystemExit):
        run(read_folder, [*words, "@labels.size"])
    assert "labels.size: expected a list of names, found 3" in capsys.readouterr().err


def test_what_a_dataclass_of_paths_names_is_watched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_params(tmp_path, "read_folder: {epochs: 3, learning_rate: 1}\n")
    words = ["--data", str(tmp_path), "--out", "o", "--params", str(file)]
    (tmp_path / "table").write_text("before")
    for name, ends in (("other", False), ("table", True)):
        monkeypatch.setitem(globals(), "meanwhile", [partial((tmp_path / name).write_text, "now")])
        if not ends:
            run(read_folder, words)
            continue
        with pytest.raises(SystemExit):
            run(read_folder, words)
        assert "table changed while read_folder ran" in capsys.readouterr().err


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


@pytest.mark.parametrize("stage", STAGES)
def test_help_says_what_each_number_is(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    function = getattr(import_module(f"stages.{stage}"), stage)
    with pytest.raises(SystemExit):
        run(function, ["--help"])
    text = capsys.readouterr().out
    assert inspect.getdoc(function).split("\n")[0] in text
    for number in inspect.signature(get_type_hints(function)["params"]).parameters:
        assert re.search(rf"^  {number}: .+ # \w", text, re.MULTILINE), number


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


SECTION = "read_slowly: {epochs: 3, learning_rate: 1}\n"


def run_while(folder: Path, edit: Callable[[], object]) -> None:
    """`read_slowly` on a table and a params file in `folder`, and `edit` meanwhile."""
    meanwhile.append(edit)
    words = [
        *("--images", str(folder / "images.parquet"), "--out", str(folder / "out")),
        *("--params", str(folder / "params.yaml")),
    ]
    run(read_slowly, words)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_params(tmp_path, SECTION)
    (tmp_path / "images.parquet").write_text("images")
    (tmp_path / "images.json").write_text("beside them")
    (tmp_path / "photographs").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        ("images.parquet", "others", "images.parquet"),
        ("images.json", "others", "images.json"),
        ("params.yaml", SECTION.replace("3", "4"), "params.yaml: read_slowly"),
        ("params.yaml", "read_slowly: [cut sho", "params.yaml: read_slowly"),
    ],
)
def test_an_input_that_changes_under_a_stage_is_one_line_and_exit_code_1(
    folder: Path, file: str, text: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run_while(folder, lambda: (folder / file).write_text(text))
    assert caught.value.code == 1
    expected = f"read_slowly: {folder / named} changed while read_slowly ran; run again\n"
    assert capsys.readouterr().err == expected


def test_a_file_that_the_section_names_may_not_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    (folder / "weights_3.pth").write_text("before")
    with pytest.raises(SystemExit):
        run_while(folder, lambda: (folder / "weights_3.pth").write_text("after"))
    assert "weights_3.pth changed while read_slowly ran" in capsys.readouterr().err


def test_what_the_stage_writes_and_what_it_does_not_read_may_change(folder: Path) -> None:
    def edit() -> None:
        write_params(folder, SECTION + "other: {seed: 1}\n")
        os.utime(folder / "images.parquet", (0, 0))
        (folder / "out").mkdir()
        (folder / "photographs/a.jpg").touch()  # images.parquet declares each by its hash

    run_while(folder, edit)
    assert meanwhile == []


def test_a_stage_that_ends_by_itself_is_not_asked_what_changed(folder: Path) -> None:
    def edit() -> None:
        (folder / "images.parquet").write_text("others")
        raise SystemExit  # as all but the first of several training processes do

    with pytest.raises(SystemExit) as caught:
        run_while(folder, edit)
    assert caught.value.code is None


def test_a_stage_leaves_what_it_read_where_it_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEEDMASK_INPUTS", str(folder / "left.json"))
    run_while(folder, lambda: None)
    left = read_inputs(folder / "left.json")
    assert {Path(name).name for name in left.files} == {"images.parquet", "images.json"}
    assert left.values == [
        (str(folder / "params.yaml"), "read_slowly", '{"epochs": 3, "learning_rate": 1}')
    ]


def test_code_that_was_written_after_the_process_began_stops_the_stage(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "stages").mkdir()
    for name in ("__init__.py", "read_slowly.py"):
        (folder / "stages" / name).touch()
        os.utime(folder / "stages" / name, (1e9, 1e9))  # as `git mv` and `cp -p` leave it
    monkeypatch.setattr("stages.engine.command.ROOT", folder)
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as caught:
        run_while(folder, lambda: None)
    assert caught.value.code == 1
    meanwhile.clear()
    said = "stages/__init__.py and 1 more changed while read_slowly started; run again"
    assert said in capsys.readouterr().err


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
