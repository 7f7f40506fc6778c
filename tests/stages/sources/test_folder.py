import contextlib
import os
import re
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.engine.errors import InputError
from stages.sources.folder import read_folder
from tests.stages.devkits import faults, save, write_folder


def test_images_below_the_root_get_flat_ids(tmp_path: Path) -> None:
    lines = ["a.png,train,cat,1,2,3.5,4", "sub/b.png,val,ant,0,0,5,5", "a.png,train,ant,0,0,1,1"]
    source = read_folder(write_folder(tmp_path, lines, ["a.png", "sub/b.png"]))
    assert source.categories == {1: "ant", 2: "cat"}
    first, second = source.images
    assert (first.image_id, second.image_id) == ("a", "sub__b")
    assert (first.split, second.split) == ("train", "val")
    assert [box.category for box in first.boxes] == [2, 1]
    assert first.boxes[0].corners == (1.0, 2.0, 3.5, 4.0)
    assert first.size is None


def test_a_listing_fixes_the_label_values(tmp_path: Path) -> None:
    write_folder(tmp_path, ["a.png,train,ant,0,0,1,1"], ["a.png"])
    (tmp_path / "categories.txt").write_text("zebra\nant\n\n")
    source = read_folder(tmp_path)
    assert source.categories == {1: "zebra", 2: "ant"}
    assert source.images[0].boxes[0].category == 2


def test_a_row_without_box_lists_an_image(tmp_path: Path) -> None:
    lines = ["a.png,train,,,,,", "b.png,val,cat,0,0,1,1"]
    assert read_folder(write_folder(tmp_path, lines, [])).images[0].boxes == ()


def test_ground_truth_is_found_by_id(tmp_path: Path) -> None:
    write_folder(tmp_path, ["sub/a.png,train,cat,0,0,1,1"], ["sub/a.png"])
    save(
        tmp_path / "ground_truth" / "sub__a.png",
        Image.fromarray(np.zeros((40, 48), dtype=np.uint8)),
    )
    assert read_folder(tmp_path).images[0].semantic == "ground_truth/sub__a.png"


def test_spreadsheet_marks_are_ignored(tmp_path: Path) -> None:
    write_folder(tmp_path, [], [])
    text = "\ufefffile,split,category,x0,y0,x1,y1\r\na.png,train,cat,0,0,1,1\r\n"
    (tmp_path / "boxes.csv").write_bytes(text.encode())
    assert read_folder(tmp_path).images[0].image_id == "a"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../a.png,train,cat,0,0,1,1", r"line 3: file name '\.\./a\.png': expected a path inside"),
        ("/a.png,train,cat,0,0,1,1", "line 3: file name '/a.png': expected a path inside"),
        ("C:\\a.png,train,cat,0,0,1,1", "line 3: file name .* expected a path inside"),
        ("a.txt,train,cat,0,0,1,1", "line 3: file 'a.txt': expected one of .jpg"),
        ("a.png,test,cat,0,0,1,1", "line 3: split 'test': expected train or val"),
        ("ok.png,val,cat,0,0,1,1", "line 3: split 'val': ok.png was train above"),
        ("a.png,train,cow,0,0,1,1", "line 3: unknown category 'cow'; expected one of 'cat'"),
        ("a.png,train,cat,nan,0,1,1", "line 3: box .* expected finite"),
        ("a.png,train,cat,0,0,1,", "line 3: y1 '': expected a number"),
    ],
)
def test_a_bad_row_is_the_fault_of_its_image(tmp_path: Path, line: str, message: str) -> None:
    write_folder(tmp_path, ["ok.png,train,cat,0,0,1,1", line], [])
    (tmp_path / "categories.txt").write_text("cat\n")
    (fault,) = faults(read_folder(tmp_path))
    assert re.search(message, fault)
    assert fault.startswith(str(tmp_path / "boxes.csv"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png,train,cat,0,0,1", "line 3: expected 7 fields"),
        ("a.png,train,cat,0,0,1,1,9", "line 3: expected 7 fields"),
        ("ok.jpg,train,cat,0,0,1,1", "duplicate image id 'ok': ok.png and ok.jpg"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, line: str, message: str) -> None:
    write_folder(tmp_path, ["ok.png,train,cat,0,0,1,1", line], [])
    with pytest.raises(InputError, match=message) as caught:
        read_folder(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "boxes.csv"))


def test_the_split_may_be_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path, [], [])
    (tmp_path / "boxes.csv").write_text("file,category,x0,y0,x1,y1\na.png,cat,0,0,1,1\n")
    (image,) = read_folder(tmp_path).images
    assert (image.split, image.fault, len(image.boxes)) == (None, None, 1)


def test_one_image_in_two_spellings_is_one_image(tmp_path: Path) -> None:
    lines = ["x/a.png,train,cat,0,0,1,1", "x//a.png,train,cat,0,0,2,2", "x\\a.png,train,,,,,"]
    (image,) = read_folder(write_folder(tmp_path, lines, [])).images
    assert len(image.boxes) == 2


def test_images_in_no_row_are_named(tmp_path: Path) -> None:
    lines = ["./a.png,train,cat,0,0,1,1", "bad b.png,train,,,,,"]
    files = ["a.png", "bad b.png", "x/new.png", "masks/a.png", ".trash/old.png", "x/.hidden.png"]
    write_folder(tmp_path, lines, files)
    (tmp_path / "x" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert read_folder(tmp_path).unlisted == ("x/new.png",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfec\x00a\x00t\x00", r"categories\.txt: .* expected text in UTF-8"),
        (b"cat\nBackground\n", "category name 'Background': expected none of this name"),
        (b"", "0 categories"),
        (b"ca\x07t", "expected printable text"),
    ],
)
def test_bad_listings_of_categories_are_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    write_folder(tmp_path, ["a.png,train,cat,0,0,1,1"], ["a.png"])
    (tmp_path / "categories.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_folder(tmp_path)


@pytest.mark.parametrize("name", ["boxes.csv", "categories.txt"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "loop"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    write_folder(tmp_path, ["a.png,train,cat,0,0,1,1"], ["a.png"])
    path = tmp_path / name
    path.unlink(missing_ok=True)
    with contextlib.ExitStack() as stack:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "loop":
            path.symlink_to(name)
        else:
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            stack.enter_context(contextlib.chdir(tmp_path))  # addresses are short
            server.bind(name)
        with pytest.raises(InputError, match=name):
            read_folder(tmp_path)


def test_bad_headers_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"boxes\.csv: no such file; expected columns file,split"):
        read_folder(tmp_path)
    (tmp_path / "boxes.csv").write_text("image,x,y\n")
    with pytest.raises(InputError, match="line 1: header 'image,x,y'; expected 'file,split"):
        read_folder(tmp_path)
    write_folder(tmp_path, ["a.png,train,,,,,"], [])
    with pytest.raises(InputError, match="0 categories; expected 1 to 254"):
        read_folder(tmp_path)


def test_a_name_stands_once_in_the_listing(tmp_path: Path) -> None:
    write_folder(tmp_path, ["a.png,train,cat,0,0,1,1"], [])
    (tmp_path / "categories.txt").write_text("cat\ncat\n")
    with pytest.raises(InputError, match=r"categories\.txt: category name 'cat': stands twice"):
        read_folder(tmp_path)
