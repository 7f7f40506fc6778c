import csv
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import __main__
from pipelines.graph.objects import Objects
from pipelines.graph.revisions import read_revision
from pipelines.look import commands
from pipelines.look.compare import Comparison, difference
from pipelines.look.drawing import on_photograph
from pipelines.look.layers import Catalogue
from stages.io.label_maps import encode_label_map
from tests.pipelines import gallery as made
from tests.pipelines.gallery import SIZE, Gallery, label_map, truth
from tests.pipelines.made_repository import Made, MadeRepository, dataset_stage
from tests.pipelines.mini_repository import HERE


@pytest.fixture(autouse=True)
def _in_the_gallery(gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written without a path goes elsewhere."""
    monkeypatch.setattr(__main__, "ROOT", gallery.root)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "200")


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    """`./seedmask WORDS...`: stdout and stderr."""
    found = __main__.main(words)
    out, errors = capsys.readouterr()
    assert found == code, errors
    return out, errors


def test_the_ladder_of_one_revision_and_of_several(capsys: pytest.CaptureFixture[str]) -> None:
    out, errors = run(capsys, "ladder")
    assert "61.0" in out
    assert errors == ""
    assert "51.0" in run(capsys, "ladder", "first")[0]
    assert "51.0" in run(capsys, "ladder", "first", "first")[0]
    out, _ = run(capsys, "ladder", "first", "three", "workspace")
    row = next(line for line in out.splitlines() if " crf " in line)
    assert row.replace("│", " ").split() == ["crf", "52.0", "72.0", "62.0", "-10.0"]


def test_numbers_that_are_nowhere_are_named(
    capsys: pytest.CaptureFixture[str], own_gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(__main__, "ROOT", own_gallery.root)
    for folder in (".dvc/cache", "data/labels_eval"):
        shutil.rmtree(own_gallery.root / folder)
    out, errors = run(capsys, "ladder")
    assert errors == "workspace: the numbers are not in the cache, git or a remote: walk, crf\n"
    assert "61.2" in out


def test_show_writes_photograph_and_layers_side_by_side(
    capsys: pytest.CaptureFixture[str], gallery: Gallery
) -> None:
    out, errors = run(capsys, "show", "walk_label", "b.1", "--rev", "first")
    assert out == "walk_label-b.1-first.png\n"
    assert errors.endswith("photograph, walk_label/graphs, walk_label/labels, walk_label/maps\n")
    picture = np.array(Image.open(out.strip()))
    assert picture.shape == (SIZE[0], 4 * SIZE[1] + 3 * commands.GAP, 3)
    step = SIZE[1] + commands.GAP
    np.testing.assert_array_equal(picture[:, : SIZE[1]], made.photograph("b.1"))
    assert (picture[:, SIZE[1] : step] == 255).all()
    catalogue = Catalogue(Objects(gallery.root), read_revision(gallery.root, "first"))
    for column, layer in enumerate(catalogue.layers("walk_label"), start=1):
        expected = on_photograph(catalogue, layer, "b.1")
        found = picture[:, step * column : step * column + SIZE[1]]
        np.testing.assert_array_equal(found, expected)


def test_show_takes_one_layer_and_a_path(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("labels", "walk_label/labels"):
        out, errors = run(
            capsys, "show", "walk_label", "a", "--layer", name, "--out", "new/it's.png"
        )
        assert out == "new/it's.png\n"
        assert errors == "from left to right: photograph, walk_label/labels\n"
        with Image.open("new/it's.png") as picture:
            assert picture.size == (2 * SIZE[1] + commands.GAP, SIZE[0])
    assert run(capsys, "show", "crf_refine@walk", "a")[0] == "crf_refine@walk-a.png\n"


def test_a_picture_is_called_after_what_it_shows_whatever_that_is_called(
    capsys: pytest.CaptureFixture[str], own_gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(__main__, "ROOT", own_gallery.root)
    names = {"user/branch": "user_branch", "ü's&co": "ü_s_co", "写" * 70: "写" * 62}
    for tag, shown in names.items():
        subprocess.run(["git", "tag", tag], cwd=own_gallery.root, check=True)
        out, _ = run(capsys, "show", "walk_label", "a", "--rev", tag)
        assert out == f"walk_label-a-{shown}.png\n"
        assert Path(out.strip()).is_file()


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_diff_says_what_changed_and_measures_the_changed_images(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, errors = run(capsys, "diff", "walk_label", "first", "second")
    expected = difference("b.1", label_map("b.1", 1), label_map("b.1", 2), truth("b.1"))
    assert table(out) == [
        {
            "image_id": "b.1",
            "pixels": str(expected.pixels),
            "share": f"{expected.share:.2f}",
            "iou": f"{expected.iou:.2f}",
            "first_miou": f"{expected.first:.2f}",
            "second_miou": f"{expected.second:.2f}",
            "gain": f"{expected.gain:.2f}",
        }
    ]
    row = next(line for line in errors.splitlines() if "walk_label.steps" in line)
    assert row.replace("│", " ").split() == ["walk_label.steps", "1", "2"]
    assert "source/walk.py" in errors
    assert errors.endswith("walk_label/labels: 1 images changed, 1 the same, 1 added, 0 removed\n")
    _, errors = run(capsys, "diff", "walk_label", "second", "first")
    assert errors.endswith("0 added, 1 removed\n")


def test_diff_without_a_difference_is_a_header(capsys: pytest.CaptureFixture[str]) -> None:
    out, errors = run(capsys, "diff", "crf_refine@walk", "second", "workspace")
    assert out == "image_id,pixels,share,iou,first_miou,second_miou,gain\n"
    assert errors == "crf_refine/walk: 0 images changed, 3 the same, 0 added, 0 removed\n"


def test_diff_writes_the_worst_to_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "diff", "walk_label", "second", "three")
    rows = table(out)
    gains = [float(row["gain"]) for row in rows[:2]]
    assert gains == sorted(gains)
    assert (rows[2]["image_id"], rows[2]["gain"]) == ("c", ""), "without ground truth last"
    words = ("--most", "1", "--out", "new/worst.csv")
    assert run(capsys, "diff", "walk_label", "second", "three", *words)[0] == ""
    assert table(Path("new/worst.csv").read_text()) == rows[:1]


def test_images_that_cannot_be_compared_are_counted(
    capsys: pytest.CaptureFixture[str], own_gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(__main__, "ROOT", own_gallery.root)
    objects = Objects(own_gallery.root)
    catalogues = [
        Catalogue(objects, read_revision(own_gallery.root, name)) for name in ("second", "three")
    ]
    comparison = Comparison(catalogues[0], catalogues[1], "walk_label/labels")
    comparison.paths("b.1")[1].unlink()
    out, errors = run(capsys, "diff", "walk_label", "second", "three")
    assert sorted(row["image_id"] for row in table(out)) == ["a", "c"]
    assert "1 images could not be compared; the first: data/walk_label/labels/b.1.png" in errors
    for image_id in ("a", "c"):
        comparison.paths(image_id)[1].unlink()
    out, errors = run(capsys, "diff", "walk_label", "second", "three", code=1)
    assert out == ""
    assert "dvc remote add" in errors.splitlines()[-1]


def test_why_prints_all_that_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    out, errors = run(capsys, "why", "data/walk_label/labels/a.png", "--rev", "first")
    assert errors == ""
    facts = {line[:10].strip(): line[11:] for line in out.splitlines() if line[:1] != " "}
    assert facts["file"] == "data/walk_label/labels/a.png in first"
    assert facts["stage"] == "walk_label: walk a while"
    assert facts["command"].endswith("cp -r source/walk-1/. data/walk_label")
    assert facts["params"] == "walk_label.steps = 1"
    assert facts["reads"].startswith("data/dataset/images.parquet  ")
    assert facts["code"].endswith("one hash over 1 files")
    assert facts["libraries"] == "none recorded"
    assert facts["run"].startswith("not by `pipelines run`")
    assert facts["on disk"] == "as recorded"
    assert facts["in git"].endswith("'the first one'")
    assert "           walk_label.rate = 0.5" in out.splitlines()
    out, _ = run(capsys, "why", "source/walk.py")
    assert out == "source/walk.py: source code; read by walk_label\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show", "walk_labl", "a"), "stage 'walk_labl': not in workspace; did you mean 'walk_l"),
        (("show", "crf_refine", "a"), "has members; name one of crf_refine@walk"),
        (("show", "labels_eval@crf", "a"), "makes nothing per image"),
        (("show", "walk_label", "b1"), "image 'b1': not in workspace; did you mean 'b.1'"),
        (("show", "walk_label", "zzz"), "there are 3, such as 'a'"),
        (
            ("show", "walk_label", "a", "--layer", "x"),
            "it has walk_label/graphs, walk",
        ),
        (("show", "walk_label", "a", "--rev", "fist"), "did you mean 'first'"),
        (("show", "crf_refine@walk", "c", "--rev", "first"), "of first has nothing for it"),
        (("show", "walk_label", "a", "--out", "/proc/nowhere/x.png"), "cannot be written"),
        (("diff", "walk_label", "first", "nowhere"), "revision 'nowhere'"),
        (("diff", "nothing", "first", "second"), "stage 'nothing': not in first"),
        (("diff", "instances_split", "first", "second"), "holds no label maps"),
        (("diff", "walk_label", "first", "second", "--layer", "maps"), "maps: holds no label maps"),
        (("diff", "walk_label", "first", "second", "--most", "0"), "--most 0: expected 1 or more"),
        (("why", "data/walk_label/label/a.png"), "did you mean 'data/walk_label/labels'"),
        (("ladder", "--", "-x"), "revision '-x': expected"),
    ],
)
def test_a_wrong_word_is_one_line(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    out, errors = run(capsys, *words, code=1)
    assert out == ""
    assert len(errors.splitlines()) == 1
    assert message in errors
    assert not list(Path().iterdir())


def test_a_missing_object_is_one_line(
    capsys: pytest.CaptureFixture[str], own_gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(__main__, "ROOT", own_gallery.root)
    shutil.rmtree(own_gallery.root / ".dvc/cache")
    for words in (
        ("show", "walk_label", "b.1", "--rev", "first"),
        ("diff", "walk_label", "first", "second"),
        ("why", "data/walk_label/labels/b.1.png", "--rev", "first"),
    ):
        out, errors = run(capsys, *words, code=1)
        assert out == ""
        assert len(errors.splitlines()) == 1
        assert "no remote is set; after `dvc remote add" in errors


def test_several_layers_of_labels_must_be_chosen_from(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = MadeRepository(tmp_path / "made")
    monkeypatch.setattr(__main__, "ROOT", repository.root)
    scenes, dataset = dataset_stage({"a": made.photograph("a")})
    for value in (1, 2):
        file = {"a.png": encode_label_map(np.full(SIZE, value, np.uint8))}
        seeds = Made({"data/seeds/cam": file, "data/seeds/fused": file})
        walk = Made({"data/walk/labels": file, "data/walk/more": file})
        stages = {"scenes": scenes, "dataset": dataset, "seeds": seeds, "walk": walk}
        repository.commit(stages, f"labels {value}")
    _, errors = run(capsys, "diff", "seeds", "HEAD~1", "HEAD", code=1)
    assert errors.endswith("has several layers of labels; --layer one of seeds/cam, seeds/fused\n")
    assert table(run(capsys, "diff", "seeds", "HEAD~1", "HEAD", "--layer", "fused")[0])
    assert "walk/labels: 1 images changed" in run(capsys, "diff", "walk", "HEAD~1", "HEAD")[1]


def test_the_commands_start_without_torch_prefect_or_dvc(gallery: Gallery) -> None:
    code = (
        "import sys; from pipelines.__main__ import main; main(['ladder', 'first']);"
        "print({'torch', 'prefect', 'cv2'} & set(sys.modules), file=sys.stderr);"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=gallery.root,
        env=os.environ | {"PYTHONPATH": str(HERE)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "51.0" in done.stdout
    assert done.stderr == "set()\n"
