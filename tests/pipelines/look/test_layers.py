import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.graph.objects import MissingObject, Objects
from pipelines.graph.revisions import read_revision
from pipelines.look.layers import Catalogue, Kind, instances_by_image
from stages.engine.errors import InputError
from tests.pipelines.gallery import PHOTOGRAPHS, Gallery, label_map
from tests.pipelines.made_repository import commit_all, dvc


def catalogue_of(gallery: Gallery, name: str = "workspace") -> Catalogue:
    return Catalogue(Objects(gallery.root), read_revision(gallery.root, name))


def test_a_catalogue_knows_images_classes_and_boxes(gallery: Gallery) -> None:
    found = catalogue_of(gallery, "first")
    assert list(found.images) == ["a", "b.1", "c"]
    assert found.images["a"].size == (10, 12)
    assert found.images["a"].path == Path("data/scenes", PHOTOGRAPHS["a"])
    assert set(found.splits.values()) == {"train"}
    assert found.names == {0: "background", 1: "cat", 2: "<b>dog</b>"}
    assert [box.category for box in found.boxes["a"]] == [1, 2]
    assert set(found.colours) == {1, 2}


def test_the_kind_of_a_layer_is_declared_in_dvc_yaml(gallery: Gallery) -> None:
    found = catalogue_of(gallery)
    kinds = {layer.name: (layer.stage, layer.kind) for layer in found.all_layers()}
    assert kinds == {
        "dataset/ground_truth/semantic": ("dataset", Kind.LABELS),
        "dataset/instances": ("dataset", Kind.INSTANCES),
        "walk_label/graphs": ("walk_label", Kind.GRAPH),
        "walk_label/labels": ("walk_label", Kind.LABELS),
        "walk_label/maps": ("walk_label", Kind.SCORES),
        "crf_refine/walk": ("crf_refine@walk", Kind.LABELS),
        "instances_split/instances": ("instances_split", Kind.INSTANCES),
    }


def test_a_layer_is_found_by_its_name_folder_or_table(gallery: Gallery) -> None:
    found = catalogue_of(gallery)
    for name in ("crf_refine/walk", "dataset/ground_truth/semantic", "dataset/instances"):
        assert found.layer(name).name == name
    for name in ("crf_refine", "nothing", "", "../secrets", "dataset/images"):
        with pytest.raises(InputError, match="not in workspace"):
            found.layer(name)


def test_only_files_of_images_are_in_a_layer(gallery: Gallery) -> None:
    assert set(catalogue_of(gallery).layer("walk_label/labels").files) == {"a", "b.1", "c"}
    assert set(catalogue_of(gallery, "first").layer("walk_label/labels").files) == {"a", "b.1"}


@pytest.mark.parametrize(("name", "steps"), [("first", 1), ("workspace", 2), ("three", 3)])
def test_label_maps_are_those_of_the_revision(gallery: Gallery, name: str, steps: int) -> None:
    found = catalogue_of(gallery, name)
    labels = found.labels(found.layer("walk_label/labels"), "b.1")
    assert labels is not None
    np.testing.assert_array_equal(labels, label_map("b.1", steps))


def test_a_layer_without_the_image_has_no_file(gallery: Gallery) -> None:
    found = catalogue_of(gallery, "first")
    assert found.path_of(found.layer("walk_label/labels"), "c") is None
    assert found.labels(found.layer("dataset/ground_truth/semantic"), "c") is None


def test_an_instance_table_is_a_layer_of_its_images(gallery: Gallery) -> None:
    found = catalogue_of(gallery)
    layer = found.layer("instances_split/instances")
    assert list(layer.files) == ["a"]
    place = found.path_of(layer, "a")
    assert place is not None
    assert [row["category"] for row in instances_by_image(place)["a"]] == [1, 2]


@pytest.mark.parametrize("image_id", PHOTOGRAPHS)
def test_photographs_of_any_name_are_found(gallery: Gallery, image_id: str) -> None:
    content = (gallery.root / "source/photographs" / PHOTOGRAPHS[image_id]).read_bytes()
    assert catalogue_of(gallery, "first").photograph(image_id).read_bytes() == content


def test_a_photograph_comes_from_the_cache_the_folder_or_the_remote(
    own_gallery: Gallery, store: Path
) -> None:
    root = own_gallery.root
    content = (root / "source/photographs" / PHOTOGRAPHS["c"]).read_bytes()
    shutil.rmtree(root / "data/scenes")
    found = catalogue_of(own_gallery)
    cached = found.photograph("c")
    assert cached.is_relative_to(root.resolve() / ".dvc/cache")
    here = root / "data/scenes" / PHOTOGRAPHS["c"]
    here.parent.mkdir(parents=True)
    cached.rename(here)
    assert found.photograph("c") == here.resolve()
    here.unlink()
    with pytest.raises(MissingObject, match="no remote is set"):
        found.photograph("c")
    dvc(root, "remote", "add", "-q", "-d", "--local", "store", str(store))
    assert catalogue_of(own_gallery, "first").photograph("c").read_bytes() == content


def test_a_stage_or_data_set_that_is_not_recorded_is_named(own_gallery: Gallery) -> None:
    with pytest.raises(InputError, match="stage 'nothing': not recorded in workspace"):
        catalogue_of(own_gallery).layers("nothing")
    lock = own_gallery.root / "dvc.lock"
    lock.write_text(lock.read_text().replace("  dataset:", "  other:"))
    lock.write_text(lock.read_text().replace("data/dataset/", "data/other/"))
    with pytest.raises(InputError, match=r"images\.parquet: no stage of workspace makes it"):
        catalogue_of(own_gallery)


def test_a_folder_whose_list_is_lost_is_left_out(own_gallery: Gallery) -> None:
    objects = Objects(own_gallery.root)
    revision = read_revision(own_gallery.root)
    objects.path_of(revision.stages["walk_label"].outs["data/walk_label/maps"]).unlink()
    layers = Catalogue(objects, revision).layers("walk_label")
    assert [layer.name for layer in layers] == ["walk_label/graphs", "walk_label/labels"]


def test_a_broken_file_is_said_where_it_is_read(own_gallery: Gallery) -> None:
    objects, revision = Objects(own_gallery.root), read_revision(own_gallery.root)
    record = revision.stages["walk_label"]
    for out in ("data/walk_label/maps", "data/walk_label/labels"):
        for md5 in objects.files(revision, record, out).values():
            objects.path_of(md5).chmod(0o644)
            objects.path_of(md5).write_bytes(b"broken")
    catalogue = Catalogue(objects, revision)
    labels = catalogue.layer("walk_label/labels")
    with pytest.raises(InputError, match="not a readable PNG"):
        catalogue.labels(labels, "a")


def test_what_is_not_declared_is_no_layer(own_gallery: Gallery) -> None:
    graph = own_gallery.root / "dvc.yaml"
    declared = "walk_label/maps: {type: score_maps}"
    graph.write_text(graph.read_text().replace(declared, "walk_label/maps"))
    layers = catalogue_of(own_gallery).layers("walk_label")
    assert [layer.name for layer in layers] == ["walk_label/graphs", "walk_label/labels"]
    assert len(catalogue_of(own_gallery, "second").layers("walk_label")) == 3, "as it was then"


def test_a_stage_that_was_renamed_and_not_run_again_keeps_its_layers(own_gallery: Gallery) -> None:
    graph = own_gallery.root / "dvc.yaml"
    graph.write_text(graph.read_text().replace("  crf_refine:", "  refined:"))
    found = catalogue_of(own_gallery).labelled("final", Kind.LABELS)
    assert [(layer.name, layer.stage) for layer in found] == [
        ("crf_refine/walk", "crf_refine@walk")
    ]


@pytest.mark.parametrize(
    "notes",
    [
        "{type: instances}",
        "{type: [label_maps]}",
        "{type: 3, labels: final}",
        "{labels: [final], meta: {folders: {a: [x], b: 7}}}",
        "{meta: [x]}",
    ],
)
def test_notes_that_fit_nothing_are_no_layers(own_gallery: Gallery, notes: str) -> None:
    graph = own_gallery.root / "dvc.yaml"
    old = "walk_label/labels: {type: label_maps}"
    graph.write_text(graph.read_text().replace(old, f"walk_label/labels: {notes}"))
    layers = catalogue_of(own_gallery).layers("walk_label")
    assert [layer.name for layer in layers] == ["walk_label/graphs", "walk_label/maps"]


def test_a_revision_before_the_declarations_is_read_with_those_of_today(
    own_gallery: Gallery,
) -> None:
    graph = own_gallery.root / "dvc.yaml"
    today = graph.read_text()
    graph.write_text(re.sub(r": \{(type|labels): .*\}(?=\]?\n)", "", today))
    assert "label_maps" not in graph.read_text()
    commit_all(own_gallery.root, "as it was before")
    assert catalogue_of(own_gallery, "HEAD").all_layers() == []
    graph.write_text(today)
    old, new = catalogue_of(own_gallery, "HEAD"), catalogue_of(own_gallery, "second")
    assert [layer.name for layer in old.all_layers()] == [layer.name for layer in new.all_layers()]
    assert [layer.name for layer in old.labelled("final", Kind.LABELS)] == ["crf_refine/walk"]
