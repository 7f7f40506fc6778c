"""The page of a line that ends in ranked instances."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from stages.engine.files import write_bytes, write_json
from stages.io.label_maps import encode_rle
from stages.io.measures import RANK_SCORES, RANKING_MEASURES
from stages.io.pictures import encode_png
from stages.io.tables import IMAGES, INSTANCES, read_table, write_table
from tests.stages.test_report import IDS, SIZE, write_run, written

GRAPH = """\
stages:
  curate:
    cmd: rank
    outs:
      - FOLDER/cut: {type: pictures, meta: {line: mine, title: Other sizes, note: two of them}}
      - FOLDER/sizes.csv: {type: tables, meta: {line: mine, title: How many}}
      - FOLDER/unread.csv: {type: tables, meta: {line: mine, title: Elsewhere}}
  ranking_eval:
    foreach:
      simple: &own
        line: mine
        reference: FOLDER/true.parquet
        ranked: FOLDER/own.parquet
        row: Simple
        note: by area
      own: {<<: *own, row: Ours, note: a net, role: final}
    do:
      cmd: measure
      metrics: ["FOLDER/eval/${key}.json"]
  report:
    foreach:
      mine: {title: From A to ranks, path: "A, ranks"}
    do:
      cmd: show
      deps: [FOLDER/eval, FOLDER/cut, FOLDER/sizes.csv, FOLDER/own.parquet]
      outs: [x]
"""


def test_a_line_may_end_in_ranks(tmp_path: Path) -> None:
    paths = write_run(tmp_path)
    paths["graph"].write_text(GRAPH.replace("FOLDER", str(tmp_path)))
    images = read_table(tmp_path / "images.parquet", IMAGES)
    write_table(tmp_path / "images.parquet", images.assign(split="val"), IMAGES)
    mask = np.zeros(SIZE, dtype=bool)
    mask[4:30, 4:30] = True
    boxes = read_table(tmp_path / "instances.parquet", INSTANCES)
    for name in ("own", "true"):
        rows = boxes.assign(mask=encode_rle(mask), rank=1)
        write_table(tmp_path / f"{name}.parquet", rows[rows["image_id"] != "d"], INSTANCES)
    for index, name in enumerate(("simple", "own")):
        numbers = {key: 40.5 + index for key in RANKING_MEASURES}
        used = {f"{key}_images": 3 for key in RANKING_MEASURES}
        more = {"images": 4, "instances": 9, "pairs": 7, "images_without_prediction": 1}
        errors = {"rank_error": {"1": 0.25}, "missed": {"1": 2}, "sa_sor_paper_interval": [30, 50]}
        write_json(tmp_path / f"eval/{name}.json", {**numbers, **used, **more, **errors})
    scores = [
        {"image_id": image_id, "sa_sor_paper": None if image_id == "b" else 0.1 * n, "pairs": 1}
        for n, image_id in enumerate(IDS)
    ]
    table = pd.DataFrame(scores, columns=RANK_SCORES.names)
    write_table(tmp_path / "eval/own.parquet", table, RANK_SCORES)
    for name in IDS:
        write_bytes(tmp_path / f"cut/{name}.png", encode_png(np.zeros((*SIZE, 3), np.uint8)))
    write_bytes(tmp_path / "sizes.csv", b"instances,images\n2,<3>\n")
    page = written(paths)
    assert "<h1>From A to ranks</h1>" in page
    assert re.findall(r"<td>(\w+)<small>([^<]+)", page) == [
        ("Simple", "by area"),
        ("Ours", "a net"),
    ]
    assert "30.0 to 50.0" in page
    assert "1: 0.25 (2 missed)." in page
    assert "<h2>Other sizes</h2>" in page
    assert "<td>&lt;3&gt;</td>" in page
    assert "Elsewhere" not in page
    assert page.count("<td><img") == 3 * 3, "image, truth and ours of each image that is measured"
    ladder = (tmp_path / "out/ladder.csv").read_text().splitlines()
    assert ladder == ["source,sa_sor_paper", "simple,40.5", "own,41.5"]
