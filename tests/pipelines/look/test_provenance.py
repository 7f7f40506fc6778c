import shutil
from dataclasses import replace

import pytest

from pipelines.graph.journal import Code, keep_run
from pipelines.graph.objects import MissingObject, Objects
from pipelines.graph.result import Ending, Result
from pipelines.graph.revisions import read_revision
from pipelines.look.provenance import FileState, Provenance, code_version, explain
from stages.engine.errors import InputError
from tests.pipelines.gallery import ODD, PHOTOGRAPHS, Gallery
from tests.pipelines.made_repository import commit_all

LABELS = "data/walk_label/labels"
LABEL = f"{LABELS}/a.png"


def explained(gallery: Gallery, file: str, name: str = "workspace") -> Provenance:
    found = explain(Objects(gallery.root), read_revision(gallery.root, name), file)
    assert isinstance(found, Provenance), found
    return found


def told(gallery: Gallery, file: str, name: str = "workspace") -> str:
    found = explain(Objects(gallery.root), read_revision(gallery.root, name), file)
    assert isinstance(found, str), found
    return found


def note_run(gallery: Gallery, seconds: float = 3.0, ending: Ending = Ending.COMPLETED) -> None:
    """As if `pipelines run` had just left what dvc.lock records."""
    outs = list(read_revision(gallery.root).stages["walk_label"].outs)
    keep_run(gallery.root, Result("walk_label", ending, seconds), outs, Code("c" * 40, False))


def test_a_file_is_explained_by_the_record_of_its_stage(gallery: Gallery) -> None:
    found = explained(gallery, LABEL)
    assert found.path == LABEL
    assert found.out == LABELS
    assert found.record == read_revision(gallery.root).stages["walk_label"]
    assert found.desc == "walk a while"
    assert found.md5 is not None
    assert len(found.md5) == 32
    assert found.state is FileState.AS_RECORDED
    assert found.since is not None
    assert found.since.name == gallery.second
    assert (found.run, found.computed) == (None, None)


def test_another_revision_is_explained_without_a_checkout(own_gallery: Gallery) -> None:
    dvc_yaml = own_gallery.root / "dvc.yaml"
    dvc_yaml.write_text(dvc_yaml.read_text().replace("walk a while", "run"))
    shutil.rmtree(own_gallery.root / "data")
    found = explained(own_gallery, f"{LABELS}/b.1.png", "first")
    assert found.record.params["walk_label.steps"] == 1
    assert found.desc == "walk a while"
    assert found.since is not None
    assert found.since.title == "the first one"
    assert found.state is FileState.MISSING
    assert not (own_gallery.root / "data").exists()


def test_a_folder_a_folder_in_it_and_a_member_of_a_foreach_are_explained(gallery: Gallery) -> None:
    whole = explained(gallery, f"{LABELS}/")
    assert whole.md5 == whole.record.outs[LABELS]
    assert whole.state is FileState.AS_RECORDED
    inner = explained(gallery, "data/dataset/ground_truth/semantic")
    assert inner.md5 is None
    assert inner.out == "data/dataset/ground_truth"
    assert explained(gallery, "data/crf_refine/walk").desc == "refine"
    assert explained(gallery, f"{LABELS}/{ODD}").md5 == "c81e728d9d4c2f636f067f89cc14862c"


def test_a_path_may_be_absolute_or_roundabout(gallery: Gallery) -> None:
    for file in (gallery.root / LABEL, f"./data/../{LABEL}", f"{LABELS}//a.png"):
        assert explained(gallery, str(file)).path == LABEL


@pytest.mark.parametrize("file", [LABEL, LABELS])
def test_a_file_that_was_changed_or_removed_is_told(own_gallery: Gallery, file: str) -> None:
    assert explained(own_gallery, file).state is FileState.AS_RECORDED
    place = own_gallery.root / LABEL
    place.chmod(0o644)
    place.write_bytes(b"other")
    assert explained(own_gallery, file).state is FileState.MODIFIED
    assert explained(own_gallery, f"{LABELS}/b.1.png").state is FileState.AS_RECORDED
    place.unlink()
    gone = FileState.MISSING if file == LABEL else FileState.MODIFIED
    assert explained(own_gallery, file).state is gone
    shutil.rmtree(own_gallery.root / LABELS)
    assert explained(own_gallery, file).state is FileState.MISSING


def test_a_file_too_many_changes_its_folder(own_gallery: Gallery) -> None:
    (own_gallery.root / LABELS / "more.png").write_bytes(b"")
    assert explained(own_gallery, LABELS).state is FileState.MODIFIED


def test_the_run_is_the_last_that_left_this_hash(own_gallery: Gallery) -> None:
    note_run(own_gallery, 3)
    note_run(own_gallery, 0.5, Ending.RESTORED)
    found = explained(own_gallery, LABEL)
    assert found.run is not None
    assert found.computed is not None
    assert (found.run.ending, found.run.seconds) == (Ending.RESTORED, 0.5)
    assert (found.computed.ending, found.computed.seconds) == (Ending.COMPLETED, 3)
    assert found.computed.commit == "c" * 40
    old = explained(own_gallery, f"{LABELS}/b.1.png", "first")
    assert (old.run, old.computed) == (None, None), "the run left another hash"
    graphs = explained(own_gallery, "data/walk_label/graphs", "first")
    assert graphs.run == found.run, "the graphs are the same in both"


def test_a_change_of_any_source_file_changes_the_version_of_the_code(gallery: Gallery) -> None:
    first, second, again = (
        read_revision(gallery.root, name).stages["walk_label"]
        for name in ("first", "second", "workspace")
    )
    assert code_version(first) != code_version(second)
    assert code_version(second) == code_version(again)
    other = replace(second, data={**second.data, "data/x": "1"})
    assert code_version(other) == code_version(second)


def test_sources_params_and_inputs_are_told_in_a_line(own_gallery: Gallery) -> None:
    assert told(own_gallery, "source/walk.py") == "source/walk.py: source code; read by walk_label"
    assert told(own_gallery, "params.yaml").startswith("params.yaml: the numbers of the stages; 2")
    deeplab = told(own_gallery, "source/deeplab.json")
    assert deeplab.endswith("an input that no stage makes; read by deeplab_eval@walk")
    inside = told(own_gallery, "source/dataset/categories.parquet")
    assert inside.endswith("read by dataset")
    (own_gallery.root / "idle.py").write_text("")
    assert told(own_gallery, "idle.py").endswith("no stage of workspace depends on")


def test_an_input_image_is_told_by_its_row(own_gallery: Gallery) -> None:
    lock = own_gallery.root / "dvc.lock"
    text = lock.read_text()
    start, end = text.index("  scenes:"), text.index("  dataset:")
    lock.write_text(text[:start] + text[end:])  # so that no stage makes the images
    file = f"data/scenes/{PHOTOGRAPHS['c']}"
    line = told(own_gallery, file)
    assert line.startswith(f"{file}: input image c, split train, 12 x 10 pixels, md5 ")
    assert line.endswith("on the disk: as recorded")
    (own_gallery.root / file).unlink()
    assert told(own_gallery, file).endswith("missing")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("data/walk_label", "holds outputs; ask for one of them: data/walk_label/graphs"),
        (".", "holds outputs"),
        ("data/walk_labels/labels", "did you mean 'data/walk_label/labels'"),
        (f"{LABELS}/aa.png", "not among the 4 files of .*did you mean 'data/walk_label/labels/a"),
        ("source/walk.pi", r"did you mean 'source/walk\.py'"),
        ("zzz", "no stage of workspace makes or reads it; expected"),
        ("../zzz", "no stage of workspace makes or reads it"),
        ("/etc/passwd", "no stage of workspace makes or reads it"),
        ("", "holds outputs"),
    ],
)
def test_what_is_not_known_is_refused_with_a_hint(
    gallery: Gallery, file: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        explain(Objects(gallery.root), read_revision(gallery.root), file)


def test_a_folder_whose_list_is_lost_is_named(own_gallery: Gallery) -> None:
    shutil.rmtree(own_gallery.root / ".dvc/cache")
    with pytest.raises(MissingObject, match="no remote is set"):
        explain(Objects(own_gallery.root), read_revision(own_gallery.root, "first"), LABEL)


def test_an_output_that_is_in_no_commit_has_no_beginning(own_gallery: Gallery) -> None:
    root, lock = own_gallery.root, own_gallery.root / "dvc.lock"
    kept = lock.read_bytes()
    lock.write_text("schema: '2.0'\nstages: {}\n")
    commit_all(root, "nothing")
    lock.write_bytes(kept)
    assert explained(own_gallery, LABEL).since is None
