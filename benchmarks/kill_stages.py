"""kill -9 every stage at a random moment, run the same command again, compare with a calm run.

    python -m benchmarks.kill_stages [--rounds 1] [--seed 0] [--preset tiny] [STAGE ...]

Works on a copy of the repository in a temporary folder. Of each stage, DVC's record, its outputs
and all that was kept of it (run cache, memo, checkpoints) are removed; then it is started, killed
at a random moment of its usual time, and started again. Where it had ended by that moment, all
that is done once more with an earlier one, so that what is killed was at work. The odd rounds kill
the stage alone, the even ones everything at once, as a power cut does. Exit code 1 when a stage
was never caught, a rerun fails or does not run, an output differs, or a process goes on working.
"""

import argparse
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from stages.engine.command import read_params_file
from stages.io.declarations import Node, read_nodes

ROOT = Path(__file__).resolve().parents[1]
TRIES = 8  # to kill a stage while it is at work


@dataclass(frozen=True)
class Kill:
    """One stage killed once."""

    stage: str
    victim: str
    moment: float
    was_running: bool
    rerun_seconds: float
    has_rerun: bool
    exit_code: int
    is_equal: bool
    orphans: int

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost."""
        ran = self.was_running and self.has_rerun and self.exit_code == 0
        return ran and self.is_equal and not self.orphans


def main(argv: Sequence[str] | None = None) -> int:
    """Kill, rerun, compare, print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", nargs="*", help="default: all")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", default="tiny")
    arguments = parser.parse_args(argv)
    moments = random.Random(arguments.seed)
    os.environ.setdefault("SEEDMASK_WORKERS", "2")  # few images would not leave their process
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        copy_repository(workspace)
        pipelines(workspace, "use", arguments.preset)
        seconds = durations(pipelines(workspace, "run", "--local"))
        calm = digests(workspace)
        nodes = read_nodes(workspace / "dvc.yaml", read_params_file(workspace / "params.yaml"))
        chosen = [
            node
            for node in nodes
            if not arguments.stage or {node.name, node.stage} & set(arguments.stage)
        ]
        kills = []
        for round_number in range(1, arguments.rounds + 1):
            victim = "stage" if round_number % 2 else "everything"
            for node in chosen:
                moment = moments.uniform(0, seconds[node.name])
                for _ in range(TRIES):
                    kill = kill_and_rerun(workspace, node, victim, moment, calm)
                    if kill.was_running:
                        break
                    moment *= 0.7
                kills.append(kill)
                print(f"{kill.stage}: {'as before' if kill.is_good else kill}", flush=True)
        pipelines(workspace, "run", "--local")
        print_table(kills)
        if digests(workspace) != calm:
            print("the whole graph's outputs differ at the end")
            return 1
    return 0 if all(kill.is_good for kill in kills) else 1


def copy_repository(workspace: Path) -> None:
    """The tracked files as they are in the working tree, as a git repository of its own."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file() and name != "dvc.lock":
            target = workspace / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    subprocess.run(["git", "init", "-q"], cwd=workspace, check=True)


def start(workspace: Path, *command: str) -> subprocess.Popen[str]:
    """`./seedmask COMMAND...` in the workspace."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines", *command],
        cwd=workspace,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "120"},
    )


def pipelines(workspace: Path, *command: str) -> str:
    """The same, to its end; its output.

    Raises:
        RuntimeError: it failed.
    """
    with start(workspace, *command) as process:
        text, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(text)
    return text


def durations(output: str) -> dict[str, float]:
    """Seconds per stage, from what a run printed."""
    found = re.findall(r"^\[(\S+)\] Completed in ([\d.]+) s", output, re.MULTILINE)
    return {name: float(seconds) for name, seconds in found}


def digests(workspace: Path) -> dict[str, str]:
    """md5 of every file below data/."""
    return {
        str(path.relative_to(workspace)): hashlib.md5(
            path.read_bytes(), usedforsecurity=False
        ).hexdigest()
        for path in sorted((workspace / "data").rglob("*"))
        if path.is_file() and path.name != ".gitignore"
    }


def forget(workspace: Path, node: Node) -> None:
    """Bring the workspace to where the stage has never run."""
    for out in node.outs:
        path = workspace / out
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    yaml = YAML(typ="safe")
    lock = yaml.load(workspace / "dvc.lock")
    lock["stages"].pop(node.name, None)
    yaml.dump(lock, workspace / "dvc.lock")
    for kept in (".dvc/cache/runs", ".seedmask"):
        shutil.rmtree(workspace / kept, ignore_errors=True)


def kill_and_rerun(
    workspace: Path, node: Node, victim: str, moment: float, calm: dict[str, str]
) -> Kill:
    """Run one stage, kill it `moment` seconds after its process began, run it again."""
    forget(workspace, node)
    with start(workspace, "run", node.name, "--local") as process:
        while process.poll() is None and not of_stage(node, at_work(workspace)):
            time.sleep(0.02)
        time.sleep(moment)
        working = at_work(workspace)
        stage = of_stage(node, working)
        if stage:
            for found in working if victim == "everything" else stage:
                with suppress(psutil.NoSuchProcess):
                    found.process.kill()
        process.communicate()
    end = time.monotonic() + 5
    while (orphans := at_work(workspace)) and time.monotonic() < end:
        time.sleep(0.1)
    began = time.monotonic()
    with start(workspace, "run", node.name, "--local") as process:
        text, _ = process.communicate()
    if process.returncode:
        print(text)
    return Kill(
        node.name,
        victim,
        moment,
        bool(stage),
        time.monotonic() - began,
        node.name in durations(text),
        process.returncode,
        digests(workspace) == calm,
        len(orphans),
    )


@dataclass(frozen=True)
class AtWork:
    """A living process whose folder is the workspace."""

    process: psutil.Process
    cmdline_text: str


def of_stage(node: Node, working: Sequence[AtWork]) -> list[AtWork]:
    """Those that run the stage's module."""
    return [found for found in working if f"-m stages.{node.stage} " in found.cmdline_text]


def at_work(workspace: Path) -> list[AtWork]:
    """Who works in the workspace."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == workspace:
                found.append(AtWork(process, " ".join(process.cmdline())))
    return found


def print_table(kills: Sequence[Kill]) -> None:
    """One row per kill."""
    good = sum(kill.is_good for kill in kills)
    table = Table(title=f"kill -9: {good} of {len(kills)} reruns leave what a calm run leaves")
    for column in ("stage", "killed", "after s", "at work", "rerun s", "equal", "orphans"):
        table.add_column(column)
    for kill in kills:
        table.add_row(
            kill.stage,
            kill.victim,
            f"{kill.moment:.1f}",
            "yes" if kill.was_running else "no",
            f"{kill.rerun_seconds:.1f}" if kill.has_rerun else "not run",
            "yes" if kill.is_equal else "NO",
            str(kill.orphans),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
