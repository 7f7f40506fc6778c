"""The command line of `review`, on a repository whose outputs were put into DVC's cache."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.__main__ import main
from pipelines.review.marks import Marks, Verdict
from stages.io.label_maps import encode_label_map
from tests.pipelines.made_repository import Made, MadeRepository, dataset_stage

NAMES = ("full", "half", "none")


def stages(rows: dict[str, int]) -> dict[str, Made]:
    """Images of one box; the class fills so many of its eight rows."""
    black = np.zeros((8, 8, 3), np.uint8)
    scenes, dataset = dataset_stage(
        dict.fromkeys(rows, black), boxes={name: [(1, 0, 0, 8, 8)] for name in rows}
    )
    files = {}
    for name, count in rows.items():
        labels = np.zeros((8, 8), np.uint8)
        labels[:count] = 1
        files[f"{name}.png"] = encode_label_map(labels)
    final = Made({"data/labels_final/labels": files}, labels=["final"])
    return {"scenes": scenes, "dataset": dataset, "labels_final": final}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeRepository:
    made = MadeRepository(tmp_path / "repository")
    (made.root / ".gitignore").write_text("/.dvc/cache\n/.dvc/tmp\n/.seedmask\n")
    made.commit(stages({"full": 8, "half": 4, "none": 0}), "labels")
    monkeypatch.chdir(made.root)
    return made


def test_rank_prints_the_worst_first(
    repository: MadeRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["review", "rank", "--by", "unfilled", "--most", "2"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["image_id"], row["unfilled"]) for row in rows] == [
        ("none", "100.00"),
        ("half", "50.00"),
    ]
    assert {row["disagreement"] for row in rows} == {""}, "there is one source alone"
    assert {row["entropy"] for row in rows} == {""}


def test_rank_looks_at_another_revision(
    repository: MadeRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.record(stages({"full": 0, "half": 8, "none": 8}))
    assert main(["review", "rank", "--by", "unfilled", "--most", "1"]) == 0
    assert "full," in capsys.readouterr().out
    assert main(["review", "rank", "--by", "unfilled", "--most", "1", "--rev", "HEAD"]) == 0
    assert "none," in capsys.readouterr().out


def test_what_is_marked_is_exported_unless_its_labels_are_others_now(
    repository: MadeRepository, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for image_id, mark in (("full", "good"), ("half", "to-correct"), ("none", "to-correct")):
        assert main(["review", "mark", image_id, mark]) == 0
    assert main(["review", "export", str(tmp_path / "out"), "--marked", "to-correct"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: 2 images\n"
    assert sorted(path.stem for path in (tmp_path / "out/JPEGImages").iterdir()) == ["half", "none"]

    repository.record(stages({"full": 8, "half": 4, "none": 7}))
    assert main(["review", "export", str(tmp_path / "new"), "full", "--marked", "to-correct"]) == 0
    told = capsys.readouterr().out
    assert told.endswith(": 2 images\nleft out, because their labels are others now: none\n")
    listed = (tmp_path / "new/ImageSets/Segmentation/default.txt").read_text()
    assert listed == "full\nhalf\n"


def test_marks_are_saved_and_removed(
    repository: MadeRepository, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["review", "mark", "half", "bad"]) == 0
    seen = Marks(repository.root).read()["half"]
    assert seen.verdict is Verdict.BAD
    assert repository.path_of(seen.labels).is_file()
    assert main(["review", "export", "--csv", str(tmp_path / "marks.csv")]) == 0
    assert (tmp_path / "marks.csv").read_text().splitlines()[1].startswith("half,bad,")
    assert main(["review", "mark", "half", "none"]) == 0
    assert Marks(repository.root).read() == {}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("mark haf bad", "layer 'labels_final/labels': no image 'haf'; did you mean 'half'?"),
        ("rank --rev nowhere", "revision 'nowhere': neither a commit of git nor an experiment"),
        ("export out", "review export: expected FOLDER and IMAGE..., or FOLDER --marked MARK"),
        ("export", "review export: expected FOLDER and IMAGE"),
        ("export out half --csv x.csv", "review export: expected --csv FILE alone, or a folder"),
        ("export out half --layer crf_refine/a2gnn", "layer 'crf_refine/a2gnn': not in workspace"),
        ("export out half --layer dataset/instances", "layer 'dataset/instances': holds no label"),
        ("export out --marked bad", "mark 'bad': no image; none has it"),
        ("rank --most -1", "review rank: --most -1; expected 1 or more"),
        ("import data", "data: has no folder SegmentationClass"),
        ("remove half", "data/corrections: no image 'half'"),
    ],
)
def test_a_mistake_is_one_line(
    repository: MadeRepository, capsys: pytest.CaptureFixture[str], words: str, expected: str
) -> None:
    (repository.root / "data").mkdir(exist_ok=True)
    assert main(["review", *words.split()]) == 1
    told = capsys.readouterr().err
    assert told.startswith(expected)
    assert told.count("\n") == 1


def test_labels_that_no_cache_has_are_told_in_one_line(
    repository: MadeRepository, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["review", "mark", "half", "bad"]) == 0
    repository.path_of(Marks(repository.root).read()["half"].labels).unlink()
    assert main(["review", "export", str(tmp_path / "out"), "half"]) == 1
    assert "half.png: not in DVC's cache" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error(repository: MadeRepository) -> None:
    command = f"{sys.executable} -m pipelines review rank | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[3]), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
