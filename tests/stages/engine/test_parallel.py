import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from distributed import LocalCluster

from stages.engine import memo
from stages.engine.errors import InputError
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images


@dataclass(frozen=True)
class Item:
    image_id: str
    value: int


def square(item: Item) -> Outcome:
    if item.value < 0:
        raise ValueError(f"value: expected >= 0, got {item.value}")
    return Outcome({f"{item.image_id}.txt": b"%d" % item.value**2}, {"value": item.value})


def report_process(item: Item) -> Outcome:
    return Outcome({}, {"pid": os.getpid()})


def refuse(item: Item) -> Outcome:
    raise AssertionError("computed again")


@pytest.fixture(autouse=True)
def own_memo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.engine.parallel.Memo", lambda stage: StubMemo(tmp_path / "memo"))


class StubMemo:
    """The store in a temporary folder, with a fixed code digest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, item: object) -> Path:
        return self.folder / memo.memo_key("code", item)

    def has_same_code(self) -> bool:
        return True


ITEMS = {f"i{value}": Item(f"i{value}", value) for value in range(9)}


@pytest.mark.parametrize("workers", [1, 2])
def test_files_and_stats_do_not_depend_on_the_workers(tmp_path: Path, workers: int) -> None:
    stats = map_images(square, ITEMS, tmp_path / "out", stage="square", workers=workers)
    assert [row["value"] for row in stats] == list(range(9))
    written = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert written == {f"i{value}.txt": str(value**2) for value in range(9)}


@pytest.mark.parametrize(("start", "elsewhere"), [(60.0, 0), (0.0, 7)])
def test_a_pool_starts_when_enough_work_is_left_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: float, elsewhere: int
) -> None:
    monkeypatch.setattr("stages.engine.parallel.POOL_START", start)
    monkeypatch.setattr("stages.engine.parallel.default_workers", lambda: 2)
    monkeypatch.delenv("SEEDMASK_WORKERS", raising=False)
    stats = map_images(report_process, ITEMS, tmp_path / "out", stage="square")
    assert [row["pid"] == os.getpid() for row in stats] == [
        *[True] * (9 - elsewhere),
        *[False] * elsewhere,
    ]


def test_what_was_computed_is_not_computed_again(tmp_path: Path) -> None:
    first = map_images(square, ITEMS, tmp_path / "a", stage="square", workers=1)
    again = map_images(refuse, ITEMS, tmp_path / "b", stage="square", workers=1)
    assert again == first
    assert (tmp_path / "b" / "i3.txt").read_text() == "9"


def test_one_image_more_is_computed_alone_and_without_another_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def only_the_new_one(item: Item) -> Outcome:  # not to be pickled for a worker
        assert item.value == 4
        return square(item)

    others = {image_id: item for image_id, item in ITEMS.items() if item.value != 4}
    map_images(square, others, tmp_path / "a", stage="square", workers=1)
    stats = map_images(only_the_new_one, ITEMS, tmp_path / "b", stage="square", workers=2)
    assert [row["value"] for row in stats] == list(range(9))
    assert len(list((tmp_path / "b").iterdir())) == 9
    assert "square: 8 of 9 images kept from earlier runs" in capsys.readouterr().err


@dataclass(frozen=True)
class FileItem:
    image_id: str
    file: Path


def read_while_it_is_edited(item: FileItem) -> Outcome:
    """The stage of someone who saves another file in its place before it is read."""
    other = item.file.with_suffix(".new")
    other.write_bytes(b"second")
    os.replace(other, item.file)
    return Outcome({f"{item.image_id}.txt": item.file.read_bytes()})


def read_what_is_put_back(item: FileItem) -> Outcome:
    """As a checkout of another commit and back."""
    first = item.file.read_bytes()
    outcome = read_while_it_is_edited(item)
    item.file.write_bytes(first)
    return outcome


@pytest.mark.parametrize("stage", [read_while_it_is_edited, read_what_is_put_back])
def test_what_was_made_of_a_file_that_changed_meanwhile_is_not_kept(
    tmp_path: Path, stage: Callable[[FileItem], Outcome]
) -> None:
    items = {name: FileItem(name, tmp_path / f"{name}.png") for name in "abc"}
    for item in items.values():
        item.file.write_bytes(b"first ")
    with pytest.raises(InputError, match=r"image a: .*/a\.png changed while the stage ran; run it"):
        map_images(stage, items, tmp_path / "out", stage="square", workers=1)
    kept = [path for path in (tmp_path / "memo").rglob("*") if path.is_file()]
    assert kept == []


def test_what_other_code_may_have_made_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "stages/scenes.py"
    source.parent.mkdir()
    (source.parent / "__init__.py").touch()
    source.write_text("A = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stages.engine.memo.ROOT", tmp_path)
    monkeypatch.setattr("stages.engine.memo.is_edited_since_start", lambda path: False)
    monkeypatch.setattr("stages.engine.parallel.Memo", memo.Memo)

    def edit_the_code(item: Item) -> Outcome:
        source.write_text("A = 2\n")
        return square(item)

    with pytest.raises(InputError, match="scenes: its code changed while it ran; run it again"):
        map_images(edit_the_code, ITEMS, tmp_path / "out", stage="scenes", workers=1)
    assert not list(tmp_path.glob(".seedmask/memo/scenes/*/*"))


def test_a_process_that_began_before_an_edit_takes_and_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "stages/scenes.py"
    source.parent.mkdir()
    (source.parent / "__init__.py").touch()
    source.write_text("A = 1\n")  # after this process began
    monkeypatch.setattr("stages.engine.memo.ROOT", tmp_path)
    with pytest.raises(InputError, match="scenes: its code was edited after it had started"):
        memo.Memo("scenes", tmp_path / "memo")


def test_a_damaged_result_is_computed_again_and_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = map_images(square, ITEMS, tmp_path / "a", stage="square", workers=1)
    place = StubMemo(tmp_path / "memo").path(ITEMS["i3"])
    content = bytearray(place.read_bytes())
    content[content.index(b"9")] ^= 1
    place.write_bytes(content)
    capsys.readouterr()
    for folder, said in (("b", 1), ("c", 0)):
        assert map_images(square, ITEMS, tmp_path / folder, stage="square", workers=1) == first
        assert (tmp_path / folder / "i3.txt").read_text() == "9"
        assert capsys.readouterr().err.count(f"{place}: damaged") == said


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_names_its_image(tmp_path: Path, workers: int) -> None:
    with pytest.raises(ValueError, match="got -1") as caught:
        map_images(
            square, ITEMS | {"bad": Item("bad", -1)}, tmp_path, stage="square", workers=workers
        )
    assert any("image bad" in note for note in caught.value.__notes__)


def test_no_images_is_no_work(tmp_path: Path) -> None:
    assert map_images(square, {}, tmp_path / "out", stage="square") == []
    assert (tmp_path / "out").is_dir()


def test_verifying_computes_a_sample_again_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    map_images(square, ITEMS, tmp_path / "a", stage="square", workers=1)
    monkeypatch.setenv("SEEDMASK_VERIFY_MEMO", "0.3")
    with pytest.raises(SystemExit) as ended:
        map_images(square, ITEMS, tmp_path / "b", stage="square", workers=1)
    assert ended.value.code == 0
    assert capsys.readouterr().out == "square: 3 kept results computed again, 0 differ\n"
    assert not (tmp_path / "b").exists()


def test_verifying_names_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    map_images(square, ITEMS, tmp_path / "a", stage="square", workers=1)
    place = StubMemo(tmp_path / "memo").path(ITEMS["i4"])
    memo.keep_outcome(place, Outcome({"i4.txt": b"17"}, {"value": 4}))
    monkeypatch.setenv("SEEDMASK_VERIFY_MEMO", "1")
    with pytest.raises(SystemExit) as ended:
        map_images(square, ITEMS, tmp_path / "b", stage="square", workers=2)
    assert ended.value.code == 1
    assert "9 kept results computed again, 1 differ" in (told := capsys.readouterr().out)
    assert "i4 differs" in told


def test_verifying_says_that_a_damaged_result_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    map_images(square, ITEMS, tmp_path / "a", stage="square", workers=1)
    StubMemo(tmp_path / "memo").path(ITEMS["i4"]).write_bytes(b"PK\3\4")
    monkeypatch.setenv("SEEDMASK_VERIFY_MEMO", "1")
    with pytest.raises(SystemExit) as ended:
        map_images(square, ITEMS, tmp_path / "b", stage="square", workers=1)
    assert ended.value.code == 1
    assert "i4 differs" in capsys.readouterr().out


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of two Dask workers on loopback, started where our code is."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as started:
        yield str(started.scheduler_address)


SCRIPT = """
import os, sys
from dataclasses import dataclass
from pathlib import Path
from stages.engine.memo import Outcome
from stages.engine.parallel import map_images

@dataclass(frozen=True)
class Item:
    image_id: str
    value: int

def square(item: Item) -> Outcome:
    if item.value < 0:
        raise ValueError("below 0")
    return Outcome({f"{item.image_id}.txt": b"%d" % item.value**2}, {"pid": os.getpid()})

if __name__ == "__main__":
    items = {f"i{value}": Item(f"i{value}", value) for value in range(int(sys.argv[1]), 40)}
    stats = map_images(square, items, Path("out"), stage="scenes")
    pids = {row["pid"] for row in stats}
    print(len(pids), os.getpid() in pids)
"""


def start_on(cluster: str, folder: Path, first: int) -> "subprocess.CompletedProcess[str]":
    """Run SCRIPT as a stage is run: its function lives in __main__."""
    root = Path(__file__).resolve().parents[3]
    for name in ("models", "stages"):
        if not (folder / name).exists():
            (folder / name).symlink_to(root / name)
    environment = os.environ | {"SEEDMASK_DASK": cluster, "PYTHONPATH": str(root)}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(first)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_dask_workers_compute_the_images_and_this_process_writes_them(
    tmp_path: Path, cluster: str
) -> None:
    done = start_on(cluster, tmp_path, 0)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "False"]
    written = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert written == {f"i{value}.txt": str(value**2) for value in range(40)}


def test_a_failure_on_a_dask_worker_ends_the_stage(tmp_path: Path, cluster: str) -> None:
    done = start_on(cluster, tmp_path, -1)
    assert done.returncode == 1
    assert "while working on image i-1" in done.stderr


@pytest.mark.parametrize("address", ["nonsense://127.0.0.1:1", "tls://127.0.0.1:1"])
def test_no_dask_scheduler_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("SEEDMASK_DASK", address)
    with pytest.raises(InputError, match=f"SEEDMASK_DASK: no Dask scheduler at {address}"):
        map_images(square, ITEMS, tmp_path, stage="square", workers=1)
