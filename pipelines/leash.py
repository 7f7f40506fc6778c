"""Run a command that cannot outlive the process that started it; Linux, standard library only.

`python leash.py COMMAND...`, started in a session of its own, gets SIGTERM from the kernel when its
starter dies, even by SIGKILL, and then kills its whole process group: the command, what it started,
and itself. It also ends the group when the command ends by a signal, so that DVC's death does not
leave the stage behind, writing.
"""

import ctypes
import os
import signal
import subprocess
import sys
from types import FrameType

PR_SET_PDEATHSIG = 1


def main(command: list[str], starter: int) -> int:
    """Run `command`; `starter` is the process that must stay alive. Returns the exit code."""
    signal.signal(signal.SIGTERM, _end_group)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != starter:  # it died before the kernel was told
        return 1
    code = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
    if code < 0:
        _end_group(-code, None)
    return code


def _end_group(number: int, frame: FrameType | None) -> None:
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:], int(sys.argv[1])))
