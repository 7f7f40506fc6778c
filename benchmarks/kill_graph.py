"""End a whole run in five ways at random moments, run it again, compare with a calm run.

    python -m benchmarks.kill_graph [--moments 20] [--seed 0] [--target STAGE] [--keep FILE]
        [section.key=value ...]

Eight small drawn images in a copy of the repository: the whole line from boxes over classifier,
GrabCut, affinity network, graphs and A2GNN to the CRF, ten stages, but with preset tiny's few
epochs and `SMALLER`, a slim classifier, so that a run is mostly the start of its processes. Before
each run all that was made is removed. The run is a Prefect flow on a server of its own; it is ended
by SIGINT, SIGTERM or SIGKILL of its process, by `prefect flow-run cancel` of a deployment's run, or
by SIGKILL of every process in the folder at once, as a power cut does. With --keep, what is done
already stands in FILE and is not done again. Exit code 1 when a process goes on, a rerun fails, or
an output differs.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.kill_stages import at_work, copy_repository, digests, pipelines, start
from tests.pipelines.prefect_server import PREFECT, Server, await_true

#: On top of preset tiny. The slim network is the papers' own, which needs no torchvision.
SMALLER = (
    "scenes.width=96",
    "scenes.height=80",
    "classifier_train.backbone=resnet38d",
    "classifier_train.width=0.05",
    "classifier_train.training_stride=8",
    "classifier_infer.output_stride=8",
)
WAYS = ("SIGINT", "SIGTERM", "SIGKILL", "cancel", "power cut")
#: What lies in data/ and is not made.
BROUGHT = ("raw", "corrections", ".gitignore")
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass(frozen=True)
class End:
    """One run ended once."""

    way: str
    moment: float
    orphans: int
    exit_code: int
    is_equal: bool
    rerun_seconds: float

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost and nothing stayed behind."""
        return not self.orphans and self.exit_code == 0 and self.is_equal


def main() -> int:
    """End, rerun, compare, print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", default="crf_refine@a2gnn")
    parser.add_argument("--keep", type=Path, default=Path(os.devnull), help="ends, one per line")
    parser.add_argument("override", nargs="*", help="of params.yaml")
    arguments = parser.parse_args()
    # a shell's background job ignores SIGINT, and so would the runs that it is to end
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ends = read_ends(arguments.keep)
    planned = plan_ends(arguments.moments, arguments.seed, Counter(end.way for end in ends))
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        copy_repository(workspace)
        pipelines(workspace, "use", "tiny", *SMALLER, *arguments.override)
        server = Server(Path(folder) / "prefect")
        os.environ.update(server.environment)
        worker = start_worker(workspace)
        try:
            began = time.monotonic()
            pipelines(workspace, "run", arguments.target)
            usual = time.monotonic() - began
            calm = digests(workspace)
            print(f"a calm run: {usual:.1f} s, {len(calm)} files", flush=True)
            for way, share in planned:
                moment = share * usual
                end = end_and_rerun(workspace, server, arguments.target, way, moment, calm)
                print(f"{way} after {moment:.1f} s: {'good' if end.is_good else end}", flush=True)
                ends.append(end)
                with arguments.keep.open("a") as file:
                    file.write(json.dumps(asdict(end)) + "\n")
        finally:
            worker.kill()
            worker.wait()
            server.stop()
    print_table(ends, usual)
    return 0 if all(end.is_good for end in ends) else 1


def plan_ends(moments: int, seed: int, done: Mapping[str, int]) -> list[tuple[str, float]]:
    """Ways and moments (shares of a calm run), without so many of each way that are done."""
    shares = random.Random(seed)
    ways = [(number, way, shares.random()) for number in range(moments) for way in WAYS]
    return [(way, share) for number, way, share in ways if number >= done.get(way, 0)]


def read_ends(kept: Path) -> list[End]:
    """The ends that an earlier call left; none where there is no file."""
    lines = kept.read_text().splitlines() if kept.exists() else []
    return [End(**json.loads(line)) for line in lines]


def start_worker(workspace: Path) -> "subprocess.Popen[bytes]":
    """A worker for the deployments; it lives outside the workspace, so no power cut hits it."""
    prefect(workspace, "work-pool", "create", "seedmask", "--type", "process")
    prefect(workspace, "--no-prompt", "deploy", "--all")
    return subprocess.Popen(
        [*PREFECT, "worker", "start", "--pool", "seedmask", "--type", "process"],
        cwd=workspace.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def prefect(workspace: Path, *arguments: str) -> str:
    """A command of Prefect that must succeed."""
    done = subprocess.run(
        [*PREFECT, *arguments],
        cwd=workspace,
        env=os.environ | {"PWD": str(workspace)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def forget(workspace: Path) -> None:
    """Bring the workspace to where nothing has run."""
    made = [path for path in (workspace / "data").iterdir() if path.name not in BROUGHT]
    kept = [path for path in (workspace / ".seedmask").iterdir() if path.name != "params.json"]
    for path in (*made, *kept, workspace / ".dvc/cache", workspace / "dvc.lock"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def end_and_rerun(
    workspace: Path, server: Server, target: str, way: str, moment: float, calm: dict[str, str]
) -> End:
    """Start, end after `moment` seconds, look for orphans, run to the end.

    A run that was over by then says nothing: it is started anew and ended earlier.
    """
    forget(workspace)
    while not (
        run_cancelled(workspace, server, target, moment)
        if way == "cancel"
        else run_killed(workspace, target, way, moment)
    ):
        forget(workspace)
        moment *= 0.6
    limit = time.monotonic() + 5
    while (orphans := at_work(workspace)) and time.monotonic() < limit:
        time.sleep(0.1)
    began = time.monotonic()
    with start(workspace, "run", target, "--local") as process:
        text, _ = process.communicate()
    if process.returncode:
        print(text)
    seconds = time.monotonic() - began
    return End(way, moment, len(orphans), process.returncode, digests(workspace) == calm, seconds)


def run_killed(workspace: Path, target: str, way: str, moment: float) -> bool:
    """A run from the command line, ended by a signal to it or to all of its processes.

    Returns:
        Whether that is what ended it.
    """
    with start(workspace, "run", target) as process:
        try:
            process.communicate(timeout=moment)
            return False
        except subprocess.TimeoutExpired:
            pass
        if way == "power cut":
            for found in at_work(workspace):
                with suppress(psutil.NoSuchProcess):
                    found.process.kill()
        else:
            process.send_signal(getattr(signal, way))
        process.communicate()
    return process.returncode != 0


def run_cancelled(workspace: Path, server: Server, target: str, moment: float) -> bool:
    """A deployment's run by the worker, cancelled through the server.

    Returns:
        Whether it was still at work.
    """
    said = prefect(
        workspace, "deployment", "run", "seedmask/on-demand", "--param", f'target=["{target}"]'
    )
    found = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", said)
    assert found is not None, said
    run = found[0]
    await_true(lambda: server.run_state(run) not in ("SCHEDULED", "PENDING"), 120)
    time.sleep(moment)
    if server.run_state(run) in FINAL:
        return False
    with suppress(subprocess.CalledProcessError):  # it ended in this moment
        prefect(workspace, "flow-run", "cancel", run)
    await_true(lambda: server.run_state(run) in FINAL, 120)
    return True


def print_table(ends: Sequence[End], usual: float) -> None:
    """One row per way."""
    good = sum(end.is_good for end in ends)
    table = Table(title=f"{good} of {len(ends)} reruns equal a calm run of {usual:.0f} s")
    for column in ("ended by", "runs", "equal", "orphans", "mean rerun, s"):
        table.add_column(column, justify="right")
    for way in dict.fromkeys(end.way for end in ends):
        those = [end for end in ends if end.way == way]
        table.add_row(
            way,
            str(len(those)),
            str(sum(end.is_equal and end.exit_code == 0 for end in those)),
            str(sum(end.orphans for end in those)),
            f"{sum(end.rerun_seconds for end in those) / len(those):.1f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    sys.exit(main())
