"""Does a parallel run leave the files that plain `dvc repro` leaves?

    python -m benchmarks.same_files [--preset default] [--jobs 2] [section.key=value ...]

Two copies of the repository, nothing cached: `./seedmask run --local` in one, `dvc repro`
in the other, with more threads allowed, since the bytes must not depend on the environment either.
Prints the number of files below data/ and those that differ. Exit code 1 when one does.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.kill_stages import copy_repository, digests

RUN = [sys.executable, "-m", "pipelines"]
REPRO = [sys.executable, "-m", "dvc", "repro"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run both, compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("overrides", nargs="*", help="section.key=value")
    arguments = parser.parse_args(argv)
    use = [*RUN, "use", arguments.preset, *arguments.overrides]
    commands = {
        "run": ([*RUN, "run", "--local", "--jobs", str(arguments.jobs)], "1"),
        "repro": (REPRO, str(os.cpu_count())),
    }
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in commands:  # both before the work: someone may edit the files meanwhile
            copy_repository(Path(folder) / name)
        for name, (command, threads) in commands.items():
            workspace = Path(folder) / name
            call(workspace, use, threads)
            seconds = call(workspace, command, threads)
            found[name] = digests(workspace)
            words = " ".join(["python", *command[1:]])
            print(f"OMP_NUM_THREADS={threads} {words}: {seconds:.0f} s", flush=True)
    return tell(found["run"], found["repro"])


def call(workspace: Path, command: Sequence[str], threads: str) -> float:
    """Run a command to its end; its seconds.

    Raises:
        RuntimeError: it failed; with all it printed.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    began = time.monotonic()
    done = subprocess.run(
        command,
        cwd=workspace,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": threads},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stdout)
    return time.monotonic() - began


def tell(first: Mapping[str, str], second: Mapping[str, str]) -> int:
    """Print what differs; 1 when something does, or when there is nothing at all."""
    names = sorted({*first, *second})
    differing = [name for name in names if first.get(name) != second.get(name)]
    for name in differing:
        print(f"differs: {name}")
    print(f"{len(names)} files, {len(differing)} differ")
    return 1 if differing or not names else 0


if __name__ == "__main__":
    sys.exit(main())
