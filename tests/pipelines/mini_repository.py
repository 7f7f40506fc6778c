"""A small repository of our shape, with stages that take a fraction of a second."""

import os
import pty
import re
import shutil
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import psutil

HERE = Path(__file__).resolve().parents[2]

STAGE = """
import os, signal, sys, time
from pathlib import Path
from typing import ClassVar
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from stages.engine.command import run
from stages.engine.files import write_bytes
from stages.engine.progress import counted


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    value: int
    seconds: float
    fail: bool


def {name}(params: Params, source: Path | None = None, out: Path | None = None) -> None:
    assert out is not None
    text = source.read_text() if source else ""
    print("{name} starts in", os.getpid(), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    for part in counted(range(5), "{name}", "parts"):
        time.sleep(params.seconds / 5)
        write_bytes(out / f"{{part}}.txt", f"{{text}}{name} {{params.value}} {{part}}\\n".encode())
    if params.fail:
        raise RuntimeError("{name} was told to fail")
    write_bytes(out.with_suffix(".txt"), f"{{text}}{name} {{params.value}}\\n".encode())


if __name__ == "__main__":
    run({name})
"""


class MiniRepository:
    """A git and DVC repository: `first` -> `left`, `right` -> `last` (of left), each 0.1 s.

    Attributes:
        root: its folder.
    """

    graph: ClassVar = {"first": None, "left": "first", "right": "first", "last": "left"}

    def __init__(self, root: Path, like: "MiniRepository | None" = None) -> None:
        """Make it anew in a folder, or as a copy of another one with all that was made there."""
        self.root = root
        self.started: list[subprocess.Popen[str]] = []
        if like is not None:
            shutil.copytree(like.root, root, dirs_exist_ok=True, symlinks=True)
            return
        for name in ("models", "pipelines"):
            ignored = shutil.ignore_patterns("*.pyc.*")  # another worker writes them
            shutil.copytree(HERE / name, root / name, ignore=ignored)
        (root / "stages").mkdir()
        for name in ("__init__.py", "engine", "io", "sources"):
            source = HERE / "stages" / name
            if source.is_dir():
                shutil.copytree(source, root / "stages" / name, ignore=ignored)
            else:
                shutil.copy(source, root / "stages" / name)
        dvc_yaml, params = ["stages:"], []
        for name, source in self.graph.items():
            (root / "stages" / f"{name}.py").write_text(STAGE.format(name=name))
            option = f" --source data/{source}.txt" if source else ""
            deps = f"    deps: [data/{source}.txt]\n" if source else ""
            dvc_yaml.append(
                f"  {name}:\n"
                f"    cmd: python -m stages.{name}{option} --out data/{name}\n"
                f"{deps}    params: [{name}]\n"
                f"    outs: [data/{name}, data/{name}.txt]"
            )
            params.append(f"{name}:\n  value: 1 # a number\n  seconds: 0.1\n  fail: false\n")
        (root / "dvc.yaml").write_text("\n".join(dvc_yaml) + "\n")
        (root / "params.yaml").write_text("# Four stages.\n\n" + "\n".join(params))
        (root / "presets").mkdir()
        shutil.copy(root / "params.yaml", root / "presets/default.yaml")
        (root / "presets/slow.yaml").write_text("left:\n  seconds: 3.0\n")
        (root / ".dvc").mkdir()
        shutil.copy(HERE / ".dvc/config", root / ".dvc/config")
        shutil.copy(HERE / ".dvcignore", root / ".dvcignore")
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)

    def set(self, section: str, key: str, value: object) -> None:
        """Change one number of params.yaml."""
        path = self.root / "params.yaml"
        head, mark, rest = path.read_text().partition(f"{section}:\n")
        lines = rest.split("\n")
        index = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
        lines[index] = f"  {key}: {value}"
        path.write_text(head + mark + "\n".join(lines))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`./seedmask ARGUMENTS...` in the background."""
        process = subprocess.Popen(
            # A background job of a shell ignores SIGINT, and so would what it starts.
            ["env", "--default-signal=INT", sys.executable, "-m", "pipelines", *arguments],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "COLUMNS": "120"},
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str) -> tuple[int, str]:
        """`./seedmask ARGUMENTS...`: its exit code and all it printed."""
        process = self.start(*arguments)
        text, _ = process.communicate(timeout=120)
        return process.returncode, text

    def run_on_terminal(self, *arguments: str) -> tuple[int, list[str]]:
        """The exit code, and all rows that stood on the screen at some time, without colours."""
        terminal, end = pty.openpty()
        termios.tcsetwinsize(end, (30, 120))
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines", *arguments],
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=end,
            stderr=end,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(end)
        shown = b""
        with suppress(OSError):  # its other end is closed
            while True:
                shown += os.read(terminal, 4096)
        os.close(terminal)
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
        return process.wait(), re.split(r"[\r\n]+", text)

    def outputs(self) -> dict[str, str]:
        """All files below data/ that stages made."""
        files = sorted((self.root / "data").rglob("*.txt"))
        return {str(path.relative_to(self.root)): path.read_text() for path in files}

    def close(self) -> None:
        """End what is still at work."""
        for found in self.processes():
            with suppress(psutil.NoSuchProcess):
                found.kill()
        for process in self.started:
            process.communicate()

    def processes(self) -> list[psutil.Process]:
        """The living processes that work in it."""
        found = []
        for process in psutil.process_iter():
            try:
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and Path(process.cwd()).is_relative_to(self.root):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
                continue
        return found
