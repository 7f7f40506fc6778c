"""Flip bits in what is kept, and cut it short: is ever a wrong result taken for a right one?

    python -m benchmarks.flip_bits [--flips 1000] [--runs 6] [--seed 0]

A copy of the repository makes a small part of the graph (preset tiny, a slim classifier): scenes,
dataset, GrabCut, its labels after the CRF, the classifier. Then files of the memo store, the
checkpoint of a killed training and objects of DVC's cache are damaged: one or two bits in three of
four cases, else a cut. `--flips` of each kind are asked of the functions that read them, one at a
time; `--runs` whole runs with many at once follow what they leave: `run` alone, and `verify --drop`
and `run`. Times and modes of the damaged files stay as they were. Exit code 1 when a damaged file
is accepted, or the outputs are not those of a calm run.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from benchmarks.kill_graph import SMALLER
from benchmarks.kill_stages import copy_repository, digests, pipelines, start
from pipelines.graph.damage import drop_damaged
from pipelines.run.verify import CHECKPOINTS, Check, Kind
from stages.engine.memo import FOLDER, read_outcome
from stages.engine.training import Checkpoint
from tests.damaged_files import damage, rot

OBJECTS = Path(".dvc/cache/files/md5")
RECORDS = Path(".dvc/cache/runs")
TRAINED = "classifier_train"
TARGETS = ("crf_refine@grabcut", TRAINED)
#: All stages restore from DVC's cache.
READERS = {
    Kind.MEMO: ("dataset", "grabcut_seeds", "crf_refine@grabcut"),
    Kind.CHECKPOINT: (TRAINED,),
}
SHARE = 0.3  # of the files of a kind that are damaged before a whole run


@dataclass(frozen=True)
class Row:
    """What one kind of file has shown.

    Attributes:
        kind: of file.
        flips: asked of the reading function.
        accepted: of them, with another content than was written.
        missed: of them, held for sound by `verify`.
        runs: whole runs.
        flips_in_runs: files damaged before them, all together.
        wrong: runs that left other outputs than a calm run, or failed.
    """

    kind: Kind
    flips: int
    accepted: int
    missed: int
    runs: int
    flips_in_runs: int
    wrong: int


def main(argv: Sequence[str] | None = None) -> int:
    """Damage, read, run, print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=6, help="of each kind and way")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        workspace, whole = Path(folder) / "workspace", Path(folder) / "whole"
        make(workspace)
        calm = digests(workspace)
        shutil.copytree(workspace, whole, symlinks=True)
        print(f"a calm run leaves {len(calm)} files", flush=True)
        rows = []
        for kind in (Kind.MEMO, Kind.CHECKPOINT, Kind.CACHE):
            accepted, missed = read_damaged(whole, kind, arguments.flips, chance)
            flips, wrong = 0, 0
            for number in range(2 * arguments.runs):
                put_back(whole, workspace)
                damaged, is_equal = run_damaged(workspace, kind, number % 2 == 1, calm, chance)
                print(
                    f"{kind}: {damaged} damaged, {'equal' if is_equal else 'NOT EQUAL'}", flush=True
                )
                flips, wrong = flips + damaged, wrong + (not is_equal)
            rows.append(
                Row(kind, arguments.flips, accepted, missed, 2 * arguments.runs, flips, wrong)
            )
    print_table(rows)
    return 1 if any(row.accepted or row.missed or row.wrong for row in rows) else 0


def make(workspace: Path) -> None:
    """The copy, with a checkpoint of a training that was killed, and all made."""
    copy_repository(workspace)
    pipelines(workspace, "use", "tiny", *SMALLER)
    log = workspace / f".seedmask/logs/{TRAINED}.log"
    with start(workspace, "run", TRAINED, "--local") as process:
        while not (log.is_file() and "epoch 1/" in log.read_text()):
            if process.poll() is not None:
                raise RuntimeError(process.stdout.read() if process.stdout else "")
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    kept = {path: path.read_bytes() for path in files_of(workspace, Kind.CHECKPOINT)}
    assert kept, "killed too late"
    pipelines(workspace, "run", *TARGETS, "--local")
    for path, content in kept.items():
        path.write_bytes(content)


def files_of(workspace: Path, kind: Kind) -> list[Path]:
    """The files of a kind, sorted."""
    folder = {Kind.MEMO: FOLDER, Kind.CHECKPOINT: CHECKPOINTS, Kind.CACHE: OBJECTS}[kind]
    return [
        path
        for path in sorted((workspace / folder).rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    ]


def read_damaged(workspace: Path, kind: Kind, flips: int, chance: random.Random) -> tuple[int, int]:
    """Damage single files; how many were taken for right by those who read, and by `verify`."""
    files = files_of(workspace, kind)
    accepted, missed = 0, 0
    for _ in range(flips):
        path = chance.choice(files)
        content = path.read_bytes()
        rot(path, damage(content, chance))
        md5 = path.parent.name + path.name if kind is Kind.CACHE else ""
        missed += not Check(path, kind, md5).problem()
        with Path(os.devnull).open("w") as silence, redirect_stderr(silence):
            accepted += is_accepted(workspace, kind, path)
        path.unlink(missing_ok=True)
        path.write_bytes(content)
    return accepted, missed


def is_accepted(workspace: Path, kind: Kind, path: Path) -> bool:
    """Whether a damaged file is used, by what a run calls."""
    if kind is Kind.MEMO:
        return read_outcome(path) is not None
    if kind is Kind.CHECKPOINT:
        checkpoint = any_checkpoint()
        checkpoint.path = path
        return checkpoint.load() is not None
    list(drop_damaged(workspace / OBJECTS, path.parent.name + path.name))
    return path.exists()


@cache
def any_checkpoint() -> Checkpoint:
    """To read with; its name takes a while to find."""
    return Checkpoint("scenes", None, ())


def run_damaged(
    workspace: Path, kind: Kind, after_verify: bool, calm: dict[str, str], chance: random.Random
) -> tuple[int, bool]:
    """Damage many files, bring the workspace to where a run reads them, and run.

    Returns:
        How many were damaged, and whether the outputs are those of a calm run.
    """
    files = files_of(workspace, kind)
    chosen = chance.sample(files, max(1, round(SHARE * len(files))))
    for path in chosen:
        rot(path, damage(path.read_bytes(), chance))
    forget(workspace, kind)
    if after_verify:
        pipelines(workspace, "verify", "--drop")
    with start(workspace, "run", *TARGETS, "--local") as process:
        said, _ = process.communicate()
    if process.returncode:
        print(said)
    return len(chosen), process.returncode == 0 and digests(workspace) == calm


def forget(workspace: Path, kind: Kind) -> None:
    """Remove the outputs of the stages that read this kind and, but for DVC's cache, its records.

    Then a run makes them from what is kept, or restores them from the cache.
    """
    yaml = YAML(typ="safe")
    lock = yaml.load(workspace / "dvc.lock")
    for name in READERS.get(kind, tuple(lock["stages"])):
        for out in lock["stages"][name]["outs"]:
            path = workspace / out["path"]
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if kind is not Kind.CACHE:
            del lock["stages"][name]
    if kind is not Kind.CACHE:
        yaml.dump(lock, workspace / "dvc.lock")
        shutil.rmtree(workspace / RECORDS)


def put_back(whole: Path, workspace: Path) -> None:
    """The workspace as it was when all was made."""
    shutil.rmtree(workspace)
    shutil.copytree(whole, workspace, symlinks=True)


def print_table(rows: Sequence[Row]) -> None:
    """One row per kind."""
    table = Table(title="damaged files that were taken for right")
    for column in (
        "", "flips", "by the reader", "by verify", "whole runs", "flips in them", "wrong runs"
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for row in rows:
        numbers = (row.flips, row.accepted, row.missed, row.runs, row.flips_in_runs, row.wrong)
        table.add_row(row.kind, *map(str, numbers))
    Console(width=110).print(table)


if __name__ == "__main__":
    sys.exit(main())
