"""Bad images and data sets: quarantined or refused, and no harm done."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.engine.errors import InputError
from stages.io.tables import IMAGES, INSTANCES, read_rows
from tests.stages.dataset_runs import Format, metrics, read, rejected
from tests.stages.devkits import (
    HEIGHT,
    WIDTH,
    coco_box,
    coco_image,
    picture,
    picture_bytes,
    save,
    write_coco,
    write_folder,
)

# --- bad images ------------------------------------------------------------------------------


def bomb() -> bytes:
    """A PNG that claims 30000 x 30000 pixels."""
    content = bytearray(picture_bytes(picture()))
    content[16:24] = (30000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


BAD = {
    "text": (b"not an image at all", "not a sound image: no known format"),
    "nothing": (b"", "not a sound image"),
    "truncated": (picture_bytes(picture(), "JPEG")[:500], "not a sound image"),
    "cut": (picture_bytes(picture())[:2000], "not a sound image"),
    "bomb": (bomb(), "decompression bomb"),
    "size": (picture_bytes(picture(20, 10)), "annotation says 48x40, the file holds 20x10"),
    "missing": (None, "cannot be read: No such file"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_is_quarantined_with_its_reason(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content, reason = BAD[kind]
    boxes = [coco_box(1, 3, [0, 0, 4, 4]), coco_box(2, 3, [0, 0, 4, 4])]
    root = write_coco(tmp_path / "coco", [coco_image(1, "a.png"), coco_image(2, "b.png")], boxes)
    bad = root / "images" / "train" / "b.png"
    if content is None:
        bad.unlink()
    else:
        bad.write_bytes(content)
    out = read(root, "coco", max_rejected=1)
    assert [row["image_id"] for row in read_rows(out / "images.parquet", IMAGES)] == ["a"]
    assert [row["image_id"] for row in read_rows(out / "instances.parquet", INSTANCES)] == ["a"]
    (row,) = rejected(out)
    assert row["image"] == "images/train/b.png"
    assert reason in row["reason"]
    assert metrics(out)["rejected_images"] == 1
    assert "1 images rejected: images/train/b.png" in capsys.readouterr().out


def test_too_many_bad_images_are_an_error_that_names_them(tmp_path: Path) -> None:
    images = [coco_image(number, f"{number}.png") for number in range(4)]
    root = write_coco(tmp_path / "coco", images)
    for number in (1, 2):
        (root / "images" / "train" / f"{number}.png").write_bytes(b"?")
    with pytest.raises(
        InputError, match=r"2 of 4 images rejected, more than .*max_rejected = 1"
    ) as caught:
        read(root, "coco", max_rejected=1)
    assert "rejected.csv" in str(caught.value)
    assert "images/train/1.png: not a sound image" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "coco-out" / "images.parquet").exists()


def test_a_mask_of_another_size_is_quarantined(tmp_path: Path) -> None:
    root = tmp_path / "folder"
    write_folder(root, ["a.png,train,cat,0,0,4,4", "b.png,train,cat,0,0,4,4"], ["a.png", "b.png"])
    save(root / "masks" / "b.png", Image.fromarray(np.zeros((4, 4), dtype=np.uint8)))
    out = read(root, "folder", max_rejected=1)
    assert rejected(out)[0]["reason"] == "mask masks/b.png is 4x4, its image 48x40"


def with_bad_mask(root: Path) -> Path:
    """A folder of two images; masks/b.png is for the test to write."""
    lines = ["a.png,train,cat,0,0,4,4", "b.png,train,cat,0,0,4,4"]
    write_folder(root, lines, ["a.png", "b.png"])
    (root / "masks").mkdir()
    return root


def reason_of_b(root: Path, format: Format = "folder") -> str:
    """Why b alone is in quarantine."""
    out = read(root, format, max_rejected=1)
    assert [row["image_id"] for row in read_rows(out / "images.parquet", IMAGES)] == ["a"]
    assert not (out / "ground_truth" / "semantic" / "b.png").exists()
    (row,) = rejected(out)
    return row["reason"]


def test_a_label_of_no_category_quarantines_its_image(tmp_path: Path) -> None:
    root = with_bad_mask(tmp_path / "folder")
    labels = np.full((HEIGHT, WIDTH), 2, dtype=np.uint8)
    save(root / "masks" / "b.png", Image.fromarray(labels))
    assert reason_of_b(root).endswith("masks/b.png: label 2; expected 0..1 or 255")


@pytest.mark.parametrize("kind", ["text", "nothing", "cut", "bomb"])
def test_a_broken_mask_quarantines_its_image(tmp_path: Path, kind: str) -> None:
    root = with_bad_mask(tmp_path / "folder")
    content = BAD[kind][0]
    assert content is not None
    (root / "masks" / "b.png").write_bytes(content)
    assert "masks/b.png: not a readable PNG" in reason_of_b(root)


@pytest.mark.parametrize("name", ["b.png", "masks/b.png"])
def test_pipes_quarantine_their_image(tmp_path: Path, name: str) -> None:
    root = with_bad_mask(tmp_path / "folder")
    (root / name).unlink(missing_ok=True)
    os.mkfifo(root / name)
    assert reason_of_b(root).endswith("is a pipe, socket or device; expected a file")


def test_a_huge_file_quarantines_its_image_unread(tmp_path: Path) -> None:
    root = with_bad_mask(tmp_path / "folder")
    with (root / "b.png").open("r+b") as file:
        file.truncate(2**40)
    assert "has 1099511627776 bytes; expected at most" in reason_of_b(root)


def test_a_program_in_postscript_is_no_photograph(tmp_path: Path) -> None:
    """Pillow would start Ghostscript for it, whatever its name says."""
    root = with_bad_mask(tmp_path / "folder")
    picture().save(root / "b.png", format="EPS")
    assert reason_of_b(root) == "not a sound image: no known format"


@pytest.mark.parametrize(
    "segmentation",
    [[[1e9, 1e9, 1e9, 5, 6, 6]], [[[1, 1, 5, 5, 9, 1]]], "1 1 5 5 9 1", {"size": [40, 48]}],
)
def test_a_bad_segmentation_quarantines_its_image(tmp_path: Path, segmentation: object) -> None:
    box = coco_box(2, 3, [0, 0, 4, 4], segmentation=segmentation)
    images = [coco_image(1, "a.png"), coco_image(2, "b.png")]
    root = write_coco(tmp_path / "coco", images, [box])
    assert "annotations[0]: segmentation" in reason_of_b(root, "coco")


def test_a_size_of_four_hundred_digits_quarantines_its_image(tmp_path: Path) -> None:
    images = [coco_image(1, "a.png"), coco_image(2, "b.png", width=10**400)]
    reason = reason_of_b(write_coco(tmp_path / "coco", images), "coco")
    assert len(reason) < 200
    assert reason.endswith("x40, the file holds 48x40")


def test_a_name_of_surrogates_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_coco(tmp_path / "coco", [coco_image(1, "a.png"), coco_image(2, "b.png")])
    path = root / "annotations" / "instances_train.json"
    path.write_text(path.read_text().replace('"b.png"', r'"\ud800\n.png"'))
    assert "expected printable characters" in reason_of_b(root, "coco")
    assert r"1 images rejected: '\ud800\n.png'" in capsys.readouterr().out


def test_a_failure_leaves_the_results_of_before(tmp_path: Path) -> None:
    root = with_bad_mask(tmp_path / "folder")
    labels = np.ones((HEIGHT, WIDTH), dtype=np.uint8)
    for name in ("a", "b"):
        save(root / "masks" / f"{name}.png", Image.fromarray(labels))
    out = read(root, "folder")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (root / "masks" / "a.png").write_bytes(b"?")
    with pytest.raises(InputError, match="1 of 2 images rejected"):
        read(root, "folder")
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert after.pop(out / "rejected.csv") != before.pop(out / "rejected.csv")
    assert after == before


# --- whatever else there is ------------------------------------------------------------------


def test_drawn_malformed_data_sets_do_no_harm() -> None:
    """The short form of `python -m benchmarks.fuzz_data_sets`, which forks."""
    command = [sys.executable, "-m", "benchmarks.fuzz_data_sets", "--cases", "40", "--seed", "8"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "all (40)" in result.stdout
