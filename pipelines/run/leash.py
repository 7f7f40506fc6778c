"""Run a command that cannot outlive the process that started it; standard library only.

`python leash.py COMMAND...`, started in a session of its own, learns when its starter dies, even by
SIGKILL (from the kernel on Linux, elsewhere by looking twice a second), and then kills its whole
process group: the command, what it started, and itself. It also ends the group when the command
ends by a signal, so that DVC's death does not leave the stage behind, writing.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType

PR_SET_PDEATHSIG = 1


def main(command: list[str], starter: int) -> int:
    """Run `command`; `starter` is the process that must stay alive. Returns the exit code."""
    signal.signal(signal.SIGTERM, _end_group)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    else:
        threading.Thread(target=_watch, args=[starter], daemon=True).start()
    if os.getppid() != starter:  # it died before the kernel was told
        return 1
    code = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
    if code < 0:
        _end_group(-code, None)
    return code


def _watch(starter: int) -> None:
    """End the group when `starter` is no longer the parent of this process."""
    while os.getppid() == starter:
        time.sleep(0.5)
    _end_group(signal.SIGTERM, None)


def _end_group(number: int, frame: FrameType | None) -> None:
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:], int(sys.argv[1])))
