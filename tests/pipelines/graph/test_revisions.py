from pathlib import Path

import pytest

from pipelines.graph.revisions import (
    list_revisions,
    read_file_of,
    read_graph,
    read_revision,
    recorded_since,
    resolve,
)
from stages.engine.errors import InputError
from tests.pipelines.gallery import ODD, Gallery
from tests.pipelines.made_repository import commit_all


def test_a_record_holds_what_dvc_lock_has_of_the_stage(gallery: Gallery) -> None:
    record = read_revision(gallery.root, "first").stages["walk_label"]
    assert record.command == ("mkdir -p data/walk_label && cp -r source/walk-1/. data/walk_label")
    assert record.params == {"walk_label.steps": 1, "walk_label.rate": 0.5}
    assert list(record.code) == ["source/walk.py"]
    assert list(record.data) == ["data/dataset/images.parquet"]
    assert record.outs["data/walk_label/labels"].endswith(".dir")
    assert len(record.outs["data/walk_label/metrics.json"]) == 32
    labels = gallery.root / "source/walk-1"
    assert record.size == sum(file.stat().st_size for file in labels.rglob("*") if file.is_file())


def test_a_revision_may_be_a_tag_a_hash_an_expression_or_an_experiment(gallery: Gallery) -> None:
    for name in ("first", gallery.first, gallery.first[:10], "HEAD~1", "second^"):
        assert resolve(gallery.root, name) == gallery.first
    three = read_revision(gallery.root, "three")
    assert three.stages["walk_label"].params["walk_label.steps"] == 3
    assert three.commit not in (gallery.first, gallery.second)


def test_the_workspace_is_the_lock_file_on_the_disk(own_gallery: Gallery) -> None:
    root = own_gallery.root
    lock = root / "dvc.lock"
    lock.write_text(lock.read_text().replace("steps: 2", "steps: 77"))
    found = read_revision(root)
    assert (found.name, found.commit) == ("workspace", None)
    assert found.stages["walk_label"].params["walk_label.steps"] == 77
    assert read_revision(root, "HEAD").stages["walk_label"].params["walk_label.steps"] == 2


def test_a_commit_is_described_by_its_time_and_title(gallery: Gallery) -> None:
    found = read_revision(gallery.root, "first")
    assert found.commit == gallery.first
    assert found.title == "the first one"
    assert found.when.tzinfo is not None
    assert found.when <= read_revision(gallery.root, "second").when


def test_the_owner_of_a_path_is_the_stage_whose_output_holds_it(gallery: Gallery) -> None:
    found = read_revision(gallery.root)
    for path in ("data/walk_label/labels", "data/walk_label/labels/a.png"):
        owner = found.owner(path)
        assert owner is not None
        assert (owner[0].name, owner[1]) == ("walk_label", "data/walk_label/labels")
    assert found.owner("data/walk_label/labels2/a.png") is None
    assert found.owner("data") is None


def test_all_revisions_are_workspace_commits_and_experiments(gallery: Gallery) -> None:
    found = list_revisions(gallery.root)
    commits = [revision.commit for revision in found]
    assert commits == [None, gallery.second, gallery.first, resolve(gallery.root, "three")]
    assert found[-1].name == "three"


@pytest.mark.parametrize("name", ["", "--all", "-q", "nowhere", "HEAD~40", "first:dvc.lock", "\n"])
def test_what_is_no_revision_is_refused(gallery: Gallery, name: str) -> None:
    with pytest.raises(InputError, match="revision "):
        read_revision(gallery.root, name)


def test_a_close_name_is_suggested(gallery: Gallery) -> None:
    for wrong, right in (("fist", "first"), ("thre", "three"), ("worksapce", "workspace")):
        with pytest.raises(InputError, match=f"did you mean '{right}'"):
            read_revision(gallery.root, wrong)


def test_no_record_is_one_line(own_gallery: Gallery, tmp_path: Path) -> None:
    root = own_gallery.root
    with pytest.raises(InputError, match="nothing is recorded yet"):
        read_revision(tmp_path)
    for content in ("stages: [1", "[]", "stages: {a: 1}", "stages: {a: {cmd: x, outs: [1]}}"):
        (root / "dvc.lock").write_text(content)
        with pytest.raises(InputError, match=r"not a dvc\.lock of DVC 3"):
            read_revision(root)
    (root / "dvc.lock").unlink()
    gone = commit_all(root, "without")
    with pytest.raises(InputError, match=r"has no dvc\.lock"):
        read_revision(root, gone)
    assert gone not in [found.commit for found in list_revisions(root)]


def test_the_graph_is_that_of_the_revision(own_gallery: Gallery) -> None:
    root = own_gallery.root
    path = root / "dvc.yaml"
    path.write_text(path.read_text().replace("walk a while", "run"))
    assert read_graph(root, read_revision(root))["walk_label"]["desc"] == "run"
    assert read_graph(root, read_revision(root, "first"))["walk_label"]["desc"] == "walk a while"
    path.write_text("stages: [")
    assert read_graph(root, read_revision(root)) == {}


def test_files_of_git_are_read_under_any_name(own_gallery: Gallery) -> None:
    root = own_gallery.root
    (root / ODD.replace("/", "_")).write_bytes(b"\0odd")
    commit = commit_all(root, "an odd name")
    assert read_file_of(root, commit, ODD.replace("/", "_")) == b"\0odd"
    assert read_file_of(root, own_gallery.first, ODD) is None
    assert read_file_of(root, commit, "source") is None


def test_a_hash_is_followed_back_to_the_commit_that_brought_it(own_gallery: Gallery) -> None:
    root = own_gallery.root
    here = read_revision(root)
    images, labels = "data/dataset/images.parquet", "data/walk_label/labels"
    found = recorded_since(root, here, "dataset", images)
    assert found is not None
    assert (found.name, found.title) == (own_gallery.first, "the first one")
    since = recorded_since(root, here, "walk_label", labels)
    assert since is not None
    assert since.name == own_gallery.second
    first = recorded_since(root, read_revision(root, "first"), "walk_label", labels)
    assert first is not None
    assert first.name == own_gallery.first


def test_a_hash_that_went_and_came_back_counts_from_its_return(own_gallery: Gallery) -> None:
    root, lock = own_gallery.root, own_gallery.root / "dvc.lock"
    first = read_file_of(root, own_gallery.first, "dvc.lock")
    assert first is not None
    lock.write_bytes(first)
    back = commit_all(root, "back")
    found = recorded_since(root, read_revision(root), "walk_label", "data/walk_label/labels")
    assert found is not None
    assert found.name == back


def test_a_hash_in_no_commit_has_no_beginning(own_gallery: Gallery) -> None:
    lock = own_gallery.root / "dvc.lock"
    here = read_revision(own_gallery.root)
    md5 = here.stages["walk_label"].outs["data/walk_label/labels"]
    lock.write_text(lock.read_text().replace(md5, "0" * 32 + ".dir"))
    changed = read_revision(own_gallery.root)
    root, labels = own_gallery.root, "data/walk_label/labels"
    assert recorded_since(root, changed, "walk_label", labels) is None
