import re
from pathlib import Path
from typing import Any

import pytest

from stages.deeplab_report import Params, deeplab_report
from stages.engine.errors import InputError
from stages.engine.files import write_json


def measures(miou: float | None, *, chosen: bool = False) -> dict[str, Any]:
    """As labels_eval writes them."""
    iou = {} if miou is None else {"background": 90.0, "<b>cat": miou}
    found = {"miou": miou, "precision": miou, "iou": iou, "images": 0 if miou is None else 2}
    return found | ({"miou_classes": 33.0} if chosen else {})


def page_of(folder: Path, labels: dict[str, Any], truth: dict[str, Any]) -> str:
    files = []
    for name, content in (("labels", labels), ("truth", truth)):
        refined = content | ({"miou_classes": 44.0} if "miou_classes" in content else {})
        for suffix, numbers in (("", content), ("_crf", refined)):
            files.append(folder / f"{name}{suffix}.json")
            write_json(files[-1], numbers)
    deeplab_report(Params(), *files, folder / "out")
    return (folder / "out/deeplab.html").read_text()


def test_the_page_compares_the_network_with_the_upper_bound(tmp_path: Path) -> None:
    page = page_of(tmp_path, measures(66.0), measures(70.0))
    assert "94.3" in page  # 66 of 70
    assert "2 validation images" in page
    assert "&lt;b&gt;cat" in page
    assert "<b>cat" not in page
    assert not re.search(r"<script|<link|@import|url\(|https?://", page)


def test_chosen_classes_take_the_headline(tmp_path: Path) -> None:
    page = page_of(tmp_path, measures(66.0, chosen=True), measures(70.0, chosen=True))
    assert re.search(r'tile first"><b>44\.0</b>', page)
    assert "chosen classes" in page


def test_without_an_upper_bound_the_network_stands_alone(tmp_path: Path) -> None:
    page = page_of(tmp_path, measures(66.0), measures(None))
    assert "66.0" in page


def test_where_nothing_was_measured_the_page_says_so(tmp_path: Path) -> None:
    page = page_of(tmp_path, measures(None), measures(None))
    assert "No validation image has ground truth" in page
    assert "<table>" not in page


def test_a_missing_measurement_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"labels\.json: cannot be read"):
        deeplab_report(Params(), *[tmp_path / "labels.json"] * 4, tmp_path)
