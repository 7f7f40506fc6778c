"""Which stages run, and how far they are: for `status`, the page, and bars on the terminal."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from stages.engine.progress import FOLDER, Progress, in_words, is_progress_line, read_progress


def running_stages(root: Path) -> dict[str, Progress]:
    """The stages at work in `root` at this moment, whoever started them, by DVC's name.

    Cheap (a small file each) and never wrong about a stage that was killed. `str()` of a Progress
    is one line such as "120 of 437 images, 0.38/s, 14 min left"; its `total` is 0 where the stage
    has not counted anything yet.
    """
    running = (read_progress(path) for path in sorted((root / FOLDER).glob("*.json")))
    return {progress.stage: progress for progress in running if progress is not None}


def has_bars() -> bool:
    """Whether `showing_bars` shows any: on a terminal that can move its cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def showing_bars(root: Path, running: Callable[[], Mapping[str, float]]) -> Iterator[None]:
    """At the foot of the terminal a bar per running stage, for the time of the block.

    What is printed or logged meanwhile stands above, but for the lines by which the stages say the
    same (they are in .seedmask/logs). Without a terminal nothing is done: those lines must do.

    Args:
        root: where the stages run.
        running: tells the names of those that run, and the seconds since each was started.
    """
    if not has_bars():
        yield
        return
    console = Console(markup=False, emoji=False, highlight=False)  # log lines as they are
    live = Live(
        console=console,
        get_renderable=lambda: bars(running(), running_stages(root)),
        refresh_per_second=2,
        transient=True,
    )
    with live, ExitStack() as stack:
        for handler in logging.getLogger().handlers:
            if isinstance(getattr(handler, "console", None), Console):
                stack.enter_context(_logging_above(handler, console))
        yield


def bars(running: Mapping[str, float], told: Mapping[str, Progress]) -> Table:
    """A line for each running stage; the bar of one that has told nothing goes to and fro."""
    table = Table.grid(padding=(0, 1))
    for name, seconds in running.items():
        progress = told.get(name, Progress(name))
        bar = ProgressBar(progress.total or None, progress.done, width=24)
        table.add_row(name, bar, f"{progress} ({in_words(seconds)} so far)")
    return table


@contextmanager
def _logging_above(handler: Any, console: Console) -> Iterator[None]:
    """Prefect's handler writes to the terminal itself; here through the console of the bars."""

    def is_news(record: logging.LogRecord) -> bool:
        return not is_progress_line(record.getMessage())

    before, handler.console = handler.console, console
    handler.addFilter(is_news)
    try:
        yield
    finally:
        handler.console = before
        handler.removeFilter(is_news)
