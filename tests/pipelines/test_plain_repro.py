"""`.venv/bin/dvc repro` as its users type it, without activation and wherever the images lie."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.graph.presets import use_preset
from tests.stages.devkits import coco_box, coco_image, write_coco

HERE = Path(__file__).resolve().parents[2]
BARE = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "DVC_NO_ANALYTICS": "1"}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    root = tmp_path / "clone"
    wired = ("dvc.yaml", "graph.yaml", "python", "requirements.lock")
    for name in (*wired, ".dvc/config", ".dvcignore", "presets", "stages", "models"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (HERE / name).is_dir() else shutil.copy
        copy(HERE / name, root / name)
    (root / ".venv").symlink_to(sys.prefix)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    return root


def repro(root: Path, stage: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [".venv/bin/python", "-m", "dvc", "repro", stage],
        cwd=root,
        env=BARE | {"DVC_SITE_CACHE_DIR": str(root / ".dvc/site")},
        capture_output=True,
        text=True,
        check=False,
    )


def ask(root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`./python` says which Python it is."""
    return subprocess.run(
        ["./python", "-c", "import sys; print(sys.prefix)"],
        cwd=root,
        env=BARE | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_folder_with_spaces_and_quotes_is_read(clone: Path) -> None:
    folder = "data/raw/Tom's new (2) photos"
    write_coco(clone / folder, [coco_image(1, "a.png")], [coco_box(1, 3, [5, 5, 20, 20])])
    use_preset(clone, "default", [f"dataset.root={folder}"])
    done = repro(clone, "dataset")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (clone / "data/dataset/images.parquet").is_file()


def test_no_shell_runs_what_stands_in_a_parameter(clone: Path) -> None:
    folder = "x; touch touched; $(touch touched) `touch touched` ' touch touched '"
    use_preset(clone, "default")
    text = (clone / "params.yaml").read_text().replace("root: data/scenes", f'root: "{folder}"')
    (clone / "params.yaml").write_text(text)
    (clone / folder).mkdir()
    done = repro(clone, "dataset")
    assert "params.yaml: dataset.root: expected a folder's path" in done.stderr + done.stdout
    assert not list(clone.rglob("touched"))


def test_python_is_that_of_the_project(clone: Path) -> None:
    assert ask(clone).stdout.strip() == str(clone / ".venv")
    copy = clone / ".dvc/tmp/exps/standalone/tmp1"  # where DVC's queue works
    copy.mkdir(parents=True)
    shutil.copy(clone / "python", copy)
    assert ask(copy).stdout.strip() == str(clone / ".venv")
    (clone / ".venv").unlink()
    inherited = ask(clone, PATH=os.pathsep.join([f"{sys.prefix}/bin", BARE["PATH"]]))
    assert inherited.stdout.strip() == sys.prefix
    chosen = ask(clone, SEEDMASK_PYTHON=sys.executable)
    assert chosen.stdout.strip() == sys.prefix


def test_without_the_libraries_one_line_says_what_to_type(clone: Path) -> None:
    (clone / ".venv").unlink()
    empty = clone / "bin"  # a PATH whose python has nothing
    empty.mkdir()
    (empty / "python").write_text("#!/bin/sh\nexit 1\n")
    (empty / "python").chmod(0o755)
    done = ask(clone, PATH=os.pathsep.join([str(empty), BARE["PATH"]]))
    assert done.returncode == 1
    assert "type: make install" in done.stderr
    assert done.stderr.count("\n") == 1
