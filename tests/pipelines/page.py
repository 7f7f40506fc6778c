"""The page as a user starts it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Served:
    """Where it answers, and the process that does."""

    address: str
    pid: int


@contextmanager
def serving(repository: Path) -> Iterator[Served]:
    """`./seedmask browse` over a repository, on a free port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", "browse", "--port", "0"],
        cwd=repository,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield Served(process.stdout.readline().split()[0], process.pid)
    finally:
        process.terminate()
        process.communicate()
