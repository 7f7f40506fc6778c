import re
import shutil
from pathlib import Path

import pytest

from pipelines.graph.objects import FETCHED, MissingObject, Objects
from pipelines.graph.revisions import Record, Revision, read_revision
from tests.pipelines.gallery import ODD, Gallery
from tests.pipelines.made_repository import commit_all, dvc

LABELS = "data/walk_label/labels"
METRICS = "data/walk_label/metrics.json"


def stage_of(revision: Revision, name: str = "walk_label") -> Record:
    return revision.stages[name]


def content_of(objects: Objects, revision: Revision, path: str) -> bytes:
    owner = revision.owner(path)
    assert owner is not None
    md5 = objects.files(revision, *owner)[path]
    return objects.file(revision, path, md5).read_bytes()


@pytest.mark.parametrize(("name", "steps"), [("first", 1), ("second", 2), ("three", 3)])
def test_every_file_of_every_revision_is_what_the_stage_made(
    gallery: Gallery, name: str, steps: int
) -> None:
    objects, revision = Objects(gallery.root), read_revision(gallery.root, name)
    source = gallery.root / f"source/walk-{steps}"
    record = stage_of(revision)
    found = {
        path: objects.file(revision, path, md5).read_bytes()
        for out in record.outs
        for path, md5 in objects.files(revision, record, out).items()
    }
    assert found == {
        f"data/walk_label/{file.relative_to(source)}": file.read_bytes()
        for file in source.rglob("*")
        if file.is_file()
    }
    assert f"{LABELS}/{ODD}" in found
    assert not (gallery.root / FETCHED).exists(), "all of it was in the cache"


def test_files_are_listed_in_order(gallery: Gallery) -> None:
    revision = read_revision(gallery.root)
    names = list(Objects(gallery.root).files(revision, stage_of(revision), LABELS))
    assert names == sorted(names)
    assert len(names) == 4


def without_cache(gallery: Gallery) -> Objects:
    """Nothing in the cache, nothing in the workspace."""
    for folder in (".dvc/cache", "data"):
        shutil.rmtree(gallery.root / folder)
    return Objects(gallery.root)


def with_remote(gallery: Gallery, store: Path) -> Objects:
    shutil.rmtree(gallery.root / "data")
    dvc(gallery.root, "remote", "add", "-q", "-d", "--local", "store", str(store))
    return without_cache_only(gallery)


def without_cache_only(gallery: Gallery) -> Objects:
    shutil.rmtree(gallery.root / ".dvc/cache")
    return Objects(gallery.root)


@pytest.mark.parametrize("name", ["first", "workspace"])
def test_what_the_cache_has_lost_comes_from_the_remote(
    own_gallery: Gallery, store: Path, name: str
) -> None:
    objects = with_remote(own_gallery, store)
    revision = read_revision(own_gallery.root, name)
    source = own_gallery.root / f"source/walk-{1 if name == 'first' else 2}/labels"
    assert content_of(objects, revision, f"{LABELS}/a.png") == (source / "a.png").read_bytes()
    assert content_of(objects, revision, f"{LABELS}/{ODD}") == (source / ODD).read_bytes()
    table = "data/dataset/images.parquet"
    expected = (own_gallery.root / "source/dataset/images.parquet").read_bytes()
    assert content_of(objects, revision, table) == expected
    assert not (own_gallery.root / "data").exists(), "nothing is checked out"


def test_what_came_from_the_remote_is_kept(own_gallery: Gallery, store: Path) -> None:
    objects, revision = with_remote(own_gallery, store), read_revision(own_gallery.root, "first")
    path = f"{LABELS}/b.1.png"
    md5 = objects.files(revision, stage_of(revision), LABELS)[path]
    fetched = objects.file(revision, path, md5)
    assert fetched == own_gallery.root.resolve() / FETCHED / md5
    dvc(own_gallery.root, "remote", "remove", "--local", "store")
    assert Objects(own_gallery.root).file(revision, path, md5) == fetched


def test_metrics_that_git_keeps_are_read_at_an_old_revision(own_gallery: Gallery) -> None:
    objects, revision = without_cache(own_gallery), read_revision(own_gallery.root, "first")
    assert content_of(objects, revision, METRICS) == b'{"steps": 1}'
    assert content_of(objects, read_revision(own_gallery.root, "three"), METRICS) == b'{"steps": 3}'


def test_metrics_of_the_workspace_lie_in_it(own_gallery: Gallery) -> None:
    objects = without_cache_only(own_gallery)
    revision = read_revision(own_gallery.root)
    md5 = stage_of(revision).outs[METRICS]
    place = own_gallery.root.resolve() / METRICS
    assert objects.file(revision, METRICS, md5) == place


def test_a_file_of_another_hash_is_not_taken_for_the_recorded_one(own_gallery: Gallery) -> None:
    objects = without_cache_only(own_gallery)
    here, head = read_revision(own_gallery.root), read_revision(own_gallery.root, "HEAD")
    md5 = stage_of(here).outs[METRICS]
    (own_gallery.root / METRICS).write_text('{"steps": 99}')
    with pytest.raises(MissingObject):
        objects.file(here, METRICS, md5)
    commit_all(own_gallery.root, "numbers that no stage made")
    changed = read_revision(own_gallery.root, "HEAD")
    with pytest.raises(MissingObject):
        objects.file(changed, METRICS, md5)
    assert objects.file(head, METRICS, md5).read_text() == '{"steps": 2}'


@pytest.mark.parametrize("name", ["first", "workspace"])
def test_without_a_remote_the_message_says_how_to_set_one(
    own_gallery: Gallery, store: Path, name: str
) -> None:
    objects, revision = without_cache(own_gallery), read_revision(own_gallery.root, name)
    what = LABELS if name == "workspace" else f"{LABELS} of first"
    with pytest.raises(MissingObject, match=f"^{what}: not in DVC's cache, and no remote") as error:
        objects.files(revision, stage_of(revision), LABELS)
    add, bring = advised(error)
    dvc(own_gallery.root, *add.replace("NAME", "store").replace("URL", str(store)).split())
    dvc(own_gallery.root, *bring.split())
    found = content_of(Objects(own_gallery.root), revision, f"{LABELS}/a.png")
    assert found == (own_gallery.root / "source/walk-1/labels/a.png").read_bytes()


def test_what_the_remote_lacks_comes_when_it_was_pushed(
    own_gallery: Gallery, tmp_path: Path
) -> None:
    maker = tmp_path / "maker"
    shutil.copytree(own_gallery.root, maker)
    for root in (maker, own_gallery.root):
        dvc(root, "remote", "add", "-q", "-d", "--local", "store", str(tmp_path / "store"))
    objects, revision = without_cache(own_gallery), read_revision(own_gallery.root, "first")
    path = f"{LABELS}/{ODD}"
    with pytest.raises(MissingObject, match=r"neither in DVC's cache nor in remote 'store'"):
        content_of(objects, revision, "data/dataset/images.parquet")
    with pytest.raises(MissingObject, match=f"^{LABELS} of first") as error:
        content_of(objects, revision, path)
    push, bring = advised(error)
    dvc(maker, *push.split())
    dvc(own_gallery.root, *bring.split())
    assert content_of(Objects(own_gallery.root), revision, path) == b"1"


def test_a_remote_that_is_younger_than_the_revision_is_asked(
    own_gallery: Gallery, store: Path
) -> None:
    shutil.copytree(store, own_gallery.root / "beside")
    dvc(own_gallery.root, "remote", "add", "-q", "-d", "store", "beside")
    commit_all(own_gallery.root, "a remote")
    objects, revision = without_cache(own_gallery), read_revision(own_gallery.root, "first")
    assert content_of(objects, revision, f"{LABELS}/{ODD}") == b"1"


def advised(error: pytest.ExceptionInfo[MissingObject]) -> list[str]:
    return re.findall(r"`dvc ([^`]*)`", str(error.value))


def test_the_cache_may_lie_elsewhere(own_gallery: Gallery, tmp_path: Path) -> None:
    shutil.move(own_gallery.root / ".dvc/cache", tmp_path / "shared")
    dvc(own_gallery.root, "cache", "dir", "--local", str(tmp_path / "shared"))
    objects, revision = Objects(own_gallery.root), read_revision(own_gallery.root, "first")
    assert objects.folder == tmp_path / "shared/files/md5"
    assert content_of(objects, revision, f"{LABELS}/{ODD}") == b"1"
