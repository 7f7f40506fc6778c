import random
from pathlib import Path

import pytest
from dvc.stage.cache import _get_cache_hash
from ruamel.yaml import YAML

from pipelines.run.workspace import check_lock_file, drop_broken_records
from stages.engine.errors import InputError
from tests.pipelines.mini_repository import MiniRepository

RECORD = {
    "cmd": "python -m stages.left --out data/left",
    "deps": [{"path": "data/first.txt", "hash": "md5", "md5": "0" * 32, "size": 12}],
    "params": {"params.yaml": {"left": {"value": 1}}},
    "outs": [
        {"path": "data/left", "hash": "md5", "md5": "1" * 32 + ".dir", "size": 5, "nfiles": 5},
        {"path": "data/left.txt", "hash": "md5", "md5": "2" * 32, "size": 7},
    ],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".dvc").mkdir()
    return tmp_path


def write_record(root: Path) -> Path:
    path = root / ".dvc/cache/runs/ab" / "ab".ljust(64, "0") / _get_cache_hash(RECORD)
    path.parent.mkdir(parents=True, exist_ok=True)
    YAML().dump(RECORD, path)
    return path


def test_a_whole_record_stays(root: Path) -> None:
    path = write_record(root)
    drop_broken_records(root)
    assert path.is_file()


def paths_and_hashes(content: bytes) -> list[tuple[str, str]]:
    record = YAML(typ="safe").load(content)
    return [(entry["path"], entry["md5"]) for entry in record["deps"] + record["outs"]]


def test_a_record_that_is_cut_garbled_or_flipped_goes(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_record(root).read_bytes().rstrip()
    chance = random.Random(0)
    lines = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    broken = [b"", b"\xff\xfe\x00", b"[1, 2", b"3"]
    broken += [whole[:end] for end in [*lines, *chance.sample(range(len(whole)), 20)]]
    digits = [index for index, byte in enumerate(whole) if byte in b"0123456789"]
    broken += [whole[:i] + b"7" + whole[i + 1 :] for i in chance.sample(digits, 20)]
    removed = 0
    for content in broken:
        path = write_record(root)
        path.write_bytes(content)
        drop_broken_records(root)
        if path.exists():  # DVC's hash leaves out sizes, which restore nothing
            assert paths_and_hashes(content) == paths_and_hashes(whole)
        else:
            assert not path.parent.exists()
            assert "removed, its stage runs again" in capsys.readouterr().out
            removed += 1
    assert removed > len(broken) / 2


def test_what_was_looked_at_by_an_earlier_run_is_not_read_again(root: Path) -> None:
    path = write_record(root)
    path.write_bytes(b"")
    drop_broken_records(root, since=path.stat().st_mtime + 100)
    assert path.exists()


LOCK = """schema: '2.0'
stages:
  left:
    cmd: python -m stages.left
    outs:
    - path: data/left.txt
      hash: md5
      md5: 0123456789abcdef0123456789abcdef
      size: 7
"""


def test_a_lock_file_that_can_be_read_is_accepted(root: Path) -> None:
    check_lock_file(root)
    (root / "dvc.lock").write_text(LOCK)
    check_lock_file(root)


@pytest.mark.parametrize(
    ("content", "found", "remedy"),
    [
        (b"", "nothing in it", "git checkout dvc.lock"),
        (b"\xff\xfe\x00garbage", "something else", "git checkout dvc.lock"),
        (b"- a\n- b\n", "something else", "git checkout dvc.lock"),
        (
            LOCK.replace("      size: 7\n", "<<<<<<< HEAD\n      size: 7\n=======\n").encode(),
            "git's marks of a conflict in line 9",
            "git checkout --ours dvc.lock",
        ),
    ],
)
def test_another_lock_file_is_one_line_with_the_remedy(
    root: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, found: str, remedy: str
) -> None:
    monkeypatch.setattr("pipelines.run.workspace.PATIENCE", 0)
    (root / "dvc.lock").write_bytes(content)
    with pytest.raises(InputError) as caught:
        check_lock_file(root)
    message = str(caught.value)
    assert found in message
    assert remedy in message
    assert "\n" not in message


def test_a_lock_file_cut_anywhere_is_refused_or_means_less(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.run.workspace.PATIENCE", 0)
    refused = 0
    for end in random.Random(0).sample(range(len(LOCK)), 40):
        (root / "dvc.lock").write_text(LOCK[:end])
        try:
            check_lock_file(root)
        except InputError:
            refused += 1
    assert refused > 10


def test_each_command_says_that_dvc_lock_cannot_be_read(mini: MiniRepository) -> None:
    (mini.root / "dvc.lock").write_text("stages:\n<<<<<<< HEAD\n")
    for words in (("run", "--local"), ("status",)):
        code, text = mini.run(*words)
        assert code == 1
        assert "git's marks of a conflict in line 2" in text
        assert len(text.splitlines()) == 1


def test_a_file_in_the_place_of_our_folder_is_one_line(mini: MiniRepository) -> None:
    (mini.root / ".seedmask").write_text("")
    for words in (("run", "--local"), ("status",)):
        code, text = mini.run(*words)
        assert code == 1
        assert text == ".seedmask: expected a folder, found a file; move it away or delete it\n"


def test_a_cut_record_of_the_run_cache_costs_a_run_and_nothing_else(mini: MiniRepository) -> None:
    assert mini.run("run", "left", "--local")[0] == 0
    before = mini.outputs()
    for record in (mini.root / ".dvc/cache/runs").glob("*/*/*"):
        lines = record.read_text().splitlines(keepends=True)
        last_out = max(index for index, line in enumerate(lines) if line.startswith("- path"))
        record.write_text("".join(lines[:last_out]))
    (mini.root / "dvc.lock").unlink()
    for path in before:
        (mini.root / path).unlink()
    code, text = mini.run("run", "left", "--local")
    assert code == 0, text
    assert text.count("not what DVC wrote; removed") == 2
    assert mini.outputs() == before
