"""How many images a rerun computes after one of them changed, and how long that takes.

    python -m benchmarks.incremental [--images 500] [--folder FOLDER] [section.key=value ...]

Draws a data set in a copy of the repository, makes its labels up to the CRF, freezes the two
networks, and then changes one thing after the other. Computed are the images of which the memo
store gets a new result. The networks get few epochs and the activations one scale: they are not
what is measured. Exit code 1 when a count is not as expected, or when A²GNN and CRF
take more than a tenth of their first run after one image changed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.kill_stages import copy_repository, durations, pipelines
from tests.training_set import TrainingSet

TARGET = "crf_refine@average"
MEASURED = ("a2gnn_label", TARGET)
#: Those on the way to TARGET that treat images one by one.
STAGES = (
    "classifier_infer",
    "grabcut_seeds",
    "boxmask_infer",
    "seeds_fuse",
    "graph_build",
    "a2gnn_label",
    "maps_average",
    "crf_refine",
)
NETWORKS = ("classifier_train", "boxmask_train", "affinity_train")
OWN = (
    "dataset.root=data/raw/mine",
    "scenes.val_images=2",
    "classifier_train.epochs=2",
    "affinity_train.epochs=1",
    "classifier_infer.scales=[1.0]",
    "classifier_infer.flip=false",
)
MOST = 0.1  # of the first run of A²GNN and CRF


@dataclass(frozen=True)
class Rerun:
    """What one run after a change did.

    Attributes:
        change: before it.
        expected: images computed per stage.
        computed: the same as counted.
        seconds: of the whole command.
        measured: of A²GNN and CRF; nothing where DVC brought back earlier outputs.
    """

    change: str
    expected: dict[str, int]
    computed: dict[str, int]
    seconds: float
    measured: float


def main(argv: Sequence[str] | None = None) -> int:
    """Change, run, count, print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--folder", type=Path, help="of the copy, kept; default: a temporary one")
    parser.add_argument("overrides", nargs="*", help="section.key=value")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        workspace = (arguments.folder or Path(temporary)) / "workspace"
        reruns = measure(workspace, arguments.images, arguments.overrides)
    print_table(reruns)
    wrong = [rerun.change for rerun in reruns if rerun.computed != rerun.expected]
    share = reruns[1].measured / reruns[0].measured
    print(f"A²GNN and CRF after one image changed: {100 * share:.1f} % of their first run")
    print(f"not as expected: {', '.join(wrong) or 'nothing'}")
    return 1 if wrong or share > MOST else 0


def measure(workspace: Path, count: int, overrides: Sequence[str]) -> list[Rerun]:
    """All runs in order, the first one among them."""
    settings = (*OWN, f"scenes.train_images={count + 1}", *overrides)
    copy_repository(workspace)
    pipelines(workspace, "use", "default", *settings)
    pipelines(workspace, "run", "scenes", "--local")
    images = TrainingSet(workspace / "data/scenes", workspace / "data/raw/mine")
    first, second, *_, last = images.names
    images.remove(last)
    reruns = []

    def run(change: str, act: Callable[[], object], **expected: int) -> None:
        act()
        before = kept(workspace)
        began = time.monotonic()
        seconds = durations(pipelines(workspace, "run", TARGET, "--local"))
        took = time.monotonic() - began
        after = kept(workspace)
        rerun = Rerun(
            change,
            {stage: expected.get(stage, expected.get("each", 0)) for stage in STAGES},
            {stage: after[stage] - before[stage] for stage in STAGES},
            took,
            sum(seconds.get(name, 0.0) for name in MEASURED),
        )
        print(f"{change}: {took:.0f} s, computed {rerun.computed}", flush=True)
        reruns.append(rerun)

    def correct(name: str) -> None:
        images.mirror(name)
        images.narrow(name)

    def use(*more: str) -> None:
        pipelines(workspace, "use", "default", *settings, *more)

    run("first run", lambda: None, each=count)
    pipelines(workspace, "freeze", *NETWORKS)
    run("one image and its box changed", lambda: correct(second), each=1)
    run("one image removed", lambda: images.remove(first))
    run("a new image", lambda: images.add(last), each=1)
    run("the removed image back", lambda: images.add(first))
    other = "crf_refine.iterations=5"
    run("crf_refine.iterations changed", lambda: use(other), crf_refine=count + 1)
    run("crf_refine.iterations back", use)
    return reruns


def kept(workspace: Path) -> dict[str, int]:
    """How many results the memo store holds, per stage."""
    memo = workspace / ".seedmask/memo"
    return {stage: sum(path.is_file() for path in (memo / stage).rglob("*")) for stage in STAGES}


def print_table(reruns: Sequence[Rerun]) -> None:
    """One row per run: images computed, and seconds."""
    table = Table(title="images computed")
    for column in ("", *STAGES, "all, s", "A²GNN + CRF, s"):
        table.add_column(column, overflow="fold")
    for rerun in reruns:
        counts = [
            str(found) if found == rerun.expected[stage] else f"{found} ({rerun.expected[stage]})"
            for stage, found in rerun.computed.items()
        ]
        table.add_row(rerun.change, *counts, f"{rerun.seconds:.1f}", f"{rerun.measured:.1f}")
    Console(width=160).print(table)


if __name__ == "__main__":
    sys.exit(main())
