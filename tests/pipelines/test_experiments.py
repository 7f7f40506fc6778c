"""A sweep with DVC's queue: each experiment in a copy, with the code it was queued with."""

import csv
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from tests.pipelines.mini_repository import MiniRepository


def shell(root: Path, *words: str) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        words, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_queued_experiments_run_in_copies_with_their_own_code(mini: MiniRepository) -> None:
    root = mini.root
    (root / ".gitignore").write_text("/.seedmask/\n/data/\n__pycache__/\n")
    shell(root, "git", "config", "user.email", "someone@example.org")
    shell(root, "git", "config", "user.name", "someone")
    assert mini.run("run", "last", "--local")[0] == 0
    shell(root, "git", "add", "-A")
    shell(root, "git", "commit", "-qm", "made")
    for value in (2, 3):
        queue = ("dvc", "exp", "run", "last", "--queue", "-n", f"value{value}")
        shell(root, *queue, "-S", f"left.value={value}")
    code = root / "stages/left.py"
    kept = code.read_text()
    code.write_text("raise SystemExit('the code of the workspace')\n")
    shell(root, "dvc", "exp", "run", "--run-all", "-j", "1")
    code.write_text(kept)

    rows = csv.DictReader(shell(root, "dvc", "exp", "show", "--csv").splitlines())
    found = {row["Experiment"]: (row["left.value"], row["data/left.txt"]) for row in rows}
    for value in (2, 3):
        made = hashlib.md5(b"first 1\nleft %d\n" % value, usedforsecurity=False).hexdigest()
        assert found[f"value{value}"] == (str(value), made)
    assert mini.outputs()["data/left.txt"] == "first 1\nleft 1\n"
