"""Execute a plan: each stage that must run is one `dvc repro -s` in a process group of its own."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType

from pipelines import leash
from pipelines.plan import Plan, State, Step

LOGS = Path(".seedmask/logs")
#: What DVC says to someone who typed its command, and of __init__.py files; noise here.
CHATTER = re.compile(
    r"To track the changes|To enable auto staging|Use `dvc push`|\t(git add|dvc) "
    r"|WARNING: '.*__init__\.py' is empty\."
)
TAIL = 12


class Outcome(StrEnum):
    """How a stage ended."""

    CACHED = "Cached"  # nothing to do
    RESTORED = "Restored"  # an earlier run had the same inputs; its outputs came from DVC's cache
    COMPLETED = "Completed"
    FAILED = "Failed"
    SKIPPED = "Skipped"  # something above it failed, is missing, or the run was stopped


@dataclass(frozen=True)
class Result:
    """One stage's end.

    Attributes:
        name: as DVC addresses it.
        outcome: how it ended.
        seconds: wall time.
        reason: why it was skipped or failed, in a few words.
        tail: the last lines it printed, when it failed.
    """

    name: str
    outcome: Outcome
    seconds: float = 0.0
    reason: str = ""
    tail: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether stages below may go on."""
        return self.outcome in (Outcome.CACHED, Outcome.RESTORED, Outcome.COMPLETED)


def default_jobs() -> int:
    """How many stages run at once: SEEDMASK_JOBS, else 2."""
    return int(os.environ.get("SEEDMASK_JOBS", 0)) or 2


class Runner:
    """Starts stages and, when told to stop, ends them all and starts no more."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stopped: int | None = None  # the signal that stopped it
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._lock = threading.Lock()

    def execute(self, step: Step, log: Callable[[str], None]) -> Result:
        """Run one stage to its end; `log` gets every line it prints.

        Cached and blocked steps end at once. Call from any thread.
        """
        if step.state is State.UNCHANGED:
            return Result(step.name, Outcome.CACHED)
        if step.state is State.BLOCKED:
            return Result(step.name, Outcome.SKIPPED, reason=step.reason)
        began = time.monotonic()
        process = self._start(step.name)
        if process is None:
            return Result(step.name, Outcome.SKIPPED, reason="stopped")
        try:
            lines = self._follow(step.name, process, log)
        finally:
            self._end(step.name, process)
        seconds = time.monotonic() - began
        if self.stopped is not None:
            return Result(step.name, Outcome.FAILED, seconds, "stopped", tuple(lines))
        if process.returncode != 0:
            reason = _exit_reason(process.returncode)
            return Result(step.name, Outcome.FAILED, seconds, reason, tuple(lines))
        return Result(step.name, _outcome_of(step.name, lines), seconds)

    def stop(self, number: int) -> None:
        """End every running stage now, with all its processes."""
        with self._lock:
            self.stopped = number
            for process in self._running.values():
                _kill_group(process.pid)

    def _start(self, name: str) -> subprocess.Popen[str] | None:
        with self._lock:
            if self.stopped is not None:
                return None
            repro = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "-s", name]
            process = subprocess.Popen(
                [sys.executable, "-S", "-E", leash.__file__, str(os.getpid()), *repro],
                cwd=self.root,
                env=_environment(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._running[name] = process
        threading.Thread(target=_end_group_with, args=[process.pid], daemon=True).start()
        return process

    def _follow(
        self, name: str, process: subprocess.Popen[str], log: Callable[[str], None]
    ) -> deque[str]:
        """Pass on what the stage prints and keep it in .seedmask/logs; the last lines come back."""
        path = self.root / LOGS / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert process.stdout is not None
        lines: deque[str] = deque(maxlen=TAIL)
        with process.stdout, path.open("w") as file:
            for raw in process.stdout:
                line = raw.rstrip()
                if not line or CHATTER.match(line):
                    continue
                file.write(line + "\n")
                file.flush()
                lines.append(line)
                log(line)
        return lines

    def _end(self, name: str, process: subprocess.Popen[str]) -> None:
        _kill_group(process.pid)
        process.wait()
        with self._lock:
            del self._running[name]


def run_local(
    plan: Plan,
    runner: Runner,
    jobs: int,
    log: Callable[[str, str], None],
    done: Callable[[Result], None],
) -> dict[str, Result]:
    """Run a plan with threads, without Prefect; of the ready stages, the longest chain first.

    Args:
        plan: what to run.
        runner: starts the stages.
        jobs: how many at once.
        log: gets the stage's name and a line that it printed.
        done: gets every result as it comes.

    Returns:
        The results by name, in the plan's order.
    """
    results: dict[str, Result] = {}
    below = plan.stages_below()
    waiting = sorted(plan.steps, key=lambda step: -below[step.name])
    running: set[Future[Result]] = set()
    with ThreadPoolExecutor(jobs) as pool:
        while waiting or running:
            for step in list(waiting):
                above = [results.get(name) for name in step.upstream]
                if any(result is None for result in above):
                    continue
                bad = [result.name for result in above if result and not result.is_good]
                if bad:
                    skipped = Result(step.name, Outcome.SKIPPED, reason=f"needs {bad[0]}")
                    results[step.name] = skipped
                    done(skipped)
                elif len(running) < jobs:
                    running.add(pool.submit(runner.execute, step, _named(log, step.name)))
                else:
                    continue
                waiting.remove(step)
            if not running:
                continue  # what is left waits for stages that were skipped just now
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                result = future.result()
                results[result.name] = result
                done(result)
    return {step.name: results[step.name] for step in plan.steps}


def _named(log: Callable[[str, str], None], name: str) -> Callable[[str], None]:
    return lambda line: log(name, line)


@contextmanager
def stopping_on_signals(runner: Runner) -> Iterator[None]:
    """SIGINT and SIGTERM end the running stages first, then do what they did before."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.getsignal(number) for number in numbers}

    def handle(number: int, frame: FrameType | None) -> None:
        runner.stop(number)
        before = previous[signal.Signals(number)]
        if callable(before):
            before(number, frame)
        else:
            raise SystemExit(128 + number)

    for number, before in previous.items():
        if before != signal.SIG_IGN:  # ignored, as in a shell's background job, stays ignored
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The stage's environment; `python` in dvc.yaml is the Python that runs this."""
    environment = {
        "OMP_WAIT_POLICY": "PASSIVE",  # threads of parallel stages must not spin
        **inherited,
        "PYTHONUNBUFFERED": "1",
        "DVC_NO_ANALYTICS": "1",
        "SHELL": "/bin/sh",
    }
    folder = str(Path(sys.executable).parent)
    environment["PATH"] = os.pathsep.join([folder, inherited.get("PATH", os.defpath)])
    return environment


def _outcome_of(name: str, lines: deque[str]) -> Outcome:
    text = "\n".join(lines)
    if f"Stage '{name}' is cached - skipping run" in text:
        return Outcome.RESTORED
    if f"Stage '{name}' didn't change, skipping" in text:
        return Outcome.CACHED
    return Outcome.COMPLETED


def _exit_reason(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _end_group_with(leader: int) -> None:
    """When the leash ends, even by SIGKILL, nothing of its group goes on writing."""
    with suppress(ChildProcessError):
        # WNOWAIT leaves it a zombie, so that its group's number is not given to another.
        os.waitid(os.P_PID, leader, os.WEXITED | os.WNOWAIT)
        _kill_group(leader)


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
