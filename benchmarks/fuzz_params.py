"""Malformed params.yaml, through `./seedmask status` and through a stage's own frame.

`python -m benchmarks.fuzz_params` draws 300 files from a seed: the default and the presets with
values, names, lines, bytes and the file itself made wrong. Each is read in a child process with a
time limit; a stage that accepts its section is not run. Prints a table; 1 when one file ended in a
traceback, a crash, a hang, or words that do not say where.
"""

import argparse
import contextlib
import functools
import importlib
import inspect
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import get_args, get_type_hints

import pipelines.graph.plan  # noqa: F401  before the forks: each child would import DVC anew
from pipelines.__main__ import main as pipelines_main
from pipelines.graph.dvc_yaml import read_stages
from pipelines.graph.presets import preset_names, use_preset
from stages.engine.command import run

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 30  # seconds
DEEP = 100_000
BOMB = "\n".join(
    [
        "scenes: &a0 {seed: 0}",
        *(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)),
    ]
)
VALUES = [
    *(
        ".inf",
        "-.inf",
        ".nan",
        "'inf'",
        "'nan'",
        "1e400",
        "-1",
        "0",
        "1e-400",
        "-0.0",
        "3.5",
        "true",
    ),
    *("null", "~", "''", "text", "[]", "{}", "[1, 2, 3]", "[.inf, .nan]", "{a: 1}", "2020-01-01"),
    *(
        "2020-13-45",
        "12:30:45",
        "0x1f",
        "0o17",
        "0b1",
        "1_000",
        "1" * 20,
        "1" * 5000,
        "-" + "9" * 30,
    ),
    *(
        "0x" + "f" * 5000,
        "1e99999999999",
        "'" + "x" * 10_000 + "'",
        "[" * 50,
        "[" * DEEP,
        "{a: " * 99,
    ),
    *("[" * 15 + "]" * 15, "!!binary aGk=", "!!python/object/apply:os.system [id]", "!!set {a}"),
    *(
        "!!int x",
        "!mine 3",
        "*nothing",
        "&here 3",
        "'${dataset.root}'",
        "${scenes.seed}",
        "@a",
        "`id`",
    ),
    *('"\\u0000"', '"a\\nb"', '"\\ud800"', "'\u202e'", "\U0001f600", "|", ">", "\t3", "3\t", "% 3"),
    *("$(touch x)", "'; touch x; '", "'-rf'", "s3://bucket", "'/'", "'.'", "data", "data/dataset"),
]
NAMES = [
    *("1", "~", "null", "true", "2020-01-01", "1.5", ".inf", "''", '"a\\nb"', "'a.b'", "'a b'"),
    *(
        "[1]",
        "{a: 1}",
        "x" * 5000,
        "? x",
        "<<",
        "'é'",
        "sceness",
        "*a",
        "&a b",
        "!!int 3",
        "1" * 5000,
    ),
]


def change_value(text: str, rng: random.Random) -> str:
    """One value of one section is another."""
    lines, index = _a_line(text, rng, "  ")
    lines[index] = f"{lines[index].split(':')[0]}: {rng.choice(VALUES)}"
    return "\n".join(lines)


def change_root(text: str, rng: random.Random) -> str:
    """The data set's folder, which DVC reads too, is another."""
    return text.replace("\n  root: ", f"\n  root: {rng.choice(VALUES)} #", 1)


def change_name(text: str, rng: random.Random) -> str:
    """A section or a key has another name."""
    indent = rng.choice(["", "  "])
    lines, index = _a_line(text, rng, indent)
    lines[index] = f"{indent}{rng.choice(NAMES)}:{lines[index].partition(':')[2]}"
    return "\n".join(lines)


def change_section(text: str, rng: random.Random) -> str:
    """A section is no mapping."""
    lines, index = _a_line(text, rng, "")
    lines[index] = f"{lines[index].split(':')[0]}: {rng.choice(VALUES)}"
    end = next((n for n in range(index + 1, len(lines)) if lines[n][:1] != " "), len(lines))
    return "\n".join(lines[: index + 1] + lines[end:])


def change_lines(text: str, rng: random.Random) -> str:
    """Lines are lost, doubled, indented, exchanged or joined."""
    lines, index = _a_line(text, rng, rng.choice(["", "  "]))
    line = lines[index]
    lines[index : index + 1] = rng.choice(
        [
            *([], [line, line], [f" {line}"], [f"\t{line}"], [line.strip()], [f"{line}{line}"]),
            *([line, "---"], [line, "..."], [line, "<<: {seed: 1}"], [f"- {line}"], [f"{line} {{"]),
        ]
    )
    return rng.choice(["\n", "\n", "\r\n", "\r"]).join(lines)


def change_bytes(text: str, rng: random.Random) -> bytes:
    """The text in another coding, cut, with bits flipped, or no text at all."""
    content = bytearray(text.encode())
    for _ in range(rng.choice([1, 3, 30])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    cut = text.encode()[: rng.randrange(len(text))]
    return rng.choice(
        [
            *(
                bytes(content),
                bytes(content),
                cut,
                cut,
                rng.randbytes(rng.choice([1, 100, 10_000])),
            ),
            *(text.encode("utf-8-sig"), text.encode("utf-16"), text.encode("utf-32"), b"", b"\n"),
            *(text.encode() + b"\x00", text.encode() + b"# \xe9\n", b"# nothing\n", b"[" * DEEP),
            *(BOMB.encode(), text.encode() + BOMB.encode(), text.encode() + b"# long\n" * 500_000),
            *(b"- " * DEEP, b"{a: " * DEEP, b"? " * DEEP, b"&a [*a]", b"&a {b: *a}", b"3", b"null"),
        ]
    )


def change_file(path: Path, rng: random.Random) -> None:
    """There is no file, but something else."""
    path.unlink()
    kind = rng.choice(["none", "folder", "pipe", "loop", "zero", "full"])
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "none":
        path.symlink_to({"loop": path.name, "zero": "/dev/zero", "full": "/proc/self/mem"}[kind])


TEXT_CHANGES: list[Callable[[str, random.Random], str | bytes]] = [
    *(change_value, change_value, change_root, change_name, change_section, change_lines),
    change_bytes,
]


def _a_line(text: str, rng: random.Random, indent: str) -> tuple[list[str], int]:
    lines = text.split("\n")
    found = [
        index
        for index, line in enumerate(lines)
        if ":" in line and line.startswith(indent) and line[len(indent)] not in " #"
    ]
    return lines, rng.choice(found)


def make_case(folder: Path, texts: list[str], rng: random.Random) -> str:
    """Write one of `texts`, made wrong, as params.yaml into `folder`; in what way."""
    path = folder / "params.yaml"
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    text = rng.choice(texts)
    path.write_text(text)
    if rng.random() < 0.05:
        change_file(path, rng)
        return "file"
    change = rng.choice(TEXT_CHANGES)
    changed = change(text, rng)
    path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    return change.__name__.removeprefix("change_")


def ends(door: Callable[[], object], said: Path) -> str:
    """How a child process ends that goes through `door`; its words go to `said`."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            text = io.StringIO()
            with contextlib.redirect_stderr(text), contextlib.redirect_stdout(io.StringIO()):
                try:
                    code = int(door() or 0)
                except SystemExit as end:
                    code = int(end.code or 0)
                except BaseException:
                    code = 70
                    traceback.print_exc(file=text)
            said.write_text(text.getvalue(), errors="backslashreplace")
        finally:
            os._exit(code)
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return _ending(os.waitstatus_to_exitcode(status), said.read_text())
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hang"


def _ending(code: int, text: str) -> str:
    if code < 0:
        return "crash"
    if code not in (0, 1):
        return "traceback"
    lines = text.splitlines()
    if code == 0:
        return "accepted"
    # DVC's own words on a folder that a stage writes name dvc.yaml and the stages
    where = ("params.yaml: ", "dvc.yaml: ")
    problems = [line for line in lines if any(map(line.__contains__, where)) and len(line) < 1000]
    return "refused" if lines and problems == lines else "unclear"


def frame(name: str) -> int:
    """What the command line of a stage does before its function is called."""
    stage = getattr(importlib.import_module(f"stages.{name}"), name)
    hints = get_type_hints(stage)
    options = []
    for argument in list(inspect.signature(stage).parameters.values())[1:]:
        if argument.default is inspect.Parameter.empty:
            value = next(iter(get_args(hints[argument.name])), "1")  # the first of some words
            options += [f"--{argument.name.replace('_', '-')}", value]
    run(functools.wraps(stage)(lambda params, **arguments: None), options)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Draw, try, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    rng = random.Random(arguments.seed)
    stages = list(read_stages(ROOT))
    for name in stages:  # before the forks
        importlib.import_module(f"stages.{name}")
    table: Counter[tuple[str, str, str]] = Counter()
    bad, slowest = 0, 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "repository"
        listed = ("dvc.yaml", ".dvc/config", ".dvcignore", "presets", "stages", "models")
        listed += ("graph.yaml", "requirements.lock")
        for place in listed:
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / place).is_dir() else shutil.copy
            copy(ROOT / place, folder / place)
        os.chdir(folder)
        os.system("git init -q")
        said = Path(name) / "said"
        texts = []
        for preset in preset_names(ROOT):
            use_preset(folder, preset)
            texts.append((folder / "params.yaml").read_text())
        for number in range(arguments.count):
            kind = make_case(folder, texts, rng)
            stage = rng.choice(stages)
            doors = {
                "status": lambda: pipelines_main(["status"]),
                "a stage": functools.partial(frame, stage),
            }
            for door, act in doors.items():
                began = time.monotonic()
                said.write_text("")
                end = ends(act, said)
                slowest = max(slowest, time.monotonic() - began)
                table[kind, door, end] += 1
                if end not in ("accepted", "refused"):
                    bad += 1
                    print(
                        f"{number} {kind} {door} {stage}: {end}: {said.read_text()[-1500:]}",
                        flush=True,
                    )
        os.chdir(ROOT)
    for (kind, door, end), count in sorted(table.items()):
        print(f"{kind:8} {door:8} {end:10} {count:4}")
    print(f"{arguments.count} files, {bad} bad ends, the slowest {slowest:.1f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
