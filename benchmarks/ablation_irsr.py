"""IRSR's ablation studies (tables 2 to 5) and rows of our own.

The paper's are SA-SOR on its own test set, here times a hundred. Measured on the validation images
is the share of pairs of instances in the right order, in percent, where the instances are given,
and their SA-SOR, times a hundred, as they are found.
"""

import json
from pathlib import Path

from benchmarks.ablation_study import Found, Row, Study
from stages.io.data_set import Dataset
from stages.ranking_eval import Params, ranking_eval

FOUND = "ranker_infer/instances.parquet"
COLUMNS = ("pairs, given", "SA-SOR")


def _row(table: str, name: str, paper: float | None = None, numbers: tuple[str, ...] = ()) -> Row:
    return Row(table, name, FOUND, paper, tuple(f"ranker_train.{number}" for number in numbers))


def measure(clone: Path, row: Row) -> Found:
    """Of the instances given, the share of pairs in the right order; of those found, SA-SOR."""
    made, out = clone / "data", clone / ".seedmask/measured"
    curated, ranked = made / "ranking_curate", (clone / "data" / row.source).parent
    measured = {}
    for name in ("given", "instances"):
        ranking_eval(
            Params(seed=0, resamples=0), Dataset(curated), "val", curated / "instances.parquet",
            ranked / f"{name}.parquet", out, name,
        )  # fmt: skip
        measured[name] = json.loads((out / f"{name}.json").read_text())
    numbers = measured["given"]["pair_accuracy"], measured["instances"]["sa_sor_paper"]
    return dict(zip(COLUMNS, numbers, strict=True))


_PAPER = ("position=false",)
_EVEN = (*_PAPER, "gamma=0")  # tables 2 to 4 are of eq. 11
_RELATED = (*_EVEN, "cues=[relation]")
_LOCAL = (*_EVEN, "cues=[relation, local]")
_GLOBAL = (*_EVEN, "cues=[relation, local, global]")
_BESIDE = (*_EVEN, "reasoning=concatenation")

ROWS = (
    _row("2", "I: the instance's feature alone", 51.5, (*_BESIDE, "cues=[]")),
    _row("2", "II: all features side by side", 54.2, (*_BESIDE, "cues=[local, global, person]")),
    _row("2", "III: instance graph", 53.4, _RELATED),
    _row("2", "IV: + local contrast", 54.9, _LOCAL),
    _row("2", "V: + global contrast", 55.7, _GLOBAL),
    _row("2", "VI: + person prior", 56.2, _EVEN),
    *(
        _row("3", f"K = {count}", paper, (*_RELATED, f"subgraphs={count}"))
        for count, paper in ((1, 52.2), (4, 51.6), (16, 51.6))
    ),
    _row("3", "K = 8", 53.4, _RELATED),
    *(
        _row("4", f"M = {count}", paper, (*_GLOBAL, f"global_nodes={count}"))
        for count, paper in ((3, 54.6), (10, 55.7), (14, 55.7))
    ),
    _row("4", "M = 7", 55.7, _GLOBAL),
    _row("5", "softmax of the ranks, cross entropy", 52.7, (*_PAPER, "loss=classes")),
    _row("5", "gamma = 0", 56.2, _EVEN),
    *(
        _row("5", f"gamma = {gamma}", paper, (*_PAPER, f"gamma={gamma}"))
        for gamma, paper in ((0.25, 55.2), (0.5, 56.0), (0.75, 56.3), (1.25, 54.8), (1.5, 53.5))
    ),
    _row("5", "gamma = 1", 56.5, _PAPER),
    _row("ours", "the default: place and size of the box"),
    _row("ours", "place and size alone, no graph", numbers=("cues=[]",)),
    _row("ours", "as the public code", numbers=(*_PAPER, "variant=released")),
)
STUDY = Study(ROWS, COLUMNS, measure)
