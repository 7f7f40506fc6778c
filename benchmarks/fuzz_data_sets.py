"""Malformed data sets, as many as asked for, through the `dataset` stage.

    python -m benchmarks.fuzz_data_sets [--cases 1000] [--seed 0] [--first 0] [--keep FOLDER]

Each case is a small COCO, VOC or folder data set with one to three things wrong with it
(tests/stages/malformed.py), drawn from the seed and its number alone. The stage runs on it in a
process of its own, with 30 s of processor time, 300 s in all and 2 GB, and a program called gs on
its path that leaves a trace. It may succeed (whatever it wrote is read back and checked),
quarantine images, or refuse the data set with one line, exit code 1 and nothing but rejected.csv
written. All else is a fault: a traceback, a hang, a crash, a changed file outside its output,
something half written or wrong. Exit code 1 when there is one; `--keep` keeps the data sets that
did it.
"""

import argparse
import csv
import json
import os
import random
import resource
import select
import shutil
import signal
import stat
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import psutil
from rich.console import Console
from rich.table import Table

from stages.dataset import dataset
from stages.engine.command import run
from stages.io.data_set import Maps
from stages.io.label_maps import UNKNOWN, decode_rle, read_label_map
from stages.io.tables import CATEGORIES, IMAGES, INSTANCES, POINTS, TAGS, read_rows
from tests.stages.malformed import write_malformed

SECONDS = 30  # of processor time; a busy machine stretches all else
WAIT = 300  # seconds
BYTES = 2 * 2**30
GOOD = ("ok", "quarantined", "refused")
BAD = ("traceback", "hang", "crash", "outside", "unclear", "wrong")
TRACE = "started"


@dataclass(frozen=True)
class Ending:
    """How one case ended.

    Attributes:
        number: of the case.
        format: coco, voc or folder.
        mutations: what is wrong with the data set.
        kind: one of GOOD or BAD.
        seconds: processor time.
        text: what the stage said, or what is wrong.
    """

    number: int
    format: str
    mutations: tuple[str, ...]
    kind: str
    seconds: float
    text: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases, print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--keep", type=Path, help="folder for the data sets that did harm")
    arguments = parser.parse_args(argv)
    os.environ["SEEDMASK_WORKERS"] = "1"
    endings = []
    for number in range(arguments.first, arguments.first + arguments.cases):
        folder = Path(tempfile.mkdtemp(prefix="fuzz"))
        try:
            ending = run_case(folder, arguments.seed, number)
            endings.append(ending)
            if ending.kind in BAD:
                made = f"{ending.format}: {', '.join(ending.mutations)}"
                print(f"case {number}: {ending.kind}: {made}\n{ending.text}", flush=True)
                if arguments.keep:
                    folder.rename(arguments.keep / f"{number}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    _print_table(endings)
    return int(any(ending.kind in BAD for ending in endings))


def run_case(folder: Path, seed: int, number: int) -> Ending:
    """Write a data set into `folder`, run the stage on it in a fork of this process, judge."""
    draw = random.Random(f"{seed}/{number}")
    format, mutations = write_malformed(folder / "root", draw)
    hold_out = draw.choice([0, 5])
    section = {"root": "root", "format": format, "max_rejected": 2, "hold_out": hold_out}
    (folder / "params.yaml").write_text(json.dumps({"dataset": section}))
    _write_trap(folder)
    before = _files(folder)
    child = os.fork()
    if child == 0:
        _stage(folder)
    status, seconds = _wait(child)
    said = (folder / "out" / "stderr").read_text(errors="replace")
    kind, text = _judge(folder, status, said)
    changed = sorted(
        ascii(str(path)) for path, _ in set(_files(folder).items()) ^ set(before.items())
    )
    if kind in GOOD and changed:
        kind, text = "outside", f"changed: {', '.join(changed)}"
    return Ending(number, format, tuple(mutations), kind, seconds, text)


def _stage(folder: Path) -> None:
    """Run the stage in this process and end it."""
    try:
        os.chdir(folder)
        os.environ["PATH"] = str(folder / "bin")
        Path("out").mkdir()
        for name, stream in (("stdout", 1), ("stderr", 2)):
            os.dup2(os.open(f"out/{name}", os.O_WRONLY | os.O_CREAT), stream)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8")
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace")
        limit = psutil.Process().memory_info().vms + BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        run(dataset, ["--root", "root", "--out", "out/data", "--params", "params.yaml"])
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 2
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _write_trap(folder: Path) -> None:
    """A Ghostscript that tells that it was started."""
    program = folder / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n: > {folder}/{TRACE}\n")
    program.chmod(0o755)


def _wait(child: int) -> tuple[int | None, float]:
    """Exit code of the child, negative for a signal, None for a hang; its processor seconds."""
    watched = os.pidfd_open(child)
    try:
        ended, _, _ = select.select([watched], [], [], WAIT)
        if not ended:
            os.kill(child, signal.SIGKILL)
        _, status, used = os.wait4(child, 0)
        code = os.waitstatus_to_exitcode(status)
        seconds = used.ru_utime + used.ru_stime
        hangs = not ended or code == -signal.SIGXCPU or seconds >= SECONDS
        return None if hangs else code, seconds
    finally:
        os.close(watched)


def _judge(folder: Path, status: int | None, said: str) -> tuple[str, str]:
    if status is None:
        return "hang", said
    if status < 0:
        return "crash", f"{signal.Signals(-status).name} {said}"
    if "Traceback" in said or status not in (0, 1):
        return "traceback", said
    lines = said.splitlines()
    out = folder / "out" / "data"
    if status == 1:
        left = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
        if left not in ([], ["rejected.csv"]):
            return "wrong", f"half written: {left}"
        if len(lines) != 1 or not lines[0].startswith("dataset: ") or len(lines[0]) > 2000:
            return "unclear", said
        return "refused", said
    try:
        return _read_back(out), said
    except Exception:
        return "wrong", traceback.format_exc()


def _read_back(out: Path) -> str:
    """Check what a success wrote; "ok", or "quarantined" where images were left out."""
    metrics = json.loads((out / "metrics.json").read_text())
    images = {row["image_id"]: row for row in read_rows(out / "images.parquet", IMAGES)}
    boxes = read_rows(out / "instances.parquet", INSTANCES)
    truths = read_rows(out / "ground_truth" / "instances.parquet", INSTANCES)
    names = [row["name"] for row in read_rows(out / "categories.parquet", CATEGORIES)]
    assert images
    assert len(set(names)) == len(names) == metrics["categories"]
    assert "background" not in [name.casefold() for name in names]
    tags = {(row["image_id"], row["category"]) for row in read_rows(out / "tags.parquet", TAGS)}
    assert tags >= {(row["image_id"], row["category"]) for row in boxes}
    assert {tag for _, tag in tags} <= set(range(1, len(names) + 1))
    for row in read_rows(out / "points.parquet", POINTS):
        image = images[row["image_id"]]
        assert 0 <= row["category"] <= len(names)
        assert 0 <= row["x"] < image["width"]
        assert 0 <= row["y"] < image["height"]
    for row in boxes + truths:
        image = images[row["image_id"]]
        assert 1 <= row["category"] <= len(names)
        assert 0 <= row["x0"] < row["x1"] <= image["width"]
        assert 0 <= row["y0"] < row["y1"] <= image["height"]
    for row in truths:
        image = images[row["image_id"]]
        mask = decode_rle(row["mask"], image["height"], image["width"])
        assert mask.sum() == row["area"] > 0
    folders = [out / "ground_truth" / "semantic", *(out / folder for folder in get_args(Maps))]
    for path in (path for folder in folders for path in folder.iterdir()):
        labels = read_label_map(path)
        image = images[path.stem]
        assert labels.shape == (image["height"], image["width"])
        known = (labels <= len(names)) | (labels == UNKNOWN)
        assert known.all() or path.parent.name == "saliency"
    with (out / "rejected.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert all(row["image"] and row["reason"] for row in rows)
    rejected = {row["image"] for row in rows if not row["row"]}
    assert bool(rejected) == bool(metrics["rejected_images"])
    assert not rejected & {row["file"] for row in images.values()}
    return "quarantined" if rejected else "ok"


def _files(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """Kind, size and time of all that lies outside the stage's output."""
    found = {}
    for place, below, names in os.walk(folder):
        if Path(place) == folder:
            below[:] = [name for name in below if name not in ("out", ".seedmask")]
        for name in (*below, *names):
            status = os.lstat(os.path.join(place, name))  # noqa: PTH118  (names of any bytes)
            key = Path(place, name).relative_to(folder)
            size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
            found[key] = (status.st_mode, size, status.st_mtime_ns)
    return found


def _print_table(endings: Sequence[Ending]) -> None:
    counts = Counter((ending.format, ending.kind) for ending in endings)
    table = Table("", *GOOD, *BAD, "longest, CPU-s")
    for format in ("coco", "voc", "folder"):
        own = [ending for ending in endings if ending.format == format]
        longest = max((ending.seconds for ending in own), default=0.0)
        cells = [str(counts[format, kind]) for kind in (*GOOD, *BAD)]
        table.add_row(f"{format} ({len(own)})", *cells, f"{longest:.1f}")
    totals = Counter(ending.kind for ending in endings)
    longest = max((ending.seconds for ending in endings), default=0.0)
    cells = [str(totals[kind]) for kind in (*GOOD, *BAD)]
    table.add_row(f"all ({len(endings)})", *cells, f"{longest:.1f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    raise SystemExit(main())
