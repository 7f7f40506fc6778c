"""What running the graph costs beside the work itself, against `dvc repro` in the same minutes.

    python -m benchmarks.orchestration [gain] [overhead] [hammer] [plan]

gain      15 stages that sleep 2 s, at most 4 side by side: `dvc repro`, `run --jobs 4`, Prefect.
overhead  seconds per stage that runs, and per unchanged stage, locally and as Prefect tasks.
hammer    8 stages at once, 25 times over: failures, and entries lost from dvc.lock.
plan      30 stages with 10,000 files each: the plan against a `dvc repro` that has nothing to do.
"""

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from pipelines.graph.plan import Plan, State, make_plan
from pipelines.graph.result import Ending, Result
from pipelines.run.runner import Runner, run_local
from pipelines.run.schedule import Limits

Stages = Mapping[str, tuple[str, Sequence[str]]]  # name -> command that makes `name.txt`, upstream
DVC = [sys.executable, "-m", "dvc"]


def main() -> None:
    """Run what is asked for, or all of it."""
    known: dict[str, Callable[[Table], None]] = {
        "gain": gain,
        "overhead": overhead,
        "hammer": hammer,
        "plan": plan,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", choices=[*known, []], help="default: all")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    for name in parser.parse_args().what or known:
        table = Table("", "", title=name)
        known[name](table)
        Console(width=110).print(table)


def gain(table: Table) -> None:
    """Independent stages side by side."""
    stages = layers(15, 4, "sleep 2")
    start_prefect()
    with repository(stages) as root:
        serial = seconds(dvc, root, "repro", "-q")
    with repository(stages) as root:
        local = seconds(run, root, 4)
    with repository(stages) as root:
        flow = seconds(run_prefect, root, 4)
    table.add_row("dvc repro", f"{serial:.1f} s")
    table.add_row("run --jobs 4 --local", f"{local:.1f} s, {serial / local:.2f}x")
    table.add_row("run --jobs 4, as a flow", f"{flow:.1f} s, {serial / flow:.2f}x")


def overhead(table: Table) -> None:
    """Stages that do nothing, one after another; then nothing to do for most of them."""
    stages = layers(30, 1, "true")
    start_prefect()
    for name, engine in (("locally", run), ("as a flow", run_prefect)):
        with repository(stages) as root:
            made = seconds(engine, root, 1)
            few = min(changed(root, engine, only=False) for _ in range(3))
            lone = min(changed(root, engine, only=True) for _ in range(3))
        table.add_row(f"per stage that runs, {name}", f"{made / 30 * 1000:.0f} ms")
        table.add_row(f"per unchanged stage, {name}", f"{(few - lone) / 29 * 1000:.0f} ms")


def changed(root: Path, engine: Callable[..., object], *, only: bool) -> float:
    """Seconds after the last stage's input has changed."""
    (root / "last.in").write_text(str(time.monotonic()))
    return seconds(engine, root, 1, ["s29"], only=only)


def hammer(table: Table) -> None:
    """200 stage runs, 8 at once."""
    stages = {f"s{i}": ("true", ()) for i in range(8)}
    failed, lost = 0, 0
    with repository(stages) as root:
        for turn in range(25):
            (root / "last.in").write_text(str(turn))
            with redirect_stdout(io.StringIO()):
                results = run(root, 8)
            failed += sum(result.ending is not Ending.COMPLETED for result in results.values())
            entries = YAML(typ="safe").load(root / "dvc.lock")["stages"]
            fresh = make_plan(root).steps
            lost += 8 - len(entries) + sum(step.state is not State.UNCHANGED for step in fresh)
    table.add_row("stage runs", "200")
    table.add_row("failed", str(failed))
    table.add_row("entries lost from dvc.lock", str(lost))


def plan(table: Table) -> None:
    """The plan of a graph with many files."""
    many = "mkdir -p {0} && seq 10000 | split -l 1 -a 4 -d - {0}/"
    stages = {f"s{i}": (many.format(f"d{i}"), ()) for i in range(30)}
    with repository(stages, folders=True) as root:
        seconds(run, root, 2)
        nothing = min(seconds(dvc, root, "repro", "-q") for _ in range(2))
        planned = min(seconds(make_plan, root) for _ in range(2))
        assert not make_plan(root).pending
    table.add_row("dvc repro, nothing to do", f"{nothing:.2f} s")
    table.add_row("plan", f"{planned:.2f} s, 1/{nothing / planned:.1f}")


def layers(count: int, width: int, work: str) -> Stages:
    """Stages in layers; each but those of the first reads one of the layer above."""
    return {f"s{i}": (work, (f"s{i - width}",) if i >= width else ()) for i in range(count)}


class repository:
    """A DVC repository with `stages` in a temporary folder."""

    def __init__(self, stages: Stages, *, folders: bool = False) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="orchestration-"))
        entries = {}
        for number, (name, (work, upstream)) in enumerate(stages.items()):
            is_last = number == len(stages) - 1 or not any(up for _, up in stages.values())
            deps = [f"{above}.txt" for above in upstream] + (["last.in"] if is_last else [])
            made = f"cat {' '.join(deps)} > {name}.txt" if deps else f"echo {name} > {name}.txt"
            outs = [f"{name}.txt", *([f"d{number}"] if folders else [])]
            entries[name] = {"cmd": f"{work} && {made}", "deps": deps, "outs": outs}
        (self.root / "last.in").write_text("first")
        YAML().dump({"stages": entries}, self.root / "dvc.yaml")
        subprocess.run(["git", "init", "-q"], cwd=self.root, check=True)
        dvc(self.root, "init", "-q")

    def __enter__(self) -> Path:
        return self.root

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.root)


def dvc(root: Path, *words: str) -> None:
    """A command of DVC that must succeed."""
    subprocess.run([*DVC, *words], cwd=root, check=True, env=os.environ | {"DVC_NO_ANALYTICS": "1"})


def chosen(root: Path, targets: Sequence[str], *, only: bool) -> Plan:
    """The plan; with `only`, the targets without what they depend on."""
    made = make_plan(root, targets)
    if not only:
        return made
    return Plan(tuple(replace(step, upstream=()) for step in made.steps if step.name in targets))


def run(
    root: Path, jobs: int, targets: Sequence[str] = (), *, only: bool = False
) -> dict[str, Result]:
    """`./seedmask run --local`, without the checks of params.yaml."""
    made = chosen(root, targets, only=only)
    results = run_local(made, Runner(root), Limits(jobs, {}), lambda _: None)
    assert all(result.is_good for result in results.values())
    return results


def run_prefect(
    root: Path, jobs: int, targets: Sequence[str] = (), *, only: bool = False
) -> dict[str, Result]:
    """The same as tasks of a flow; Prefect's server is up before."""
    from prefect import flow

    from pipelines.run.flow import THREADS, run_tasks

    made = chosen(root, targets, only=only)

    @flow(task_runner=THREADS)
    def graph() -> dict[str, Result]:
        return run_tasks(made, Runner(root), Limits(jobs, {}), lambda _: None)

    return graph()


def start_prefect() -> None:
    """Bring up Prefect's server for the time of this process; a deployment finds it running."""
    from prefect import flow

    flow(lambda: None, name="start")()


def seconds(work: Callable[..., object], *arguments: Any, **options: Any) -> float:
    """Wall time of a call; what it prints is dropped."""
    began = time.monotonic()
    with redirect_stdout(io.StringIO()):
        work(*arguments, **options)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
