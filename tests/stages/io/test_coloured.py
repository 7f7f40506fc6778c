from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from stages.engine.errors import InputError
from stages.io.coloured import (
    ColourTable,
    encode_colour_table,
    read_colour_table,
    read_coloured,
    voc_colours,
)
from stages.io.label_maps import encode_label_map

NAMES = {0: "background", 1: "cat", 2: "dog", 255: "ignored"}
LABELS = np.array([[0, 1, 2], [255, 1, 0]], np.uint8)
BGR = {0: (0, 0, 0), 1: (0, 0, 128), 2: (0, 128, 0), 255: (192, 224, 224)}


def table(folder: Path) -> ColourTable:
    return voc_colours(NAMES, folder / "labelmap.txt")


def painted(labels: np.ndarray) -> np.ndarray:
    """As an editor in colours has it, for cv2."""
    return np.array([[BGR[label] for label in row] for row in labels.tolist()], np.uint8)


def test_the_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = table(tmp_path)
    written.path.write_bytes(encode_colour_table(written))
    assert "cat:128,0,0::\ndog:0,128,0::\nignored:224,224,192::\n" in written.path.read_text()
    assert read_colour_table(written.path, written.labels) == written


@pytest.mark.parametrize("form", ["palette", "colours", "opaque", "grey", "renumbered"])
def test_every_form_of_a_mask_gives_its_labels(tmp_path: Path, form: str) -> None:
    path = tmp_path / "mask.png"
    if form == "palette":
        path.write_bytes(encode_label_map(LABELS))
    elif form == "colours":
        cv2.imwrite(str(path), painted(LABELS))
    elif form == "opaque":
        alpha = np.full((*LABELS.shape, 1), 255, np.uint8)
        cv2.imwrite(str(path), np.concatenate([painted(LABELS), alpha], axis=2))
    elif form == "grey":
        cv2.imwrite(str(path), LABELS)
    else:  # a program that drops unused colours of a palette numbers them anew
        Image.fromarray(painted(LABELS)[..., ::-1].copy()).quantize(4).save(path)
        assert (np.array(Image.open(path)) != LABELS).any()
    assert (read_coloured(path, table(tmp_path), (2, 3)) == LABELS).all()


def test_colours_of_another_program_mean_what_its_table_says(tmp_path: Path) -> None:
    path = tmp_path / "labelmap.txt"
    path.write_text("# made elsewhere\n\ndog:250, 50, 83:head,tail:runs\nbird:1,2,3::\ncat:0,0,0\n")
    found = read_colour_table(path, {"cat": 1, "dog": 2})
    pixels = np.array([[(250, 50, 83), (0, 0, 0)]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    assert read_coloured(tmp_path / "mask.png", found, (1, 2)).tolist() == [[2, 1]]


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.full((2, 3, 3), (0, 0, 127), np.uint8), r"pixel x=0, y=0: colour 127,0,0 is not in"),
        (np.full((2, 3), 3, np.uint8), r"pixel x=0, y=0: value 3 is no class"),
        (np.zeros((2, 3, 4), np.uint8), r"pixel x=0, y=0: transparent"),
        (np.zeros((2, 3), np.uint16), r"mode I;16.*; expected colours"),
        (np.zeros((3, 2), np.uint8), r"size \(3, 2\); expected \(2, 3\) of its image"),
    ],
)
def test_what_is_no_mask_is_told_with_the_pixel(
    tmp_path: Path, pixels: np.ndarray, expected: str
) -> None:
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), pixels)
    with pytest.raises(InputError, match=f"^{path}: {expected}"):
        read_coloured(path, table(tmp_path), (2, 3))


def test_the_one_pixel_that_an_editor_has_blended_is_found(tmp_path: Path) -> None:
    pixels = painted(LABELS)
    pixels[1, 2] = (0, 0, 64)
    cv2.imwrite(str(tmp_path / "mask.png"), pixels)
    with pytest.raises(InputError, match=r"pixel x=2, y=1: colour 64,0,0 is not in .*labelmap.txt"):
        read_coloured(tmp_path / "mask.png", table(tmp_path), (2, 3))


def test_a_class_that_the_data_set_has_not_is_an_error_where_it_is_painted(tmp_path: Path) -> None:
    path = tmp_path / "labelmap.txt"
    path.write_text("cats:128,0,0::\nbackground:0,0,0::\n")
    found = read_colour_table(path, table(tmp_path).labels)
    cv2.imwrite(str(tmp_path / "mask.png"), painted(LABELS * 0))
    assert not read_coloured(tmp_path / "mask.png", found, (2, 3)).any()
    cv2.imwrite(str(tmp_path / "mask.png"), painted(LABELS * 0 + 1))
    with pytest.raises(InputError, match=r"128,0,0 is 'cats' in .*; did you mean 'cat'\?"):
        read_coloured(tmp_path / "mask.png", found, (2, 3))


def test_broken_files_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(InputError, match=r"mask.png: not a readable PNG"):
        read_coloured(tmp_path / "mask.png", table(tmp_path), (2, 3))
    with pytest.raises(InputError, match=r"none.png: cannot be read: No such file"):
        read_coloured(tmp_path / "none.png", table(tmp_path), (2, 3))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat\n", r"line 1: 'cat'; expected name:r,g,b::"),
        ("cat:1,2::\n", r"line 1: 'cat:1,2::'; expected"),
        ("cat:1,2,x::\n", r"line 1"),
        ("cat:1,2,3::\ndog:1,2,3::\n", r"line 2: 'cat' and 'dog' have one colour"),
    ],
)
def test_a_broken_table_names_the_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "labelmap.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=expected):
        read_colour_table(path, {"cat": 1})


@pytest.mark.parametrize("name", ["a:b", "#a", " a", "", "a\nb", "background"])
def test_a_name_that_the_table_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"labelmap.txt: class"):
        voc_colours({0: "background", 1: name}, tmp_path / "labelmap.txt")
