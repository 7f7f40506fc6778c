import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.graph.plan import Plan, State, Step
from pipelines.run import disk
from tests.pipelines.mini_repository import MiniRepository

LOCK = """schema: '2.0'
stages:
  big:
    cmd: make big
    outs:
    - path: data/big
      md5: 0123456789abcdef0123456789abcdef
      size: 5000000000
"""


def plan_of(state: State) -> Plan:
    return Plan((Step("big", (), state), Step("new", ("big",), State.MUST_RUN)))


@pytest.mark.parametrize(
    ("free", "state", "needed"),
    [
        (6e9, State.MUST_RUN, None),
        (4e9, State.MUST_RUN, "4000 MB free, and the run may need 5000 MB"),
        (4e9, State.WAITING, "4000 MB free, and the run may need 5000 MB"),
        (4e9, State.UNCHANGED, None),
        (5e7, State.UNCHANGED, "50 MB free, and the run may need 100 MB"),
    ],
)
def test_a_run_needs_what_its_stages_took_last_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, state: State, needed: str | None
) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "dvc.lock").write_text(LOCK)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    text = disk.lacking_room(tmp_path, plan_of(state))
    assert (needed in text and "makes room" in text) if needed else not text


def test_a_disk_is_full_when_something_says_so_or_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".dvc").mkdir()
    assert not disk.full_disk(tmp_path, ["ERROR: failed", "exit code 1"])
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: SimpleNamespace(free=1e5))
    assert "0.1 MB free" in disk.full_disk(tmp_path, ["ERROR: No possible cache link types"])
    monkeypatch.undo()
    text = disk.full_disk(tmp_path, ["a", "first: data/a: No space left on device; 0.0 MB"])
    assert text.startswith(f"The disk is full: {tmp_path} has ")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 150 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=150m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk wants a tmpfs mounted, which this user may not")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("left", [20_000, 65_536])
def test_a_run_on_a_disk_that_gets_full_says_so_and_goes_on_later(
    small_disk: Path, left: int
) -> None:
    (small_disk / "root").mkdir()
    mini = MiniRepository(small_disk / "root")
    ballast = small_disk / "ballast"
    stage = mini.root / "stages/first.py"
    sound = stage.read_text()
    fill = (
        "    import shutil\n"
        f'    with open("{ballast}", "wb") as file:\n'
        f'        file.write(bytes(shutil.disk_usage(".").free - {left}))\n'
    )
    stage.write_text(sound.replace("    out.mkdir", f"{fill}    out.mkdir"))
    code, text = mini.run("run", "--local")
    assert code == 1
    assert "Traceback" not in text
    assert f"The disk is full: {mini.root} has 0." in text
    assert text.endswith("To go on from here: ./seedmask run --local\n")
    code, text = mini.run("run", "--local")
    assert code == 1
    assert len(text.splitlines()) == 1, "refused at once while it is full"
    ballast.unlink()
    stage.write_text(sound)
    code, text = mini.run("run", "--local")
    assert code == 0, text
    assert mini.outputs()["data/last.txt"] == "first 1\nleft 1\nlast 1\n"
    mini.close()
