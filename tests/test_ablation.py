"""`make ablation` without its hours: its rows, its wiring, what it keeps and what it prints."""

import importlib
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import ablation
from benchmarks.ablation import STUDY, main, rewired, studies, tables
from benchmarks.ablation_study import Found, Row, Study
from stages.engine.command import parse_section, read_params_file
from stages.engine.plain_yaml import parse_plain
from stages.io.declarations import read_nodes
from stages.io.label_maps import encode_rle
from stages.io.tables import IMAGES, INSTANCES, write_table

STUDIES: dict[str, Study] = {
    name: importlib.import_module(STUDY.format(name)).STUDY for name in studies()
}
ROWS = [row for study in STUDIES.values() for row in study.rows]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.slug)
def test_every_row_is_of_numbers_that_the_stages_take_and_of_a_source_that_is_made(
    row: Row, tmp_path: Path
) -> None:
    sections = read_params_file(Path("presets/default.yaml"))
    for number in row.numbers:
        key, value = number.split("=")
        section, name = key.split(".")
        new = parse_plain(value, number)
        assert sections[section][name] != new or "precision" in name, "differs from the default"
        sections[section][name] = new
        module = importlib.import_module(f"stages.{section}")
        assert parse_section(module.Params, sections[section], section)
    (tmp_path / "dvc.yaml").write_text(rewired(Path("dvc.yaml").read_text(), row.seeds))
    nodes = {node.name: node for node in read_nodes(tmp_path / "dvc.yaml", sections)}
    assert Path("data") / row.source in nodes[row.stage].outs
    for stage, seeds in row.seeds.items():
        assert Path(seeds) in nodes[stage].deps
        assert f"--seeds {seeds} " in nodes[stage].cmd


@pytest.mark.parametrize("name", STUDIES)
def test_rows_have_names_of_their_own(name: str) -> None:
    slugs = [row.slug for row in STUDIES[name].rows]
    assert len(set(slugs)) == len(slugs)


def test_the_command_knows_no_study_by_name() -> None:
    text = Path(ablation.__file__).read_text().lower()
    assert len(STUDIES) > 0
    assert not [name for name in STUDIES if name in text]


def test_other_seeds_reach_the_stages_that_are_named_and_no_other() -> None:
    before = Path("dvc.yaml").read_text()
    after = rewired(before, {"affinity_train": "data/x"})
    changed = [
        (old, new)
        for old, new in zip(before.splitlines(), after.splitlines(), strict=True)
        if old != new
    ]
    assert [new.strip() for _, new in changed][1] == "- data/x"
    assert "stages.affinity_train" in changed[0][1]
    assert len(changed) == 2
    with pytest.raises(ValueError, match="walk_label takes no"):
        rewired(before, {"walk_label": "data/x"})


def test_the_table_has_mean_and_deviation_of_the_rows_that_are_there() -> None:
    rows = [Row("4a", "first", "x/y", 70.0), Row("4a", "second", "x"), Row("ours", "third", "x")]
    columns = ("one", "other")
    found = {
        "4a-first": [dict.fromkeys(columns, value) for value in (60.0, 61.0, 65.0)],
        "ours-third": [dict.fromkeys(columns, 50.0)],
    }
    as_csv, as_markdown = tables(rows, columns, found)
    assert as_markdown.startswith("| table | row | paper | one | other |\n|---|---|---|---|---|\n")
    assert as_csv.splitlines()[1].startswith("4a,first,70.0,3,62.00,2.65,")
    assert as_csv.splitlines()[2].startswith("ours,third,,1,50.00,,")
    assert "| 4a | first | 70.0 | 62.0 ± 2.6 | " in as_markdown
    assert "second" not in as_markdown


def test_a_second_call_makes_what_is_missing_and_a_failed_row_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[str] = []
    broken = {"4d-edges-alone"}

    def run_row(study: Study, row: Row, *_: Any) -> Found:
        made.append(row.slug)
        if row.slug in broken:
            raise subprocess.CalledProcessError(1, "run")
        return dict.fromkeys(study.columns, float(len(made)))

    def prepare(clone: Path, commit: str) -> None:
        clone.mkdir(parents=True, exist_ok=True)
        (clone / "params.yaml").write_text(Path("params.yaml").read_text())

    monkeypatch.setattr(ablation, "run_row", run_row)
    monkeypatch.setattr(ablation, "prepare", prepare)
    call = ["ablation", "--folder", str(tmp_path), "--seeds", "0", "--only", "4d", "4c"]
    call += ["--study", "a2gnn"]
    monkeypatch.setattr("sys.argv", call)
    with pytest.raises(SystemExit, match="1 rows failed"):
        main()
    assert made == ["4c-superpixels-distance-of-features", "4c-cells-distance-of-features",
                    "4c-cells-affinity-cnn", "4d-cosine-alone", "4d-edges-alone"]  # fmt: skip
    broken.clear()
    main()
    assert made[5:] == ["4d-edges-alone"]
    whole = tmp_path / "seed0/.seedmask/rows/a2gnn/4d-both.json"
    assert json.loads(whole.read_text())["found"]["free"] == 3.0, "the same run as in table 4c"
    assert "| 4d | both | 78.8 | 3.0 |" in (tmp_path / "a2gnn.md").read_text()
    assert "4d-edges-alone" in capsys.readouterr().out


def test_rankings_are_measured_as_found_and_as_given(tmp_path: Path) -> None:
    made = tmp_path / "data"
    rows = [
        {"image_id": "v", "instance_id": number, "category": 1, "x0": 0, "y0": top, "x1": 9,
         "y1": top + 4, "area": 36, "is_crowd": False, "mask": encode_rle(rows_from(top)),
         "score": 1.0, "rank": number}
        for number, top in enumerate((0, 8, 16), start=1)
    ]  # fmt: skip
    image = {"image_id": "v", "split": "val", "file": "v.png", "width": 9, "height": 24, "md5": ""}
    write_table(made / "ranking_curate/images.parquet", pd.DataFrame([image]), IMAGES)
    orders = {"ranking_curate/instances": (1, 2, 3), "ranker_infer/instances": (3, 2, 1),
              "ranker_infer/given": (1, 3, 2)}  # fmt: skip
    for name, order in orders.items():
        table = pd.DataFrame(rows).assign(rank=order)
        write_table(made / f"{name}.parquet", table, INSTANCES)
    study = STUDIES["irsr"]
    found = study.measure(tmp_path, study.rows[0])
    assert found == {"pairs, given": pytest.approx(66.67), "SA-SOR": -100}


def rows_from(top: int) -> "np.ndarray[tuple[int, int], np.dtype[np.bool_]]":
    mask = np.zeros((24, 9), dtype=bool)
    mask[top : top + 4] = True
    return mask
