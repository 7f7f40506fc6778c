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
from pathlib import Path
from types import FrameType

from pipelines.graph.journal import keep_run, read_code
from pipelines.graph.needs import lack, leave_out
from pipelines.graph.plan import Plan, State, Step
from pipelines.graph.result import Ending, Result
from pipelines.run import leash
from pipelines.run.progress import has_bars
from pipelines.run.records import check_record, note_inputs
from pipelines.run.schedule import Limits, Schedule, skipped
from stages.engine.command import LEFT
from stages.engine.files import explain_machine_error
from stages.engine.progress import is_progress_line

LOGS = Path(".seedmask/logs")
#: What DVC says to someone who typed its command, and of __init__.py files; noise here.
CHATTER = re.compile(
    r"To track the changes|To enable auto staging|Use `dvc push`|\t(git add|dvc) "
    r"|WARNING: '.*__init__\.py' is empty\."
)
TAIL = 12


class Runner:
    """Starts stages and, when told to stop, ends them all and starts no more."""

    def __init__(self, root: Path, *, pull: bool = False) -> None:
        """Start stages in `root`; with `pull`, what DVC's remote has is fetched, not made."""
        self.root = root
        self.pull = pull
        self.stopped: int | None = None  # the signal that stopped it
        self._code = read_code(root)
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._began: dict[str, float] = {}
        self._lock = threading.RLock()  # a signal may come while its thread looks at `running`

    def execute(self, step: Step, log: Callable[[str], None]) -> Result:
        """Run one stage to its end; `log` gets every line it prints.

        Steps that are cached, blocked or left out end at once. Call from any thread.
        """
        if step.state is State.UNCHANGED:
            return Result(step.name, Ending.CACHED)
        if step.state is State.BLOCKED:
            return Result(step.name, Ending.SKIPPED, reason=step.reason)
        if lacking := lack(self.root, step.needs):
            leave_out(self.root, step.outs)
            return Result(step.name, Ending.LEFT_OUT, reason=lacking)
        result = self._attempt(step, log)
        for attempt in range(step.meta.retries):
            if result.ending is not Ending.FAILED:
                break
            log(f"failed ({result.reason}); retry {attempt + 1} of {step.meta.retries}")
            result = self._attempt(step, log)
        if result.ending in (Ending.COMPLETED, Ending.RESTORED, Ending.FAILED):
            try:
                keep_run(self.root, result, step.outs, self._code)
            except OSError as error:  # what it made is there all the same
                log(f"not noted in the journal: {explain_machine_error(error)}")
        return result

    def _attempt(self, step: Step, log: Callable[[str], None]) -> Result:
        began = time.monotonic()
        try:
            inputs_file = note_inputs(self.root, step.name, step.deps, step.params)
        except OSError as error:
            return Result(step.name, Ending.FAILED, reason=explain_machine_error(error))
        process = self._start(step.name, inputs_file)
        if process is None:
            return Result(step.name, Ending.SKIPPED, reason="stopped")
        limit = step.meta.timeout
        late = threading.Event()

        def end() -> None:
            late.set()
            _kill_group(process.pid)

        try:
            with _after(limit, end):
                lines = self._follow(step.name, process, log)
        except OSError as error:  # its log cannot be written
            seconds = time.monotonic() - began
            return Result(step.name, Ending.FAILED, seconds, explain_machine_error(error))
        finally:
            self._end(step.name, process)
        seconds = time.monotonic() - began
        if self.stopped is None and not late.is_set() and process.returncode == 0:
            ending = _ending_of(step.name, lines)
            changed = "" if ending is Ending.CACHED else check_record(self.root, step.name)
            if not changed:
                return Result(step.name, ending, seconds)
            return Result(step.name, Ending.FAILED, seconds, changed)
        if self.stopped is not None:
            reason = signal.Signals(self.stopped).name
            return Result(step.name, Ending.STOPPED, seconds, reason)
        reason = _exit_reason(process.returncode)
        if late.is_set():
            reason = f"not done in time: meta.timeout is {limit} s"
        return Result(step.name, Ending.FAILED, seconds, reason, tuple(lines))

    def running(self) -> dict[str, float]:
        """The stages at work, and how many seconds each has been."""
        now = time.monotonic()
        with self._lock:
            return {name: now - began for name, began in self._began.items()}

    def stop(self, number: int) -> None:
        """End every running stage now, with all its processes."""
        with self._lock:
            self.stopped = number
            for process in self._running.values():
                _kill_group(process.pid)

    def _start(self, name: str, inputs_file: Path) -> subprocess.Popen[str] | None:
        with self._lock:
            if self.stopped is not None:
                return None
            dvc = [sys.executable, "-m", "pipelines.graph.dvc_private"]
            repro = [*dvc, "--wait-for-lock", "repro", "-s", name]
            repro += ["--pull"] if self.pull else []
            process = subprocess.Popen(
                [sys.executable, "-S", "-E", leash.__file__, str(os.getpid()), *repro],
                cwd=self.root,
                env=_environment(os.environ | {LEFT: str(inputs_file)}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._running[name] = process
            self._began[name] = time.monotonic()
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
        with process.stdout, _naming(path), path.open("w") as file:
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
            del self._began[name]


def run_local(
    plan: Plan,
    runner: Runner,
    limits: Limits,
    done: Callable[[Result], None],
) -> dict[str, Result]:
    """Run a plan with threads, without Prefect; what the stages print is printed.

    Args:
        plan: what to run.
        runner: starts the stages.
        limits: how many at once.
        done: gets every result as it comes.

    Returns:
        The results by name, in the plan's order.
    """
    schedule = Schedule(plan, limits)

    def finish(result: Result) -> None:
        schedule.end(result)
        done(result)

    running: set[Future[Result]] = set()
    with ThreadPoolExecutor(limits.jobs) as pool:
        while not schedule.is_over:
            for step, reason in schedule.start():
                if reason:
                    finish(skipped(step, reason))
                elif step.state is State.UNCHANGED:
                    finish(runner.execute(step, _printer(step.name)))
                else:
                    running.add(pool.submit(runner.execute, step, _printer(step.name)))
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                finish(future.result())
    return {step.name: schedule.results[step.name] for step in plan.steps}


def _printer(name: str) -> Callable[[str], None]:
    def show(line: str) -> None:
        if not (has_bars() and is_progress_line(line)):
            print(f"[{name}] {line}\n", end="", flush=True)  # in one write, as others print too

    return show


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """An error of writing says which file, as one of opening does."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextmanager
def _after(seconds: float | None, act: Callable[[], None]) -> Iterator[None]:
    """Act once if the block takes longer than `seconds`; None is for ever."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def stopping_on_signals(runner: Runner) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the running stages first, then do what they did before."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
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
    """The stage's environment; `./python` or `python` in dvc.yaml is the Python that runs this."""
    environment = {
        "OMP_WAIT_POLICY": "PASSIVE",  # threads of parallel stages must not spin
        **inherited,
        "PYTHONUNBUFFERED": "1",
        "DVC_NO_ANALYTICS": "1",
        "SHELL": "/bin/sh",
        "SEEDMASK_PYTHON": sys.executable,
    }
    folder = str(Path(sys.executable).parent)
    environment["PATH"] = os.pathsep.join([folder, inherited.get("PATH", os.defpath)])
    return environment


def _ending_of(name: str, lines: deque[str]) -> Ending:
    text = "\n".join(lines)
    if f"Stage '{name}' is cached - skipping run" in text:
        return Ending.RESTORED
    if f"Stage '{name}' didn't change, skipping" in text:
        return Ending.CACHED
    return Ending.COMPLETED


def _exit_reason(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _end_group_with(leader: int) -> None:
    """When the leash ends, even by SIGKILL, nothing of its group goes on writing."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13; the leash itself is the only guard
        return
    with suppress(ChildProcessError):
        # WNOWAIT leaves it a zombie, so that its group's number is not given to another.
        os.waitid(os.P_PID, leader, os.WEXITED | os.WNOWAIT)
        _kill_group(leader)


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
