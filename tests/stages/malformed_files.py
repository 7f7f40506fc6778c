"""What can be wrong with any file, image or mask of a data set, and odd values for all."""

import os
import random
import socket
import struct
import zlib
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.stages.devkits import HEIGHT, WIDTH, picture, picture_bytes, save

Mutation = Callable[[Path, random.Random], None]
#: Stands for a number of so many digits that Python writes none.
HUGE = "HUGE"
NUMBERS: list[Any] = [
    *(0, -1, 1, 0.5, -0.0, 1e-300, 1e9, -1e9, 2**31, 2**63, 2**64, 1e308, 10**400, HUGE),
    *(float("nan"), float("inf"), float("-inf")),
]
NAMES: list[str] = [
    *("", " ", ".", "..", "/", "../root.png", "/etc/passwd", "C:\\a.png", "a\0b.png", "a\nb.png"),
    *("x" * 201 + ".png", "x" * 256 + ".png", "d/" * 2000 + "a.png", "\ud800.png", "\udcff.png"),
    *("-rf.png", "$(touch started).png", "a b.png", "ä.png", "‮gnp.png", "../../out/data/x.png"),
    *("CON.png", "%00.png", "a.png/b.png", "~/a.png", "|id.png", "http://x/a.png", "a.eps"),
]
VALUES: list[Any] = [
    *(None, True, False, "", "1", "NaN", [], {}, [[]], [{}], {"a": {}}, [None] * 4, "x" * 100_000),
    *NUMBERS,
    *NAMES,
]


def files(root: Path, *suffixes: str) -> list[Path]:
    found = (p for p in root.rglob("*") if p.is_file() and not p.is_symlink())
    return sorted(p for p in found if p.suffix in suffixes or not suffixes)


def head(path: Path) -> bytes:
    """A megabyte at most: the file may be sparse."""
    with path.open("rb") as file:
        return file.read(2**20)


def edit(*suffixes: str) -> Callable[[Callable[[bytes, random.Random], bytes]], Mutation]:
    """A mutation that gives one file of these suffixes (default: any) another content."""

    def wrap(change: Callable[[bytes, random.Random], bytes]) -> Mutation:
        def mutate(root: Path, draw: random.Random) -> None:
            found = files(root, *suffixes)
            if found:
                path = draw.choice(found)
                path.write_bytes(change(head(path), draw))

        return mutate

    return wrap


def _replace(*suffixes: str) -> Callable[[Callable[[Path, random.Random], None]], Mutation]:
    """A mutation that puts something else in the place of one file of these suffixes."""

    def wrap(put: Callable[[Path, random.Random], None]) -> Mutation:
        def mutate(root: Path, draw: random.Random) -> None:
            found = files(root, *suffixes)
            if found:
                path = draw.choice(found)
                path.unlink()
                put(path, draw)

        return mutate

    return wrap


def flip(content: bytes, draw: random.Random) -> bytes:
    flipped = bytearray(content or b"\0")
    for _ in range(draw.choice([1, 1, 10, 100])):
        flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
    return bytes(flipped)


def _insert(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content) + 1)
    odd = [b"\0", b"\xff\xfe", b'"', b"\r", b"\n" * 1000, b"<", b"]" * 9, b"\xed\xa0\x80", b"," * 9]
    return content[:place] + draw.choice(odd) + content[place:]


def _reencode(content: bytes, draw: random.Random) -> bytes:
    encoding = draw.choice(["utf-16", "utf-32", "utf-8-sig", "utf-7", "cp037"])
    return content.decode("latin-1").encode(encoding, errors="replace")


def _socket(path: Path, draw: random.Random) -> None:
    with chdir(path.parent), socket.socket(socket.AF_UNIX) as server:  # addresses are short
        server.bind(path.name[-90:])


def _link_loop(path: Path, draw: random.Random) -> None:
    other = path.with_name(f"other{path.suffix}")
    path.symlink_to(other.name)
    other.unlink(missing_ok=True)
    other.symlink_to(path.name)


def _sparse(path: Path, draw: random.Random) -> None:
    with path.open("wb") as file:
        file.truncate(2 ** draw.choice([20, 24, 31, 40]))


def _odd_neighbours(root: Path, draw: random.Random) -> None:
    for name in (b"\xff\xfe.png", b"a\nb.jpg", b"x" * 251 + b".png", b"-x.png", b"$(id).png"):
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(b"?")
    (root / "loop").symlink_to(".", target_is_directory=True)
    (root / "away").symlink_to("/", target_is_directory=True)
    os.mkfifo(root / "pipe.png")


def _folder_away(root: Path, draw: random.Random) -> None:
    """A folder of the data set becomes a file, a loop, or a link to somewhere else."""
    folders = sorted(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())
    if not folders:
        return
    path = draw.choice(folders)
    kind = draw.choice(["file", "loop", "away", "gone", "inside"])
    kept = path.with_name(f"{path.name}-kept")
    path.rename(kept)
    if kind == "file":
        path.write_bytes(b"")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "away":
        path.symlink_to("/usr")
    elif kind == "inside":
        path.symlink_to(kept.name)


ANY_FILE: dict[str, Mutation] = {
    "flipped bits": edit()(flip),
    "bytes inserted": edit()(_insert),
    "other encoding": edit(".json", ".xml", ".csv", ".txt")(_reencode),
    "cut": edit()(lambda content, draw: content[: draw.randrange(len(content) + 1)]),
    "empty": edit()(lambda content, draw: b""),
    "doubled": edit()(lambda content, draw: content + content),
    "missing": _replace()(lambda path, draw: None),
    "pipe": _replace()(lambda path, draw: os.mkfifo(path)),
    "folder": _replace()(lambda path, draw: path.mkdir()),
    "socket": _replace()(_socket),
    "link loop": _replace()(_link_loop),
    "link away": _replace()(lambda path, draw: path.symlink_to("/etc/passwd")),
    "device": _replace()(
        lambda path, draw: path.symlink_to(draw.choice(["/dev/zero", "/dev/tty"]))
    ),
    "dangling link": _replace()(lambda path, draw: path.symlink_to("nowhere")),
    "sparse": _replace()(_sparse),
    "odd neighbours": _odd_neighbours,
    "folder away": _folder_away,
    "listing is a pipe": _replace(".json", ".xml", ".csv", ".txt")(lambda p, draw: os.mkfifo(p)),
}


_IMAGES = (".png", ".jpg", ".bmp", ".webp", ".tif")


def _png(width: int, height: int, depth: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with a header of its own and the given chunks."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        content += struct.pack(">I", len(body)) + kind + body
        content += struct.pack(">I", zlib.crc32(kind + body))
    return content


def _bomb(content: bytes, draw: random.Random) -> bytes:
    width, height = draw.choice([(30_000, 30_000), (2**31 - 1, 1), (1, 80_000_000), (9_000, 9_000)])
    rows = zlib.compress(bytes(2**20))
    text = b"x\0\0" + zlib.compress(bytes(2**27 if draw.random() < 0.3 else 100))
    return _png(width, height, 8, 0, (b"zTXt", text), (b"IDAT", rows))


def _other_image(content: bytes, draw: random.Random) -> bytes:
    image = picture(draw.choice([1, 7, WIDTH]), draw.choice([1, HEIGHT]), draw.randrange(9))
    mode = draw.choice(["RGB", "L", "LA", "P", "RGBA", "CMYK", "1", "I;16", "F", "YCbCr", "HSV"])
    kind = draw.choice(["PNG", "JPEG", "GIF", "EPS", "TIFF", "BMP", "WEBP", "ICO", "PPM", "PDF"])
    if mode == "I;16":
        image = Image.fromarray(np.full((HEIGHT, WIDTH), 40_000, dtype=np.uint16))
    else:
        image = image.convert(mode)
    try:
        return picture_bytes(image, kind)
    except (OSError, ValueError, KeyError):  # not every format has every mode
        return picture_bytes(image.convert("L"), kind)


def _turned(root: Path, draw: random.Random) -> None:
    found = files(root, *_IMAGES)
    if found:
        exif = Image.Exif()
        exif[0x0112] = draw.choice([0, 2, 3, 5, 6, 8, 9, 65535])
        size = draw.choice([(WIDTH, HEIGHT), (HEIGHT, WIDTH)])
        save(draw.choice(found), picture(*size), format="PNG", exif=exif)


IMAGE: dict[str, Mutation] = {
    "bomb": edit(*_IMAGES)(_bomb),
    "other image": edit(*_IMAGES)(_other_image),
    "turned": _turned,
    "text for an image": edit(*_IMAGES)(lambda content, draw: b"%!PS-Adobe-3.0 EPSF-3.0\nquit\n"),
    "image cut": edit(*_IMAGES)(lambda content, draw: content[: draw.randrange(len(content) + 1)]),
    "image flipped": edit(*_IMAGES)(flip),
}


MAPS = ("masks", "scribbles", "regions", "ground_truth", "Segm")


def _mask(change: Callable[[bytes, random.Random], bytes]) -> Mutation:
    def mutate(root: Path, draw: random.Random) -> None:
        found = [p for p in files(root, ".png") if p.parent.name.startswith(MAPS)]
        if found:
            path = draw.choice(found)
            path.write_bytes(change(head(path), draw))

    return mutate


def _odd_labels(content: bytes, draw: random.Random) -> bytes:
    labels = np.full((HEIGHT, WIDTH), draw.choice([3, 21, 100, 254, 255]), dtype=np.uint8)
    return picture_bytes(Image.fromarray(labels))


MASK: dict[str, Mutation] = {
    "mask of odd labels": _mask(_odd_labels),
    "mask bomb": _mask(_bomb),
    "mask is another image": _mask(_other_image),
    "mask cut": _mask(lambda content, draw: content[: draw.randrange(len(content) + 1)]),
    "mask flipped": _mask(flip),
}
