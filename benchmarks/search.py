"""Numbers searched from coarse to fine, each try a DVC experiment, told by the tuning part alone.

    ./python -m benchmarks.search STAGE FILE:COLUMN section.key=VALUE,VALUE,... [section.key=...]
        [--finer 2] [--copy PATH ...]

as in

    ./python -m benchmarks.search instances_eval@cgcnet_labels
        data/instances_eval/regions/train/cgcnet_labels.parquet:iou
        cgcnet_train.bilateral_xy=18,35,70,140 cgcnet_train.bilateral_rgb=3,6,13,26

FILE is a table of that stage with a row per image; what counts is the mean of COLUMN over the
images on which numbers may be chosen (benchmarks/parts.py). One number after the other takes its
best value, the others kept; then values between it and its neighbours are tried, `--finer` times.
Tries are experiments of the present commit: `dvc exp show` lists them, `dvc exp apply NAME` takes
one, and after a kill the same command goes on. Data that git ignores has to be named by `--copy`.
"""

import argparse
import hashlib
import io
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

import dvc.api
import pandas as pd

from benchmarks.parts import is_tuning

Numbers = dict[str, float]


def coarse_to_fine(
    values: Mapping[str, Sequence[float]], score: Callable[[Numbers], float], finer: int
) -> tuple[Numbers, float]:
    """The numbers whose score is highest, coordinate by coordinate, then between neighbours.

    Args:
        values: what to try of each number, in the order in which they are searched; the first try
            has the middle ones. Halfway between positive values is their geometric mean.
        score: of all numbers; asked once for each choice.
        finer: so often are the steps halved.

    Returns:
        The best numbers and their score.
    """
    grids = {name: sorted(grid) for name, grid in values.items()}
    best = {name: grid[len(grid) // 2] for name, grid in grids.items()}
    known: dict[tuple[float, ...], float] = {}

    def ask(numbers: Numbers) -> float:
        key = tuple(numbers.values())
        if key not in known:
            known[key] = score(numbers)
        return known[key]

    for turn in range(finer + 1):
        for name, grid in grids.items():
            if turn:
                grids[name] = grid = _between(grid, best[name])
            tries = [best | {name: value} for value in grid]
            best = max([best, *tries], key=ask)  # the first of equals: nothing moves for nothing
    return best, ask(best)


def _between(grid: Sequence[float], value: float) -> list[float]:
    """The value and halfway to each of its neighbours."""
    place = list(grid).index(value)
    near = [grid[index] for index in (place - 1, place + 1) if 0 <= index < len(grid)]
    return sorted([value, *(_halfway(value, other) for other in near)])


def _halfway(first: float, second: float) -> float:
    middle = (first * second) ** 0.5 if min(first, second) > 0 else (first + second) / 2
    return float(f"{middle:.3g}")


def experiment(stage: str, numbers: Numbers, copied: Sequence[str]) -> str:
    """The name of the experiment with these numbers, run now unless it is there.

    Raises:
        SystemExit: it failed.
    """
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    name = "search-" + hashlib.sha256(repr((commit, stage, numbers)).encode()).hexdigest()[:12]
    dvc_command = [sys.executable, "-m", "dvc", "exp"]
    listed = subprocess.run(
        [*dvc_command, "list", "--name-only"], check=True, capture_output=True, text=True
    )
    if name not in listed.stdout.split():
        sets = [word for key, value in numbers.items() for word in ("-S", f"{key}={value:g}")]
        copies = [word for path in copied for word in ("--copy-paths", path)]
        command = [*dvc_command, "run", "--temp", "--name", name, *sets, *copies, stage]
        done = subprocess.run(command, stdout=subprocess.DEVNULL)
        if done.returncode:
            raise SystemExit(f"{' '.join(command[2:])}: failed, see above")
    return name


def mean_of_part(revision: str, file: str, column: str) -> float:
    """The mean of a column of a table over the tuning images that have a value."""
    table = pd.read_parquet(io.BytesIO(dvc.api.read(file, rev=revision, mode="rb")))
    if column not in table:
        raise SystemExit(f"{file}: no column {column}; expected one of {', '.join(table.columns)}")
    return float(table.loc[[is_tuning(name) for name in table["image_id"]], column].mean())


def main() -> None:
    """Search and print every try."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("stage", help="as DVC names it")
    parser.add_argument("measure", metavar="FILE:COLUMN")
    parser.add_argument("numbers", nargs="+", metavar="section.key=VALUE,VALUE")
    parser.add_argument("--finer", type=int, default=2)
    parser.add_argument("--copy", nargs="*", default=[], metavar="PATH")
    arguments = parser.parse_intermixed_args()
    file, _, column = arguments.measure.rpartition(":")
    grids = {
        key: [float(value) for value in text.split(",")]
        for key, _, text in (word.partition("=") for word in arguments.numbers)
    }

    def score(numbers: Numbers) -> float:
        name = experiment(arguments.stage, numbers, arguments.copy)
        found = mean_of_part(name, file, column)
        told = " ".join(f"{key}={value:g}" for key, value in numbers.items())
        print(f"{name}: {told}: {found:.2f}", flush=True)
        return found

    best, found = coarse_to_fine(grids, score, arguments.finer)
    told = " ".join(f"{key}={value:g}" for key, value in best.items())
    print(f"best, {found:.2f}: {told}")


if __name__ == "__main__":
    main()
