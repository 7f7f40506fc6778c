"""Malformed data sets, drawn: a valid small one in some format, with one to three things wrong."""

import json
import os
import random
import re
import shutil
import socket
import struct
import zlib
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.io.masks import encode_rle
from tests.stages.devkits import (
    HEIGHT,
    WIDTH,
    coco_box,
    coco_image,
    picture,
    picture_bytes,
    save,
    voc_annotation,
    voc_object,
    write_coco,
    write_folder,
    write_voc,
)

Mutation = Callable[[Path, random.Random], None]
FORMATS = ("coco", "voc", "folder")
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


def write_malformed(root: Path, draw: random.Random) -> tuple[str, list[str]]:
    """Write a data set below `root`; returns its format and the names of what is wrong with it."""
    format = draw.choice(FORMATS)
    {"coco": _write_coco, "voc": _write_voc, "folder": _write_folder}[format](root, draw)
    known = {
        "coco": {**ANY_FILE, **IMAGE, **COCO},
        "voc": {**ANY_FILE, **IMAGE, **MASK, **VOC},
        "folder": {**ANY_FILE, **IMAGE, **MASK, **FOLDER},
    }[format]
    names = [draw.choice(sorted(known)) for _ in range(draw.randint(1, 3))]
    for name in names:
        known[name](root, draw)
    return format, names


# --- valid ones ------------------------------------------------------------------------------

COMPRESSED = encode_rle(np.eye(HEIGHT, WIDTH, dtype=bool))


def _write_coco(root: Path, draw: random.Random) -> None:
    for name in draw.choice([("train",), ("train2017", "val2017")]):
        images = [coco_image(number, f"{name}_{number}.png") for number in range(3)]
        boxes = []
        for number in range(draw.randint(1, 6)):
            segmentation = draw.choice(
                [
                    [[2, 2, 20, 2, 20, 30, 2, 30]],
                    {"size": [HEIGHT, WIDTH], "counts": [5, 20, WIDTH * HEIGHT - 25]},
                    {"size": [HEIGHT, WIDTH], "counts": COMPRESSED},
                    [],
                ]
            )
            box = coco_box(number % 3, draw.choice([3, 18]), [2, 2, 18, 28])
            boxes.append(box | {"segmentation": segmentation, "iscrowd": draw.choice([0, 1])})
        write_coco(root, images, boxes, name)


def _write_voc(root: Path, draw: random.Random) -> None:
    ids = [f"2007_{number:06}" for number in range(4)]
    objects = [voc_object("dog", (2, 2, 20, 30)), voc_object("cat", (5, 5, 40, 38))]
    write_voc(root, {name: voc_annotation(objects) for name in ids}, ids[:3], ids[3:])
    for folder, values in (("SegmentationClass", (12, 8)), ("SegmentationObject", (1, 2))):
        for name in ids:
            _save_mask(root / folder / f"{name}.png", values)


def _write_folder(root: Path, draw: random.Random) -> None:
    files = ["a.png", "b.jpg", "sub/c.png", "d.bmp", "e.webp", "f.tif"]
    draw.shuffle(files)
    lines = [f"{file},{draw.choice(['train', 'val'])},dog,2,2,20,30" for file in files[:4]]
    write_folder(root, lines, files)
    (root / "categories.txt").write_text("cat\ndog\n")
    for file in files[:4]:
        name = file.replace("/", "__").split(".")[0]
        _save_mask(root / "masks" / f"{name}.png", (1, 2))


def _save_mask(path: Path, values: tuple[int, int]) -> None:
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    labels[2:20, 2:20], labels[25:35, 10:40] = values
    save(path, Image.fromarray(labels))


# --- any file --------------------------------------------------------------------------------


def _files(root: Path, *suffixes: str) -> list[Path]:
    found = (p for p in root.rglob("*") if p.is_file() and not p.is_symlink())
    return sorted(p for p in found if p.suffix in suffixes or not suffixes)


def _head(path: Path) -> bytes:
    """A megabyte at most: the file may be sparse."""
    with path.open("rb") as file:
        return file.read(2**20)


def _edit(*suffixes: str) -> Callable[[Callable[[bytes, random.Random], bytes]], Mutation]:
    """A mutation that gives one file of these suffixes (default: any) another content."""

    def wrap(change: Callable[[bytes, random.Random], bytes]) -> Mutation:
        def mutate(root: Path, draw: random.Random) -> None:
            files = _files(root, *suffixes)
            if files:
                path = draw.choice(files)
                path.write_bytes(change(_head(path), draw))

        return mutate

    return wrap


def _replace(*suffixes: str) -> Callable[[Callable[[Path, random.Random], None]], Mutation]:
    """A mutation that puts something else in the place of one file of these suffixes."""

    def wrap(put: Callable[[Path, random.Random], None]) -> Mutation:
        def mutate(root: Path, draw: random.Random) -> None:
            files = _files(root, *suffixes)
            if files:
                path = draw.choice(files)
                path.unlink()
                put(path, draw)

        return mutate

    return wrap


def _flip(content: bytes, draw: random.Random) -> bytes:
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
    "flipped bits": _edit()(_flip),
    "bytes inserted": _edit()(_insert),
    "other encoding": _edit(".json", ".xml", ".csv", ".txt")(_reencode),
    "cut": _edit()(lambda content, draw: content[: draw.randrange(len(content) + 1)]),
    "empty": _edit()(lambda content, draw: b""),
    "doubled": _edit()(lambda content, draw: content + content),
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

# --- images and masks ------------------------------------------------------------------------

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
    files = _files(root, *_IMAGES)
    if files:
        exif = Image.Exif()
        exif[0x0112] = draw.choice([0, 2, 3, 5, 6, 8, 9, 65535])
        size = draw.choice([(WIDTH, HEIGHT), (HEIGHT, WIDTH)])
        save(draw.choice(files), picture(*size), format="PNG", exif=exif)


IMAGE: dict[str, Mutation] = {
    "bomb": _edit(*_IMAGES)(_bomb),
    "other image": _edit(*_IMAGES)(_other_image),
    "turned": _turned,
    "text for an image": _edit(*_IMAGES)(lambda content, draw: b"%!PS-Adobe-3.0 EPSF-3.0\nquit\n"),
    "image cut": _edit(*_IMAGES)(lambda content, draw: content[: draw.randrange(len(content) + 1)]),
    "image flipped": _edit(*_IMAGES)(_flip),
}


def _mask(change: Callable[[bytes, random.Random], bytes]) -> Mutation:
    def mutate(root: Path, draw: random.Random) -> None:
        found = [p for p in _files(root, ".png") if p.parent.name.startswith(("mask", "Segm"))]
        if found:
            path = draw.choice(found)
            path.write_bytes(change(_head(path), draw))

    return mutate


def _odd_labels(content: bytes, draw: random.Random) -> bytes:
    labels = np.full((HEIGHT, WIDTH), draw.choice([3, 21, 100, 254, 255]), dtype=np.uint8)
    return picture_bytes(Image.fromarray(labels))


MASK: dict[str, Mutation] = {
    "mask of odd labels": _mask(_odd_labels),
    "mask bomb": _mask(_bomb),
    "mask is another image": _mask(_other_image),
    "mask cut": _mask(lambda content, draw: content[: draw.randrange(len(content) + 1)]),
    "mask flipped": _mask(_flip),
}

# --- COCO ------------------------------------------------------------------------------------


def _json(change: Callable[[Any, random.Random], None]) -> Mutation:
    """A mutation of what one json file holds; of one that holds nothing any more, nothing."""

    def mutate(root: Path, draw: random.Random) -> None:
        for path in _files(root, ".json")[:1]:
            try:
                content = json.loads(_head(path))
                change(content, draw)
                text = json.dumps(content)
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                continue
            path.write_text(text.replace(f'"{HUGE}"', "9" * 5000))

    return mutate


def _walk(content: Any, draw: random.Random) -> tuple[Any, Any]:
    """A container somewhere in the content, and a key of it."""
    while True:
        keys = list(content) if isinstance(content, dict) else list(range(len(content)))
        key = draw.choice(keys)
        if not isinstance(content[key], dict | list) or not content[key] or draw.random() < 0.15:
            return content, key
        content = content[key]


def _odd_value(content: Any, draw: random.Random) -> None:
    holder, key = _walk(content, draw)
    holder[key] = draw.choice(VALUES)


def _odd_values(content: Any, draw: random.Random) -> None:
    for _ in range(4):
        _odd_value(content, draw)


def _drop(content: Any, draw: random.Random) -> None:
    holder, key = _walk(content, draw)
    del holder[key]


def _double(content: Any, draw: random.Random) -> None:
    rows = content[draw.choice(["images", "annotations", "categories"])]
    rows.append(dict(draw.choice(rows)))


def _some(rows: list[Any], draw: random.Random) -> Any:
    return draw.choice(rows)


def _odd_box(content: Any, draw: random.Random) -> None:
    box = _some(content["annotations"], draw)["bbox"]
    for _ in range(draw.randint(1, 4)):
        box[draw.randrange(len(box))] = draw.choice(NUMBERS)


def _odd_crowd(content: Any, draw: random.Random) -> None:
    _some(content["annotations"], draw)["iscrowd"] = draw.choice([2, -1, 0.5, "1", "no", None, []])


def _odd_names(content: Any, draw: random.Random) -> None:
    names = ["dog", "car", "background", "Background", " ", *NAMES]
    for entry in content["categories"]:
        entry["name"] = draw.choice(names)


def _odd_file(content: Any, draw: random.Random) -> None:
    _some(content["images"], draw)["file_name"] = draw.choice(NAMES)


def _odd_polygon(content: Any, draw: random.Random) -> None:
    entry = _some(content["annotations"], draw)
    far = draw.choice([1e3, 1e6, 1e9, -1e9, 1e18, 1e308])
    entry["segmentation"] = draw.choice(
        [
            [[1, 1, far, 1, far, far]],
            [[far, far, far + 1, far, far, far + 1]],
            [[[1, 1, 9, 1, 9, 9]]],
            [["1", "1", "9", "1", "9", "9"]],
            "1 1 9 1 9 9",
            [1, 1, 9, 1, 9, 9],
            [[1, 1, 9, 1, 9]],
            [[], [1, 1], [1, 1, 2, 2]],
            [[0, 0, WIDTH, HEIGHT, WIDTH, 0, 0, HEIGHT] * draw.choice([10, 20_000])],
            [[draw.uniform(-WIDTH, 2 * WIDTH) for _ in range(2000)]],
            [[0.5, 0.5, 0.5, 0.5, 0.5, 0.5]] * 1000,
            [[-40, -40, 90, -40, 90, 80, -40, 80]],
        ]
    )


def _odd_runs(content: Any, draw: random.Random) -> None:
    entry = _some(content["annotations"], draw)
    text = "".join(chr(draw.randint(40, 120)) for _ in range(draw.choice([1, 10, 1000])))
    size = draw.choice([[HEIGHT, WIDTH], [WIDTH, HEIGHT], [0, 0], [-1, -1], [2**40, 2**40], None])
    counts = draw.choice(
        [
            text,
            "o" * 100_000,
            "0" * 100_000,
            "",
            [],
            [WIDTH * HEIGHT],
            [WIDTH * HEIGHT + 1],
            [2**32 + WIDTH * HEIGHT],
            [2**31, 2**31, WIDTH * HEIGHT],
            [-5, WIDTH * HEIGHT + 5],
            [10**400],
            [1.5] * 9,
            [0] * 100_000 + [WIDTH * HEIGHT],
            {},
            None,
        ]
    )
    entry["segmentation"] = {"size": size, "counts": counts}


def _many_outlines(content: Any, draw: random.Random) -> None:
    entry = _some(content["annotations"], draw)
    entry["segmentation"] = [[0, 0, WIDTH, 0, WIDTH, HEIGHT]]
    content["annotations"] += [dict(entry) for _ in range(1500)]


def _deep(content: bytes, draw: random.Random) -> bytes:
    depth = draw.choice([500, 2_000, 1_000_000])
    opening, closing = draw.choice([(b"[", b"]"), (b'{"a":', b"}")])
    nested = opening * depth + b"1" + closing * depth
    place = content.rfind(b"}")
    return draw.choice([nested, content[:place] + b', "more": ' + nested + content[place:]])


COCO: dict[str, Mutation] = {
    "json: odd value": _json(_odd_value),
    "json: several odd values": _json(_odd_values),
    "json: something missing": _json(_drop),
    "json: something twice": _json(_double),
    "json: odd box": _json(_odd_box),
    "json: odd iscrowd": _json(_odd_crowd),
    "json: odd categories": _json(_odd_names),
    "json: odd file name": _json(_odd_file),
    "json: odd polygon": _json(_odd_polygon),
    "json: odd polygon again": _json(_odd_polygon),
    "json: odd run lengths": _json(_odd_runs),
    "json: odd run lengths again": _json(_odd_runs),
    "json: many outlines": _json(_many_outlines),
    "json: deep": _edit(".json")(_deep),
}

# --- VOC -------------------------------------------------------------------------------------


def _odd_xml_value(content: bytes, draw: random.Random) -> bytes:
    odd = ("1e5000", "９", "1_0", "0x10", "&amp;", "<b/>", "unicorn")
    text = draw.choice([*map(str, VALUES), *odd]).encode(errors="surrogatepass")
    places = list(re.finditer(rb">([^<>]+)<", content))
    if not places:
        return content
    place = draw.choice(places)
    return content[: place.start(1)] + text + content[place.end(1) :]


def _drop_tag(content: bytes, draw: random.Random) -> bytes:
    tag = draw.choice([b"name", b"bndbox", b"xmin", b"ymax", b"size", b"width", b"object"])
    kind = draw.choice([rb"<%s>.*?</%s>", rb"</?%s>", rb"</%s>"])
    return re.sub(kind.replace(b"%s", tag), b"", content, count=draw.choice([0, 1]), flags=re.S)


def _declared(content: bytes, draw: random.Random) -> bytes:
    encoding = draw.choice(["big5", "utf-16", "utf-7", "klingon", "cp037", "latin-1", "idna", "\0"])
    return f'<?xml version="1.0" encoding="{encoding}"?>'.encode() + content


def _entities(content: bytes, draw: random.Random) -> bytes:
    laughs = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    quadratic = f'<!ENTITY e9 "{"x" * 50_000}">'
    inner = draw.choice(
        [
            f'<!ENTITY e0 "ha">{laughs}',
            quadratic,
            '<!ENTITY e9 SYSTEM "file:///etc/passwd">',
            '<!ENTITY % p SYSTEM "http://127.0.0.1:9/x"> %p;',
        ]
    )
    body = content.replace(b"dog", b"&e9;" * 500, 1)
    return f"<!DOCTYPE annotation [{inner}]>".encode() + body


def _deep_xml(content: bytes, draw: random.Random) -> bytes:
    depth = draw.choice([1_000, 100_000])
    nested = b"<a>" * depth + b"</a>" * depth
    return content.replace(b"</annotation>", nested + b"</annotation>")


def _odd_list(content: bytes, draw: random.Random) -> bytes:
    lines = content.splitlines() or [b""]
    odd = draw.choice(NAMES).removesuffix(".png").encode(errors="surrogatepass")
    place = draw.randrange(len(lines))
    lines[place] = draw.choice([odd, lines[place] + b" -1", lines[0], b"2007_999999"])
    return b"\n".join(lines)


VOC: dict[str, Mutation] = {
    "xml: odd value": _edit(".xml")(_odd_xml_value),
    "xml: another odd value": _edit(".xml")(_odd_xml_value),
    "xml: something missing": _edit(".xml")(_drop_tag),
    "xml: foreign encoding": _edit(".xml")(_declared),
    "xml: entities": _edit(".xml")(_entities),
    "xml: deep": _edit(".xml")(_deep_xml),
    "xml: flipped": _edit(".xml")(_flip),
    "list: odd id": _edit(".txt")(_odd_list),
}

# --- a folder --------------------------------------------------------------------------------


def _odd_cell(content: bytes, draw: random.Random) -> bytes:
    lines = [line.split(b",") for line in content.splitlines()]
    if not lines:
        return content
    cells = draw.choice(lines)
    odd = draw.choice(
        [*map(str, VALUES), '"', "a,b", '"a\nb"', "1e5000", "test", "=1+1", "background"]
    )
    cells[draw.randrange(len(cells))] = odd.encode(errors="surrogatepass")
    return b"\n".join(b",".join(cells) for cells in lines)


def _odd_header(content: bytes, draw: random.Random) -> bytes:
    odd = [
        b"file;split;category;x0;y0;x1;y1",
        b"FILE,SPLIT",
        b"",
        b"file,file,category,x0,y0,x1,y1",
    ]
    _, _, rest = content.partition(b"\n")
    return draw.choice(odd) + b"\n" + rest


def _no_split(content: bytes, draw: random.Random) -> bytes:
    rows = [line.split(b",") for line in content.splitlines()]
    return b"\n".join(b",".join(row[:1] + row[2:]) for row in rows)


def _odd_table(content: bytes, draw: random.Random) -> bytes:
    return draw.choice(
        [
            content.replace(b"\n", b"\r"),
            content.replace(b",", b";"),
            content.replace(b",", b"\t"),
            content + b"a.png,train,dog,1,1,2\n",
            content + b"x" * 200_000 + b",train,dog,1,1,2,2\n",
            content + b'"unfinished,train,dog',
            content + b"\n\n,,,,,,\n",
            content + content.split(b"\n", 1)[-1] * 500,
        ]
    )


def _odd_categories(root: Path, draw: random.Random) -> None:
    path = root / "categories.txt"
    names = [*NAMES, "dog", "background", "cat", "x" * 100_000]
    lines = draw.choice([[draw.choice(names) for _ in range(3)], [f"n{n}" for n in range(300)], []])
    if path.is_file():
        path.write_bytes("\n".join(lines).encode(errors="surrogatepass"))


def _without_categories(root: Path, draw: random.Random) -> None:
    path = root / "categories.txt"
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


FOLDER: dict[str, Mutation] = {
    "csv: odd cell": _edit(".csv")(_odd_cell),
    "csv: another odd cell": _edit(".csv")(_odd_cell),
    "csv: odd header": _edit(".csv")(_odd_header),
    "csv: no split": _edit(".csv")(_no_split),
    "csv: odd table": _edit(".csv")(_odd_table),
    "categories: odd": _odd_categories,
    "categories: none": _without_categories,
}
