from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipelines.graph.objects import MissingObject, Objects
from pipelines.graph.revisions import Record, read_revision
from pipelines.look.compare import (
    MANY,
    Comparison,
    Difference,
    changed_code,
    changed_images,
    changed_params,
    difference,
    mean_iou,
    measured,
    worst_first,
)
from pipelines.look.layers import Catalogue, Kind, Layer
from stages.engine.errors import InputError
from stages.io.label_maps import encode_label_map
from tests.pipelines.gallery import Gallery, label_map, truth
from tests.reference.compare import (
    agreement_by_sets,
    changed_pixels_by_loops,
    truth_iou_by_loops,
)

Labels = npt.NDArray[np.uint8]
LABELS = arrays(np.uint8, (3, 4), elements=st.sampled_from([0, 1, 2, 254, 255]))


@given(LABELS, LABELS, LABELS)
def test_a_difference_is_what_loops_over_the_pixels_give(
    first: Labels, second: Labels, true: Labels
) -> None:
    found = difference("a", first, second, true)
    assert found.pixels == changed_pixels_by_loops(first, second)
    assert found.share == pytest.approx(100 * found.pixels / 12)
    assert found.iou == pytest.approx(agreement_by_sets(first, second))
    for value, labels in ((found.first, first), (found.second, second)):
        expected = truth_iou_by_loops(true, labels)
        if value is None:
            assert np.isnan(expected)
        else:  # two decimals, as in labels_eval
            assert value == pytest.approx(expected, abs=0.0051)


@given(LABELS)
def test_a_map_agrees_with_itself(labels: Labels) -> None:
    assert mean_iou(labels, labels) == 100
    assert difference("a", labels, labels, None).pixels == 0


def test_without_ground_truth_there_is_no_gain() -> None:
    zeros, ones = np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8)
    found = difference("a", zeros, ones, None)
    assert (found.first, found.second, found.gain) == (None, None, None)
    assert difference("a", zeros, ones, ones).gain == 100
    unknown = np.full((2, 2), 255, np.uint8)
    assert difference("a", zeros, ones, unknown).gain is None


def test_maps_of_different_sizes_are_refused() -> None:
    small, large = np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)
    with pytest.raises(InputError, match=r"a: label maps of sizes \(2, 2\) and \(2, 3\)"):
        difference("a", small, large, None)
    with pytest.raises(InputError, match="a: label maps"):
        difference("a", small, small, large)


def layer(**hashes: str) -> Layer:
    files = {image_id: (f"data/{image_id}.png", md5) for image_id, md5 in hashes.items()}
    return Layer("x", "x", Kind.LABELS, files)


def test_changes_are_told_from_hashes() -> None:
    found = changed_images(layer(a="1", b="2", c="3"), layer(d="9", c="3", b="8", a="1"))
    assert found.changed == ("b",)
    assert found.added == ("d",)
    assert found.removed == ()
    assert found.same == 2
    assert changed_images(layer(a="1"), layer()).removed == ("a",)


def comparison(gallery: Gallery, first: str, second: str, name: str) -> Comparison:
    objects = Objects(gallery.root)
    catalogues = [
        Catalogue(objects, read_revision(gallery.root, revision)) for revision in (first, second)
    ]
    return Comparison(catalogues[0], catalogues[1], name)


def test_a_layer_is_compared_between_revisions(gallery: Gallery) -> None:
    found = comparison(gallery, "first", "second", "walk_label/labels")
    assert found.changes.changed == ("b.1",)
    assert found.changes.added == ("c",)
    assert found.changes.same == 1
    expected = difference("b.1", label_map("b.1", 1), label_map("b.1", 2), truth("b.1"))
    assert found.difference("b.1") == expected
    assert expected.gain is not None
    assert expected.gain > 0, "a row of its truth is that of the second"


def test_an_image_without_ground_truth_is_compared_too(gallery: Gallery) -> None:
    found = comparison(gallery, "second", "three", "crf_refine/walk").difference("c")
    assert found.pixels == int((label_map("c", 2) != label_map("c", 3)).sum())
    assert found.gain is None


def test_what_cannot_be_compared_is_refused(own_gallery: Gallery) -> None:
    with pytest.raises(InputError, match="layer 'walk_label/maps': holds no label maps"):
        comparison(own_gallery, "first", "second", "walk_label/maps")
    with pytest.raises(InputError, match="layer 'walk_label/nothing': not in first"):
        comparison(own_gallery, "first", "second", "walk_label/nothing")
    found = comparison(own_gallery, "first", "second", "walk_label/labels")
    with pytest.raises(InputError, match="image 'c': not in both revisions"):
        found.difference("c")
    found.paths("b.1")[0].unlink()
    with pytest.raises(MissingObject, match=r"labels/b\.1\.png of first"):
        found.difference("b.1")


def test_changed_params_and_code_are_those_of_the_stage_and_all_above(gallery: Gallery) -> None:
    first, second = (read_revision(gallery.root, name).stages for name in ("first", "second"))
    for stage in ("walk_label", "crf_refine@walk", "labels_eval@crf"):
        assert changed_params(first, second, stage) == [("walk_label.steps", 1, 2)]
        assert changed_code(first, second, stage) == ["source/walk.py"]
    assert changed_params(first, second, "dataset") == []
    assert changed_code(first, second, "instances_split") == []


def record(name: str, dep: str, **params: object) -> Record:
    named = {f"{name}.{key}": value for key, value in params.items()}
    return Record(name, "", {dep: "1"}, {f"{name}.py": "1"}, {}, named, {f"data/{name}": "1"}, 0)


def test_a_stage_that_only_one_revision_has_counts(gallery: Gallery) -> None:
    before = {"a": record("a", "raw", n=1), "b": record("b", "data/a", n=1)}
    after = {"a": record("a", "raw", n=1), "b": record("b", "data/a", n=1, m=None)}
    assert changed_params(before, after, "b") == []
    after["b"] = record("b", "data/a", n=1, m=2)
    assert changed_params(before, after, "b") == [("b.m", None, 2)]
    assert changed_params({}, after, "b") == [("b.n", None, 1), ("b.m", None, 2), ("a.n", None, 1)]
    assert changed_code(before, {}, "b") == ["b.py", "a.py"]


def test_the_worst_are_those_that_lost_most_then_those_that_changed_most() -> None:
    def one(name: str, pixels: int, first: float | None, second: float | None) -> Difference:
        return Difference(name, pixels, 0, 0, first, second)

    found = worst_first(
        [
            one("better", 9, 10, 20),
            one("few", 1, None, None),
            one("worse", 1, 30, 20),
            one("many", 5, None, 3),
            one("same", 0, 5, 5),
        ]
    )
    names = [difference.image_id for difference in found]
    assert names == ["worse", "same", "better", "many", "few"]


def test_many_images_are_measured_in_processes(tmp_path: Path) -> None:
    jobs: list[tuple[str, Path, Path, Path | None]] = []
    for number in range(MANY + 5):
        path = tmp_path / f"{number}.png"
        path.write_bytes(encode_label_map(np.full((2, 3), number % 7, np.uint8)))
        jobs.append((str(number), path, jobs[-1][1] if jobs else path, None))
    (tmp_path / "3.png").write_bytes(b"nonsense")
    found = measured(jobs)
    assert found[0] == difference("0", np.zeros((2, 3), np.uint8), np.zeros((2, 3), np.uint8), None)
    assert isinstance(found[3], InputError)
    assert isinstance(found[4], InputError)
    assert [one.pixels for one in found[5:] if isinstance(one, Difference)] == [6] * 200
