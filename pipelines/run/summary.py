"""What the terminal shows: the plan, each stage's end, and how the run went."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.graph.journal import last_seconds
from pipelines.graph.plan import Plan, State
from pipelines.graph.result import Ending, Result
from pipelines.look.measures import ladder_table, shown_columns, workspace_ladders
from pipelines.run.disk import full_disk, lacking_room
from pipelines.run.progress import running_stages
from pipelines.run.runner import LOGS

STYLES = {
    State.UNCHANGED: "green",
    State.RESTORABLE: "blue",
    State.MUST_RUN: "yellow",
    State.WAITING: "cyan",
    State.BLOCKED: "red",
    State.LEFT_OUT: "dim",
}


def print_status(root: Path, plan: Plan) -> None:
    """A table of the stages: what a run would do with each, why, and how long it last took."""
    running = running_stages(root)
    table = Table()
    for column in ("stage", "state", "why"):
        table.add_column(column, overflow="fold")
    table.add_column("last run", justify="right")
    for step in plan.steps:
        seconds = last_seconds(root, step.name)
        cost = "" if seconds is None else f"{seconds:.1f} s"
        state, reason = Text(step.state.value, STYLES[step.state]), step.reason
        if step.name in running:
            state, reason = Text("running", "bold yellow"), str(running[step.name])
        table.add_row(step.name, state, reason, cost)
    console = Console()
    console.print(table)
    console.print(f"{len(plan.steps)} stages, {len(plan.pending)} not up to date")
    if lacking := lacking_room(root, plan):
        console.print(lacking, style="red", soft_wrap=True, highlight=False)


def print_result(result: Result) -> None:
    """One line when a stage ends; nothing for one that was unchanged or is left out."""
    if result.is_good and not result.seconds:
        return
    reason = f": {result.reason}" if result.reason else ""
    print(f"[{result.name}] {result.ending} in {result.seconds:.1f} s{reason}", flush=True)


def print_summary(
    root: Path, plan: Plan, results: Mapping[str, Result], seconds: float, command: str
) -> None:
    """How the run went; what failed with its last lines, and the command that goes on."""
    counts = Counter(result.ending for result in results.values())
    shown = ", ".join(f"{counts[ending]} {ending.lower()}" for ending in counts)
    print(f"\n{len(results)} stages in {seconds:.0f} s: {shown}")
    bad = [result for result in results.values() if not result.is_good]
    if not bad:
        print_made(root, plan)
        return
    for result in bad:
        if result.ending is Ending.FAILED:
            print(f"\n{result.name} failed ({result.reason}). Its last lines:")
            for line in result.tail:
                print(f"    {line}")
            print(f"    all of it: {LOGS / f'{result.name}.log'}")
    skipped = [result for result in bad if result.ending is Ending.SKIPPED]
    for result in skipped:
        print(f"{result.name} was skipped: {result.reason}")
    if full := full_disk(root, (line for result in bad for line in (result.reason, *result.tail))):
        print(f"\n{full}")
    print(f"\nTo go on from here: {command}")


def print_blocked(plan: Plan) -> None:
    """Before the work: what cannot be made, and what it takes."""
    for step in plan.steps:
        if step.state is State.BLOCKED and not step.reason.startswith("needs "):
            print(f"{step.name} cannot be made: {step.reason}", flush=True)


def print_left_out(reasons: Mapping[str, str]) -> None:
    """The stages that are of no use here, with the reason of each; a line for each reason."""
    for reason in dict.fromkeys(reasons.values()):
        names = ", ".join(name for name in reasons if reasons[name] == reason)
        print(f"Left out, as {reason}: {names}", flush=True)


def print_made(root: Path, plan: Plan) -> None:
    """The ladder, as far as it was measured, and where the last stages of the plan have written."""
    for line, rows in workspace_ladders(root, plan.by_name).items():
        if shown_columns(rows):
            Console().print(ladder_table(line, rows))
    for stage, paths in final_outs(plan).items():
        there = [path for path in paths if (root / path).exists()]
        if there:
            print(f"{stage}: {', '.join(there)}")


def final_outs(plan: Plan) -> dict[str, list[str]]:
    """What the stages write that no other of the plan reads, by stage.

    More than three are called by the folder that holds them. A stage that neither reads nor is
    read has nothing to do with the others.
    """
    below = plan.stages_below()
    outs_of: dict[str, list[str]] = {}
    for step in plan.steps:
        if not below[step.name] and (step.upstream or len(plan.steps) == 1):
            outs_of.setdefault(step.name.split("@")[0], []).extend(step.outs)
    return {
        stage: outs if len(outs) <= 3 else [os.path.commonpath(outs)]
        for stage, outs in outs_of.items()
        if outs
    }
