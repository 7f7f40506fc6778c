import random
import shutil
from pathlib import Path

import pytest

from pipelines.graph.objects import Objects
from pipelines.graph.revisions import WORKSPACE, read_revision
from pipelines.run.verify import CHECKPOINTS, Check, Kind, Verified, print_verified, verify
from stages.engine.errors import InputError
from stages.engine.sealed import write_sealed
from stages.engine.training import FOLDER
from tests.damaged_files import damage, rot
from tests.pipelines.gallery import Gallery
from tests.pipelines.mini_repository import MiniRepository

MEMO = Path(".seedmask/memo/left/ab/abcdef")
CHECKPOINT = CHECKPOINTS / "right/abcdef.pt"


def object_of(root: Path, out: str, name: str = "", revision_name: str = WORKSPACE) -> Path:
    """Where DVC's cache has an output, or a file of one."""
    objects, revision = Objects(root), read_revision(root, revision_name)
    found = revision.owner(out)
    assert found is not None
    md5 = found[0].outs[out]
    return objects.path_of(objects.files(revision, found[0], out)[name] if name else md5)


@pytest.fixture
def made(mini: MiniRepository) -> MiniRepository:
    code, text = mini.run("run", "--local")
    assert code == 0, text
    for path in (MEMO, CHECKPOINT):
        write_sealed(mini.root / path, b"something that took long")
    return mini


def test_damaged_objects_are_not_restored_and_it_is_said(made: MiniRepository) -> None:
    before = made.outputs()
    file, text = (
        object_of(made.root, "data/left", "data/left/3.txt"),
        object_of(made.root, "data/right.txt"),
    )
    folder = object_of(made.root, "data/last")
    rot(file, file.read_bytes().replace(b"left", b"lefu"))
    rot(text, text.read_bytes()[:-3])
    rot(folder, folder.read_bytes().replace(b"relpath", b"relpati", 1))  # JSON, and no list of DVC
    shutil.rmtree(made.root / "data")
    code, said = made.run("run", "--local")
    assert code == 0, said
    assert made.outputs() == before
    assert "1 restored" in said, "what is whole need not be made again"
    for path in (file, text, folder):
        assert f"{path}: expected md5" in said
    assert said.count("; dropped, so data/") >= 2
    assert not verify(made.root).bad


def test_whatever_is_damaged_is_found_and_mended(made: MiniRepository) -> None:
    assert not verify(made.root).bad
    before = made.outputs()
    chance = random.Random(0)
    data = made.root / "data/first/2.txt"
    for path in (
        object_of(made.root, "data/last", "data/last/0.txt"),
        object_of(made.root, "data/right.txt"),
        data,
        made.root / MEMO,
        made.root / CHECKPOINT,
    ):
        rot(path, damage(path.read_bytes(), chance))
    code, said = made.run("verify")
    assert code == 1
    assert "5 of " in said
    assert "DVC's cache 2, outputs 1, memo 1, checkpoints 1" in said
    assert "data/first/2.txt: expected md5" in said
    assert "To mend it: ./seedmask verify --drop, then ./seedmask run" in said
    assert "dvc repro --force --downstream first" in said
    assert data.exists()
    code, said = made.run("verify", "--drop")
    assert code == 0, said
    assert not data.exists()
    assert not (made.root / MEMO).exists()
    assert made.run("run", "--local")[0] == 0
    assert made.outputs() == before
    assert not verify(made.root).bad


def test_a_stage_alone_is_looked_at(own_gallery: Gallery) -> None:
    root = own_gallery.root
    memo = root / ".seedmask/memo/walk_label/ab/abcdef"
    write_sealed(memo, b"something that took long")
    name = "data/walk_label/labels/b.1.png"
    now, older = (
        object_of(root, "data/walk_label/labels", name, revision)
        for revision in (WORKSPACE, "first")
    )
    assert now != older
    for path in (now, older, memo):
        rot(path, b"something else")
    both = {Kind.CACHE: now, Kind.MEMO: memo}
    found = verify(root, ["walk_label"]).bad
    assert {check.kind: check.path for check in found} == both
    assert not verify(root, ["dataset"]).bad
    assert {check.path for check in verify(root).bad} == {now, older, memo}


def test_a_file_that_is_only_missing_is_not_damaged(
    own_gallery: Gallery, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run sees that itself."""
    shutil.rmtree(own_gallery.root / "data/walk_label")
    object_of(own_gallery.root, "data/crf_refine/walk").unlink()
    verified = verify(own_gallery.root)
    assert not verified.bad
    print_verified(verified, "verify", drop=False)
    assert capsys.readouterr().out == f"{verified.count} files are as they were written.\n"


def test_many_bad_files_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    bad = {Check(Path(f"{number}"), Kind.CACHE, "0" * 32): "bad" for number in range(30)}
    print_verified(Verified(40, bad), "verify", drop=False)
    said = capsys.readouterr().out
    assert "\n19: bad\nand 10 more in DVC's cache\n30 of 40 files are bad" in said
    assert "`dvc fetch --all-commits` brings what a remote has" in said


def test_an_empty_repository_is_no_error(mini: MiniRepository) -> None:
    assert verify(mini.root).count == 0
    with pytest.raises(InputError, match="no stage 'nonsense'"):
        verify(mini.root, ["nonsense"])


def test_an_output_outside_the_repository_is_left_alone(mini: MiniRepository) -> None:
    """Whatever a dvc.lock from elsewhere says."""
    mine = mini.root.parent / "mine.txt"
    mine.write_text("mine")
    lock = "schema: '2.0'\nstages:\n  first:\n    cmd: x\n    outs:\n"
    for path, md5 in (("../mine.txt", "0" * 32), (mine, "1" * 32), ("params.yaml", "../x")):
        lock += f"    - {{path: {path}, md5: '{md5}'}}\n"
    (mini.root / "dvc.lock").write_text(lock)
    with pytest.raises(InputError, match=r"out '\.\./mine\.txt'; expected a path inside"):
        verify(mini.root, drop=True)
    assert mine.exists()


def test_checkpoints_are_looked_for_where_they_are() -> None:
    assert CHECKPOINTS == FOLDER
