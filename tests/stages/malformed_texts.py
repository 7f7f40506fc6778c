"""What can be wrong with VOC's annotations and lists, and with the CSV of a folder."""

import random
import re
import shutil
from pathlib import Path

from tests.stages.malformed_files import NAMES, VALUES, Mutation, edit, flip


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
    "xml: odd value": edit(".xml")(_odd_xml_value),
    "xml: another odd value": edit(".xml")(_odd_xml_value),
    "xml: something missing": edit(".xml")(_drop_tag),
    "xml: foreign encoding": edit(".xml")(_declared),
    "xml: entities": edit(".xml")(_entities),
    "xml: deep": edit(".xml")(_deep_xml),
    "xml: flipped": edit(".xml")(flip),
    "list: odd id": edit(".txt")(_odd_list),
}


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
    "csv: odd cell": edit(".csv")(_odd_cell),
    "csv: another odd cell": edit(".csv")(_odd_cell),
    "csv: odd header": edit(".csv")(_odd_header),
    "csv: no split": edit(".csv")(_no_split),
    "csv: odd table": edit(".csv")(_odd_table),
    "categories: odd": _odd_categories,
    "categories: none": _without_categories,
}
