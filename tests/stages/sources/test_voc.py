import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.engine.errors import InputError
from stages.sources.voc import VOC_NAMES, read_voc
from tests.stages.devkits import faults, save, voc_annotation, voc_object, write_voc

DOG = voc_object("dog", (1, 1, 10, 20))


def devkit(root: Path, objects: list[str]) -> Path:
    annotations = {"2007_000001": voc_annotation(objects), "2007_000002": voc_annotation([DOG])}
    return write_voc(root, annotations, ["2007_000001"], ["2007_000002"])


def test_category_values_are_those_of_voc() -> None:
    assert VOC_NAMES[0] == "aeroplane"
    assert VOC_NAMES.index("person") == 14
    assert len(VOC_NAMES) == 20
    assert list(VOC_NAMES) == sorted(VOC_NAMES)


def test_boxes_become_0_based_and_half_open(tmp_path: Path) -> None:
    source = read_voc(devkit(tmp_path, [DOG, voc_object("person", (5, 6, 7, 8))]))
    first, second = source.images
    assert [(box.category, box.corners) for box in first.boxes] == [
        (12, (0.0, 0.0, 10.0, 20.0)),
        (15, (4.0, 5.0, 7.0, 8.0)),
    ]
    assert (first.split, second.split) == ("train", "val")
    assert first.file == "JPEGImages/2007_000001.jpg"
    assert first.size == (48, 40)
    assert source.categories[20] == "tvmonitor"


def test_augmented_masks_come_before_plain_ones(tmp_path: Path) -> None:
    root = devkit(tmp_path, [DOG])
    mask = Image.fromarray(np.zeros((40, 48), dtype=np.uint8))
    save(root / "SegmentationClass" / "2007_000001.png", mask)
    assert read_voc(root).images[0].semantic == "SegmentationClass/2007_000001.png"
    save(root / "SegmentationClassAug" / "2007_000001.png", mask)
    first, second = read_voc(root).images
    assert first.semantic == "SegmentationClassAug/2007_000001.png"
    assert second.semantic is None


def test_missing_annotation_is_named(tmp_path: Path) -> None:
    root = devkit(tmp_path, [DOG])
    (root / "Annotations" / "2007_000002.xml").unlink()
    (fault,) = faults(read_voc(root))
    assert fault.endswith("2007_000002.xml: cannot be read: No such file or directory")


def test_missing_split_is_named(tmp_path: Path) -> None:
    root = devkit(tmp_path, [DOG])
    (root / "ImageSets" / "Segmentation" / "val.txt").unlink()
    with pytest.raises(InputError, match=r"val\.txt: no such file"):
        read_voc(root)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (voc_object("unicorn", (1, 1, 2, 2)), r"object 1: unknown category 'unicorn'"),
        (voc_object("dog", ("nan", 1, 2, 2)), r"object 1: xmin: .*expected finite"),
        (voc_object("dog", (1, 1, "inf", 2)), r"object 1: xmax: .*expected finite"),
        (voc_object("dog", (1, "", 2, 2)), r"object 1: ymin: .*expected a number"),
        ("<object><name>dog</name></object>", r"object 1: bndbox is missing"),
    ],
)
def test_bad_objects_are_named(tmp_path: Path, entry: str, message: str) -> None:
    (fault,) = faults(read_voc(devkit(tmp_path, [entry])))
    assert re.search(message, fault)
    assert "2007_000001.xml" in fault
    assert "\n" not in fault


BILLION_LAUGHS = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no element found"),
        (b"<annotation><object>", "no element found"),
        (b"\xff\xfe\x00", "unclosed token"),
        (b'<?xml version="1.0" encoding="big5"?><annotation/>', "multi-byte encodings"),
        (b'<?xml version="1.0" encoding="klingon"?><annotation/>', "unknown encoding"),
        (f'<!DOCTYPE a [<!ENTITY e0 "ha">{BILLION_LAUGHS}]><a>&e9;</a>'.encode(), "document type"),
        (b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>', "document type"),
        (b"<!DOCTYPE annotation><annotation/>", "document type"),
    ],
)
def test_unreadable_xml_is_a_fault(tmp_path: Path, content: bytes, reason: str) -> None:
    root = devkit(tmp_path, [DOG])
    (root / "Annotations" / "2007_000001.xml").write_bytes(content)
    (fault,) = faults(read_voc(root))
    assert re.search(rf"2007_000001\.xml: not readable XML: .*{reason}", fault)


def test_xml_in_latin_1_is_read(tmp_path: Path) -> None:
    root = devkit(tmp_path, [DOG])
    text = '<?xml version="1.0" encoding="iso-8859-1"?>' + voc_annotation([DOG, "<!-- \u00e4 -->"])
    (root / "Annotations" / "2007_000001.xml").write_bytes(text.encode("latin-1"))
    assert faults(read_voc(root)) == []


def test_pipes_are_faults(tmp_path: Path) -> None:
    root = devkit(tmp_path, [DOG])
    (root / "Annotations" / "2007_000001.xml").unlink()
    os.mkfifo(root / "Annotations" / "2007_000001.xml")
    (fault,) = faults(read_voc(root))
    assert "is a pipe, socket or device" in fault
    (root / "ImageSets" / "Segmentation" / "val.txt").unlink()
    os.mkfifo(root / "ImageSets" / "Segmentation" / "val.txt")
    with pytest.raises(InputError, match=r"val\.txt: cannot be read: is a pipe"):
        read_voc(root)


def test_an_image_in_both_splits_is_a_duplicate(tmp_path: Path) -> None:
    annotations = {"a": voc_annotation([DOG])}
    root = write_voc(tmp_path, annotations, ["a"], ["a"])
    with pytest.raises(InputError, match="duplicate image id 'a'"):
        read_voc(root)


@pytest.mark.parametrize("image_id", ["../x", "/etc/passwd", "a b", "sub/a"])
def test_ids_that_are_no_plain_names_are_faults(tmp_path: Path, image_id: str) -> None:
    root = write_voc(tmp_path, {"a": voc_annotation([DOG])}, ["a", image_id], [])
    (fault,) = faults(read_voc(root))
    assert "train.txt: line 2: image id" in fault


def test_a_link_that_leads_out_is_a_fault(tmp_path: Path) -> None:
    root = devkit(tmp_path / "devkit", [DOG])
    inside = root / "JPEGImages" / "2007_000001.jpg"
    inside.rename(tmp_path / "outside.jpg")
    inside.symlink_to(tmp_path / "outside.jpg")
    (fault,) = faults(read_voc(root))
    assert "leads out of" in fault
