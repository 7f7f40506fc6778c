"""How far a stage is: a bar on a terminal, else a line per tenth; and a small file for others.

    for sample in counted(samples, "masks_export", "images"):
        ...

.seedmask/progress/<stage>.json is there for as long as the stage runs, is written at most once a
second and is safe to delete. A file, because DVC closes all other descriptors of what it starts,
and a line of ours among what a stage prints would be in the way of who runs plain `dvc repro`;
another terminal can read it too.
"""

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from stages.engine.files import write_bytes

FOLDER = Path(".seedmask/progress")
#: Seconds between two writes of the file, and at least between two lines.
PAUSE = 1.0
#: Of this process's stage; None where nobody is to be told, as in tests of a function alone.
_PLACE: ContextVar[Path | None] = ContextVar("_PLACE", default=None)
_LINE = re.compile(r"\w+: \d+ of \d+ [a-z ]+(, [\d.e+]+/s, .* left| in .*)$")

ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Progress:
    """How far a running stage is.

    Attributes:
        stage: as DVC addresses it, such as "crf_refine@walk".
        done: of `total`, those of an earlier run that was stopped included.
        total: 0 where nothing has been counted yet.
        unit: what is counted, in the plural.
        rate: per second, since the counting began; 0 where it is not known yet.
    """

    stage: str
    done: int = 0
    total: int = 0
    unit: str = ""
    rate: float = 0.0

    @property
    def seconds_left(self) -> float | None:
        """At the rate so far; None where that is not known."""
        return (self.total - self.done) / self.rate if self.rate else None

    def __str__(self) -> str:
        """As "120 of 437 images, 0.38/s, 14 min left", as far as it is known."""
        if not self.total:
            return "running"
        text = f"{self.done} of {self.total} {self.unit}"
        left = self.seconds_left
        return text if not left else f"{text}, {self.rate:.2g}/s, {in_words(left)} left"


def in_words(seconds: float) -> str:
    """As "45 s", "14 min", "3 h 20 min"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def announced(stage: str) -> Iterator[None]:
    """Tell others, for the time of the block, that this process runs a stage."""
    # DVC says which member of a foreach it runs
    name = os.environ.get("DVC_STAGE", "")
    name = name if name.split("@")[0] == stage else stage
    file = FOLDER / f"{name}.json" if _is_first_process() else None
    token = _PLACE.set(file)
    _write(file, Progress(name))
    try:
        yield
    finally:
        _PLACE.reset(token)
        if file is not None:
            with suppress(OSError):
                file.unlink(missing_ok=True)


class Count:
    """Counts what a loop has done, and tells; nothing in all of several processes but the first."""

    def __init__(self, stage: str, total: int, unit: str, *, done: int = 0) -> None:
        """Begin.

        Args:
            stage: its name.
            total: how many there are.
            unit: what they are, in the plural.
            done: how many an earlier run has done.
        """
        self._place = _PLACE.get()
        self._name = self._place.stem if self._place else stage
        self._stage, self._total, self._unit = stage, total, unit
        self._done = self._first = done
        self._began = self._written = self._said = time.monotonic()
        is_first, on_terminal = _is_first_process(), sys.stderr.isatty()
        self._prints = is_first and not on_terminal
        silent = not (is_first and on_terminal)
        self._bar = tqdm(total=total, initial=done, desc=stage, unit=f" {unit}", disable=silent)
        _write(self._place, Progress(self._name, done, total, unit))

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        self._bar.update()
        now = time.monotonic()
        last = self._done >= self._total
        if last or now - self._written >= PAUSE:
            self._written = now
            _write(self._place, self._progress(now))
        if self._prints and self._is_time_for_a_line(now):
            self._said = now
            print(self._line(now), file=sys.stderr, flush=True)
        if last:
            self._bar.close()

    def _is_time_for_a_line(self, now: float) -> bool:
        tenths = [10 * count // max(self._total, 1) for count in (self._done - 1, self._done)]
        is_last = self._done == self._total and self._said > self._began
        return tenths[1] > tenths[0] and (now - self._said >= PAUSE or is_last)

    def _progress(self, now: float) -> Progress:
        rate = (self._done - self._first) / max(now - self._began, 1e-9)
        return Progress(self._name, self._done, self._total, self._unit, rate)

    def _line(self, now: float) -> str:
        if self._done < self._total:
            return f"{self._stage}: {self._progress(now)}"
        taken = in_words(now - self._began)
        return f"{self._stage}: {self._done} of {self._total} {self._unit} in {taken}"


def counted(
    items: Iterable[ItemT], stage: str, unit: str, *, total: int | None = None, done: int = 0
) -> Iterator[ItemT]:
    """The items, each counted when the next one is asked for.

    Args:
        items: of a loop.
        stage: its name.
        unit: what they are, in the plural.
        total: how many, `done` included; None asks `items`.
        done: how many an earlier run has done.
    """
    if total is None:
        assert isinstance(items, Sized)
        total = len(items)
    count = Count(stage, total, unit, done=done)
    for item in items:
        yield item
        count.step()


def is_progress_line(line: str) -> bool:
    """Whether a stage printed this line to say how far it is."""
    return _LINE.match(line) is not None


def read_progress(path: Path) -> Progress | None:
    """What a file in `FOLDER` says; None when its stage does not run any more."""
    try:
        content = json.loads(path.read_text())
        pid, started = int(content.pop("process")), content.pop("started")
        progress = Progress(**content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return progress if started is not None and started == _start_of(pid) else None


def _write(file: Path | None, progress: Progress) -> None:
    if file is None:
        return
    pid = os.getpid()
    content = vars(progress) | {"process": pid, "started": _start_of(pid)}
    with suppress(OSError):  # no stage fails because it cannot tell how far it is
        write_bytes(file, json.dumps(content).encode())


def _start_of(pid: int) -> int | None:
    """When a living process started, in the kernel's ticks: numbers of processes are used again."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else int(fields[18])


def _is_first_process() -> bool:
    """False in all but one of the processes that train together (torchrun, SEEDMASK_PROCESSES)."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", 0))) == 0
