"""What can be wrong with COCO's json."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.stages.devkits import HEIGHT, WIDTH
from tests.stages.malformed_files import HUGE, NAMES, NUMBERS, VALUES, Mutation, edit, files, head


def _json(change: Callable[[Any, random.Random], None]) -> Mutation:
    """A mutation of what one json file holds; of one that holds nothing any more, nothing."""

    def mutate(root: Path, draw: random.Random) -> None:
        for path in files(root, ".json")[:1]:
            try:
                content = json.loads(head(path))
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
    "json: deep": edit(".json")(_deep),
}
