"""The leash where the kernel does not tell of a starter's death; run.py's tests cover Linux."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from pipelines.run import leash

#: Starts a leash as on another system, then waits to be killed.
STARTER = """
import os, subprocess, sys, time
code = "import sys; sys.platform = 'darwin'; sys.path.insert(0, '.'); "
code += "from pipelines.run import leash; "
code += "sys.exit(leash.main(sys.argv[1:], %d))" % os.getpid()
subprocess.Popen([sys.executable, "-c", code, "sleep", "60"], start_new_session=True)
time.sleep(60)
"""


def test_what_is_on_the_leash_ends_with_its_starter_on_other_systems_too() -> None:
    root = Path(leash.__file__).parents[2]
    starter = subprocess.Popen([sys.executable, "-c", STARTER], cwd=root)
    try:
        held: list[psutil.Process] = []
        end = time.monotonic() + 30
        while not any("sleep" in one.name() for one in held) and time.monotonic() < end:
            time.sleep(0.05)
            held = psutil.Process(starter.pid).children(recursive=True)
        assert any("sleep" in one.name() for one in held)
    finally:
        os.kill(starter.pid, signal.SIGKILL)
        starter.wait()
    _, alive = psutil.wait_procs(held, timeout=10)
    assert alive == []
