"""Stages for test_hermetic.py: one that keeps to what it declares, and some that do not."""

from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from stages.engine.errors import InputError
from stages.engine.files import write_bytes

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    pass


def honest(params: Params, images: Path, out: Path) -> None:
    write_bytes(out / "out.txt", images.read_bytes())


def reads_ground_truth(params: Params, images: Path, out: Path) -> None:
    try:
        content = (images.parent / "ground_truth/semantic/a.png").read_bytes()
    except FileNotFoundError:
        content = b""
    write_bytes(out / "out.txt", content)


def reads_the_repository(params: Params, images: Path, out: Path) -> None:
    write_bytes(out / "out.txt", (ROOT / "dvc.yaml").read_bytes())


def changes_its_input(params: Params, images: Path, out: Path) -> None:
    images.write_text("b\n")
    write_bytes(out / "out.txt", b"")


def leaves_a_file(params: Params, images: Path, out: Path) -> None:
    write_bytes(out / "out.txt", b"")
    write_bytes(out / "more.txt", b"")


def makes_nothing(params: Params, images: Path, out: Path) -> None:
    images.read_bytes()


def fails(params: Params, images: Path, out: Path) -> None:
    write_bytes(out / "out.txt", b"")
    raise InputError("params.yaml: no good")
