import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipelines.graph import new_stage as module
from pipelines.graph.new_stage import new_stage
from stages.engine.errors import InputError

HERE = Path(__file__).resolve().parents[3]
NAME = "regions_label"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """This repository's code and declarations, without data."""
    for folder in ("models", "stages", "presets"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(HERE / folder, tmp_path / folder, ignore=ignored)
    for name in ("dvc.yaml", "params.yaml", "pyproject.toml"):
        shutil.copy(HERE / name, tmp_path / name)
    return tmp_path


def contents(root: Path) -> dict[Path, bytes]:
    files = [path for path in root.rglob("*") if path.is_file() and "cache" not in str(path)]
    return {path.relative_to(root): path.read_bytes() for path in files}


def test_only_the_five_places_are_written_and_the_rest_of_each_stays(root: Path) -> None:
    before = contents(root)
    written = new_stage(root, NAME)
    after = contents(root)
    assert {path for path in after if after[path] != before.get(path)} == set(written)
    assert len(written) == 5
    for name in ("dvc.yaml", "params.yaml", "presets/default.yaml"):
        old, new = before[Path(name)].splitlines(), after[Path(name)].splitlines()
        added = [line for line in new if NAME.encode() in line]
        assert added
        rest = iter(new)
        assert all(line in rest for line in old), f"a line of {name} was lost or moved"
    stages = YAML(typ="safe").load(root / "dvc.yaml")["stages"]
    sections = YAML(typ="safe").load(root / "params.yaml")
    assert list(stages)[-1] == list(sections)[-1] == NAME
    assert {"data/code/closures.json": [NAME]} in stages[NAME]["params"]


@pytest.mark.parametrize("name", ["aa", "z9_" * 10])
def test_the_stub_is_clean_and_its_test_passes(root: Path, name: str) -> None:
    files = [str(path) for path in new_stage(root, name) if path.suffix == ".py"]
    for command in (["ruff", "check", *files], ["ruff", "format", "--check", *files]):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
    pytest_run = [sys.executable, "-m", "pytest", "-q", f"tests/stages/test_{name}.py"]
    done = subprocess.run(pytest_run, cwd=root, capture_output=True, text=True, check=False)
    assert "1 passed" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("crf_refine", "is there already; choose another name"),
        ("sources", "stages/sources: is there already"),
        ("Regions", "expected a name such as regions_label"),
        ("../x", "expected a name such as regions_label"),
        ("label-regions", "expected a name such as regions_label"),
        ("9lives", "expected a name such as regions_label"),
        ("class", "expected a name such as regions_label"),
        ("x" * 33, "at most 32"),
        ("run", "has this word in it"),
        ("", "expected a name"),
    ],
)
def test_what_is_no_new_name_is_refused(root: Path, name: str, message: str) -> None:
    before = contents(root)
    with pytest.raises(InputError, match=message):
        new_stage(root, name)
    assert contents(root) == before


@pytest.mark.parametrize("place", ["params.yaml", "presets/default.yaml"])
def test_a_section_of_that_name_is_refused(root: Path, place: str) -> None:
    with (root / place).open("a") as file:
        file.write(f"\n{NAME}: {{}}\n")
    before = contents(root)
    with pytest.raises(InputError, match=f"{place}: has a section {NAME!r}"):
        new_stage(root, NAME)
    assert contents(root) == before


@pytest.mark.parametrize("fails", range(5))
def test_nothing_is_half_written(root: Path, monkeypatch: pytest.MonkeyPatch, fails: int) -> None:
    before, calls = contents(root), iter(range(100))
    write_bytes = module.write_bytes

    def full(path: Path, content: bytes) -> None:
        if next(calls) == fails:
            raise OSError(28, "No space left on device")
        write_bytes(path, content)

    monkeypatch.setattr(module, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        new_stage(root, NAME)
    assert contents(root) == before


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_the_last_stage_may_be_the_end_of_dvc_yaml(root: Path, end: str) -> None:
    path = root / "dvc.yaml"
    stages = path.read_text().partition("\nplots:")[0].rpartition("\n#")[0].rstrip()
    path.write_text(stages + end)
    new_stage(root, NAME)
    assert path.read_text().startswith(stages)
    assert YAML(typ="safe").load(path)["stages"][NAME]["metrics"]
