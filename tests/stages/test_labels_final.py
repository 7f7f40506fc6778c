import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.instances_split import Params as SplitParams
from stages.instances_split import instances_split
from stages.io.corrections import read_human
from stages.io.label_maps import UNKNOWN, LabelMap, encode_label_map, palette, read_label_map
from stages.io.score_maps import ScoreMap, encode_score_map
from stages.labels_final import Params, labels_final
from stages.masks_export import Params as ExportParams
from stages.masks_export import masks_export
from tests.stages.drawn_discs import DISCS, SIZE, draw, write_discs


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Any]:
    written = write_discs(tmp_path)
    for name in DISCS:
        write_bytes(tmp_path / "automatic" / f"{name}.png", encode_label_map(draw(name)[1]))
    (tmp_path / "corrections").mkdir()
    return {
        "data": written,
        "labels": tmp_path / "automatic",
        "corrections": tmp_path / "corrections",
        "out": tmp_path / "final",
    }


def correction() -> LabelMap:
    """Half of it sun, some of it unknown."""
    labels = np.zeros(SIZE, np.uint8)
    labels[:, :24] = 1
    labels[30:, 40:] = UNKNOWN
    return labels


def correct(paths: dict[str, Any], name: str, labels: LabelMap) -> Path:
    path = paths["corrections"] / f"{name}.png"
    write_bytes(path, encode_label_map(labels))
    return path


def metrics(paths: dict[str, Any]) -> dict[str, float | None]:
    content: dict[str, float | None] = json.loads((paths["out"] / "metrics.json").read_text())
    return content


def test_a_correction_takes_the_place_of_the_automatic_label(paths: dict[str, Any]) -> None:
    correct(paths, "two", correction())
    labels_final(Params(), **paths)
    made = {path.name for path in (paths["out"] / "labels").iterdir()}
    assert made == {"one.png", "two.png", "empty.png"}
    found = read_label_map(paths["out"] / "labels" / "two.png")
    np.testing.assert_array_equal(found, correction())
    for name in ("one.png", "empty.png"):
        automatic = (paths["labels"] / name).read_bytes()
        assert (paths["out"] / "labels" / name).read_bytes() == automatic
    text = (paths["out"] / "origins.csv").read_text()
    assert text == "image_id,origin\none,automatic\ntwo,human\nempty,automatic\n"
    share = 100 * (correction() != draw("two")[1]).mean()
    assert metrics(paths) == {
        "images": 3,
        "human": 1,
        "automatic": 2,
        "changed_percent_of_human": round(share, 2),
    }


def test_without_corrections_the_labels_are_the_automatic_ones(paths: dict[str, Any]) -> None:
    correct(paths, "two", correction())
    labels_final(Params(), **paths)
    (paths["corrections"] / "two.png").unlink()
    labels_final(Params(), **paths)
    for name in ("one.png", "two.png", "empty.png"):
        automatic = (paths["labels"] / name).read_bytes()
        assert (paths["out"] / "labels" / name).read_bytes() == automatic
    assert read_human(paths["out"] / "origins.csv") == set()
    assert metrics(paths)["changed_percent_of_human"] is None


def test_an_automatic_label_is_not_decoded(paths: dict[str, Any]) -> None:
    (paths["labels"] / "one.png").write_bytes(b"anything")
    labels_final(Params(), **paths)
    assert (paths["out"] / "labels" / "one.png").read_bytes() == b"anything"
    (paths["labels"] / "one.png").unlink()
    with pytest.raises(InputError, match=r"one\.png: cannot be read: No such file"):
        labels_final(Params(), **paths)


def test_a_grey_correction_comes_out_in_the_palette(paths: dict[str, Any]) -> None:
    Image.fromarray(correction()).save(paths["corrections"] / "one.png")
    labels_final(Params(), **paths)
    with Image.open(paths["out"] / "labels" / "one.png") as image:
        assert image.mode == "P"
        assert image.getpalette() == list(palette())
        np.testing.assert_array_equal(np.array(image), correction())


def test_other_files_in_the_folder_are_ignored(paths: dict[str, Any]) -> None:
    correct(paths, "one", correction())
    for name in ("README.md", ".gitignore", "one.png.dvc", "notes.txt"):
        (paths["corrections"] / name).write_text("?")
    labels_final(Params(), **paths)
    assert read_human(paths["out"] / "origins.csv") == {"one"}


def test_a_correction_that_dvc_keeps_is_never_left_out_silently(paths: dict[str, Any]) -> None:
    (paths["corrections"] / "one.png.dvc").write_text("outs: []\n")
    expected = r"one\.png: no such file; expected what DVC keeps: dvc pull \S+one\.png\.dvc, or dvc"
    with pytest.raises(InputError, match=expected):
        labels_final(Params(), **paths)
    assert not paths["out"].exists()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("tow", "no training image 'tow'; did you mean 'two'?"),
        ("held", "no training image 'held'; expected an image of "),
    ],
)
def test_a_correction_of_no_training_image_is_named(
    paths: dict[str, Any], name: str, problem: str
) -> None:
    path = correct(paths, name, correction())
    with pytest.raises(InputError, match=re.escape(f"{path}: {problem}")):
        labels_final(Params(), **paths)
    assert not paths["out"].exists()


def test_what_is_no_label_map_of_the_image_is_refused(paths: dict[str, Any]) -> None:
    def refused(problem: str) -> None:
        with pytest.raises(InputError, match=re.escape(f"one.png: {problem}")) as caught:
            labels_final(Params(), **paths)
        assert "\n" not in str(caught.value)

    path = correct(paths, "one", correction()[:20])
    refused("size (20, 48); expected (40, 48) of its image")
    foreign = correction()
    foreign[3, 4] = 3
    correct(paths, "one", foreign)
    refused("value 3; expected a category (1, 2), 0 (background) or 255 (unknown)")
    Image.fromarray(draw("one")[0]).save(path)
    refused("mode RGB; expected a palette or grey PNG")
    path.write_bytes(encode_label_map(correction())[:60])
    refused("not a readable PNG")
    path.write_bytes(b"")
    refused("not a readable PNG")


def test_values_that_a_program_has_renumbered_are_refused(paths: dict[str, Any]) -> None:
    """As on saving with the unused colours taken out of the palette: moon became value 1."""
    image = Image.fromarray((draw("two")[1] == 2).astype(np.uint8)).convert("P")
    image.putdata((draw("two")[1] == 2).astype(np.uint8).ravel())
    image.putpalette([0, 0, 0, 0, 128, 0])
    image.save(paths["corrections"] / "two.png")
    expected = "value 1 has colour (0, 128, 0); expected (128, 0, 0), as in VOC's palette"
    with pytest.raises(InputError, match=re.escape(expected)):
        labels_final(Params(), **paths)


def test_a_missing_folder_is_named(paths: dict[str, Any]) -> None:
    paths["corrections"].rmdir()
    with pytest.raises(InputError, match="corrections: no such folder"):
        labels_final(Params(), **paths)


@pytest.mark.parametrize(
    "text", ["", "image_id\none\n", "image_id,origin\none,robot\n", "image_id,origin\none\n"]
)
def test_broken_origins_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "origins.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"origins\.csv: "):
        read_human(path)


def export(paths: dict[str, Any]) -> Path:
    """The stages from the corrections to the exported masks; the folder of the latter."""
    tables = paths["data"].folder
    shutil.rmtree(paths["out"], ignore_errors=True)
    labels_final(Params(), **paths)
    instances_split(
        SplitParams(),
        paths["data"],
        labels=paths["out"] / "labels",
        origins=paths["out"] / "origins.csv",
        probabilities=tables / "maps",
        out=tables / "split",
    )
    masks_export(
        ExportParams(),
        paths["data"],
        labels=paths["out"] / "labels",
        instances=tables / "split" / "instances.parquet",
        out=tables / "export",
    )
    return tables / "export"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_export_is_the_correction_until_it_is_removed(paths: dict[str, Any]) -> None:
    tables = paths["data"].folder
    for name in DISCS:
        scores = np.full((3, *SIZE), 0.25, np.float16)
        score_map = ScoreMap(scores, np.arange(3), SIZE, 1)
        write_bytes(tables / "maps" / f"{name}.npz", encode_score_map(score_map))
    before = contents(export(paths))
    path = correct(paths, "two", correction())  # without the moon of its second box
    exported = export(paths)
    voc = exported / "voc"
    found = read_label_map(voc / "SegmentationClass" / "two.png")
    np.testing.assert_array_equal(found, correction())
    objects = read_label_map(voc / "SegmentationObject" / "two.png")
    assert not objects[correction() != 1].any(), "no instance where the person saw none"
    for name in ("one", "empty"):
        for folder in ("SegmentationClass", "SegmentationObject"):
            file = f"voc/{folder}/{name}.png"
            assert (exported / file).read_bytes() == before[file]
    path.unlink()
    assert contents(export(paths)) == before
