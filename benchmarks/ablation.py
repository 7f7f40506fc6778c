"""Ablation studies of papers and rows of our own, a table for each paper.

    make ablation
    ./python -m benchmarks.ablation [--study NAME ...] [--folder FOLDER] [--seeds 0 1 2]
        [--only 4a ours ...] [--preset default] [section.key=value ...]

A study is benchmarks/ablation_NAME.py: its rows and how they are measured. Each seed has a clone of
HEAD in FOLDER (.seedmask/ablation), with every section's seed set to it. In it the rows run one
after the other; what a row has in common with those before comes from DVC's cache of runs. A row
that is done is kept in .seedmask/rows of the clone: after a kill the same command goes on, and
after a commit only what it touches runs anew. FOLDER gets NAME.csv and NAME.md, the mean and
standard deviation over the seeds so far, after every row.
"""

import argparse
import csv
import importlib
import io
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.ablation_study import Found, Row, Study
from stages.engine.command import read_params_file
from stages.engine.files import write_bytes, write_json

#: The study of a name.
STUDY = "benchmarks.ablation_{}"


def studies() -> list[str]:
    """The names of all studies."""
    found = [
        path.stem.removeprefix("ablation_") for path in Path(__file__).parent.glob("ablation_*.py")
    ]
    return sorted({*found} - {"study"})


def rewired(graph: str, seeds: Mapping[str, str]) -> str:
    """The text of dvc.yaml with other folders of seeds for some stages.

    Raises:
        ValueError: a stage that is not there or takes no seeds from a variable.
    """
    for stage, folder in seeds.items():
        block = re.search(rf"^  {stage}:\n(?:(?:    .*)?\n)+", graph, re.MULTILINE)
        taken = re.search(r"--seeds (\$\{\w+\})", block[0]) if block else None
        if block is None or taken is None:
            raise ValueError(f"dvc.yaml: {stage} takes no seeds from a variable")
        graph = graph.replace(block[0], block[0].replace(taken[1], folder))
    return graph


def prepare(clone: Path, commit: str) -> None:
    """A clone of this repository at `commit`, with the data that the user brought."""
    if not clone.exists():
        subprocess.run(["git", "clone", "--quiet", str(Path.cwd()), str(clone)], check=True)
    git = ["git", "-C", str(clone)]
    subprocess.run([*git, "fetch", "--quiet", str(Path.cwd()), commit], check=True)
    subprocess.run([*git, "checkout", "--quiet", "--force", commit], check=True)
    shutil.copytree("data/raw", clone / "data/raw", dirs_exist_ok=True)


def run_row(study: Study, row: Row, clone: Path, preset: str, numbers: Sequence[str]) -> Found:
    """Make the source of one row and measure it.

    Raises:
        CalledProcessError: a stage failed; the clone's row.log says which.
    """
    pipelines = [sys.executable, "-m", "pipelines"]
    environment = os.environ | {"PYTHONPATH": "", "SEEDMASK_PYTHON": sys.executable}
    graph = subprocess.run(
        ["git", "show", "HEAD:dvc.yaml"], cwd=clone, check=True, capture_output=True, text=True
    )
    (clone / "dvc.yaml").write_text(rewired(graph.stdout, row.seeds))
    with (clone.with_suffix(".log")).open("w") as log:
        for command in (["use", preset, *numbers], ["run", "--local", row.stage]):
            subprocess.run(
                [*pipelines, *command],
                cwd=clone,
                env=environment,
                stdout=log,
                stderr=log,
                check=True,
            )
    return study.measure(clone, row)


def seeded(params: Path, seed: int) -> list[str]:
    """The override of every section that has a seed."""
    sections = read_params_file(params)
    return [f"{name}.seed={seed}" for name, section in sections.items() if "seed" in section]


def tables(
    rows: Sequence[Row], columns: Sequence[str], found: Mapping[str, Sequence[Found]]
) -> tuple[str, str]:
    """The table as CSV and as Markdown.

    Args:
        rows: in order.
        columns: of what was found.
        found: by slug, what each seed has found so far.
    """
    stream = io.StringIO()
    writer = csv.writer(stream)
    parts = [f"{column}: {part}" for column in columns for part in ("mean", "deviation")]
    writer.writerow(["table", "row", "paper", "seeds", *parts])
    head = "| table | row | paper | " + " | ".join(columns) + " |"
    lines = [head, "|---" * (3 + len(columns)) + "|"]
    for row in rows:
        seeds = found.get(row.slug, ())
        if not seeds:
            continue
        cells, texts = [], []
        for column in columns:
            values = [each[column] for each in seeds]
            mean = statistics.mean(values)
            spread = statistics.stdev(values) if len(values) > 1 else None
            cells += [f"{mean:.2f}", "" if spread is None else f"{spread:.2f}"]
            texts.append(f"{mean:.1f}" + ("" if spread is None else f" ± {spread:.1f}"))
        paper = "" if row.paper is None else f"{row.paper:.1f}"
        writer.writerow([row.table, row.name, paper, len(seeds), *cells])
        lines.append("| " + " | ".join([row.table, row.name, paper, *texts]) + " |")
    return stream.getvalue(), "\n".join(lines) + "\n"


def main() -> None:
    """Run what is not done, write the table and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--study", nargs="+", choices=studies(), default=studies())
    parser.add_argument("--folder", type=Path, default=Path(".seedmask/ablation"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=[], help="tables, such as 4a or ours")
    parser.add_argument("--preset", default="default")
    parser.add_argument("overrides", nargs="*", help="section.key=value, of every row")
    arguments = parser.parse_intermixed_args()
    head = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(head, check=True, capture_output=True, text=True).stdout.strip()
    failed = 0
    for name in arguments.study:
        failed += run_study(name, arguments, commit)
    if failed:
        raise SystemExit(f"{failed} rows failed; the same command tries them again")


def run_study(name: str, arguments: argparse.Namespace, commit: str) -> int:
    """Run what is not done of one study, write and print its table; how many rows failed."""
    study: Study = importlib.import_module(STUDY.format(name)).STUDY
    folder: Path = arguments.folder
    rows = [row for row in study.rows if not arguments.only or row.table in arguments.only]
    found: dict[str, list[Found]] = {}
    failed = 0
    for seed in arguments.seeds:
        clone = folder / f"seed{seed}"
        prepare(clone, commit)
        known: dict[tuple[object, ...], Found] = {}
        for row in rows:
            numbers = [*seeded(clone / "params.yaml", seed), *arguments.overrides, *row.numbers]
            key = {
                "commit": commit,
                "preset": arguments.preset,
                "numbers": numbers,
                "seeds": dict(row.seeds),
                "source": row.source,
            }
            place = clone / ".seedmask/rows" / name / f"{row.slug}.json"
            kept = json.loads(place.read_text()) if place.exists() else {}
            same = (tuple(numbers), tuple(row.seeds.items()), row.source)
            if kept.get("key") != key:
                start = time.monotonic()
                try:
                    measured = known.get(same) or run_row(
                        study, row, clone, arguments.preset, numbers
                    )
                except subprocess.CalledProcessError:
                    print(f"seed {seed}, {row.slug}: failed, see {clone.with_suffix('.log')}")
                    failed += 1
                    continue
                kept = {"key": key, "found": measured}
                write_json(place, kept)
                print(f"seed {seed}, {row.slug}: {time.monotonic() - start:.0f} s", flush=True)
            known[same] = kept["found"]
            found.setdefault(row.slug, []).append(kept["found"])
            for suffix, text in zip(("csv", "md"), tables(rows, study.columns, found), strict=True):
                write_bytes(folder / f"{name}.{suffix}", text.encode())
    print(tables(rows, study.columns, found)[1])
    return failed


if __name__ == "__main__":
    main()
