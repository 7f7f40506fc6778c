"""What the terminal shows: the plan, each stage's end, and how the run went."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.journal import last_seconds
from pipelines.ladder import REPORT, ladder_table, workspace_ladder
from pipelines.plan import Plan, State
from pipelines.progress import running_stages
from pipelines.result import Outcome, Result
from pipelines.run import LOGS

STYLES = {
    State.UNCHANGED: "green",
    State.RESTORABLE: "blue",
    State.MUST_RUN: "yellow",
    State.WAITING: "cyan",
    State.BLOCKED: "red",
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


def print_result(result: Result) -> None:
    """One line when a stage ends; nothing for one that was unchanged."""
    if result.outcome is Outcome.CACHED and not result.seconds:
        return
    reason = f": {result.reason}" if result.reason else ""
    print(f"[{result.name}] {result.outcome} in {result.seconds:.1f} s{reason}", flush=True)


def print_summary(
    root: Path, plan: Plan, results: Mapping[str, Result], seconds: float, command: str
) -> None:
    """How the run went; what failed with its last lines, and the command that goes on."""
    counts = Counter(result.outcome for result in results.values())
    shown = ", ".join(f"{counts[outcome]} {outcome.lower()}" for outcome in counts)
    print(f"\n{len(results)} stages in {seconds:.0f} s: {shown}")
    bad = [result for result in results.values() if not result.is_good]
    if not bad:
        print_ladder(root, plan)
        return
    for result in bad:
        if result.outcome is Outcome.FAILED:
            print(f"\n{result.name} failed ({result.reason}). Its last lines:")
            for line in result.tail:
                print(f"    {line}")
            print(f"    all of it: {LOGS / f'{result.name}.log'}")
    skipped = [result for result in bad if result.outcome is Outcome.SKIPPED]
    for result in skipped:
        print(f"{result.name} was skipped: {result.reason}")
    print(f"\nTo go on from here: {command}")


def print_ladder(root: Path, plan: Plan) -> None:
    """The ladder and the path of the report, as far as they are there."""
    rows = workspace_ladder(root, plan.by_name)
    if rows:
        Console().print(ladder_table(rows))
    if (root / REPORT).is_file():
        print(f"Report: {REPORT}")
