"""A repository with outputs of several revisions to look at.

They are put into the cache by hand and no stage runs (`MadeRepository.commit`), as in album.py; or
DVC makes them (`dvc`), as in gallery.py.
"""

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from ruamel.yaml import YAML

from stages.io.photographs import RGB
from stages.io.tables import CATEGORIES, IMAGES, INSTANCES


@dataclass
class Made:
    """What one stage has made: bytes by path; a mapping is a folder, bytes are a file."""

    outs: Mapping[str, bytes | Mapping[str, bytes | str]]
    deps: Sequence[str] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    command: str = "true"
    labels: Sequence[str] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


class MadeRepository:
    """A git repository with .dvc/cache and dvc.lock as DVC 3 writes them.

    Attributes:
        root: its folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / ".dvc").mkdir(parents=True)
        (root / ".dvc/config").write_text(
            "[core]\n    analytics = false\n    check_update = false\n"
        )
        (root / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
        (root / ".gitignore").write_text("/.dvc/cache\n/.dvc/tmp\n/.seedmask\n/data\n")
        (root / "params.yaml").write_text("dataset:\n  root: data/photographs\n")
        self.git("init", "-q")
        self.git("config", "user.name", "Somebody")
        self.git("config", "user.email", "somebody@example.org")

    def git(self, *words: str) -> str:
        """A command of git that must succeed; what it prints."""
        return _shell(self.root, "git", *words)

    def path_of(self, md5: str) -> Path:
        """Where the cache has an object."""
        return self.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]

    def keep(self, content: bytes, ending: str = "") -> str:
        """Put bytes into the cache; their hash."""
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest() + ending
        path = self.path_of(md5)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return md5

    def keep_folder(self, files: Mapping[str, bytes | str]) -> str:
        """Put a folder into the cache; a file may be given by the hash it is kept under."""
        entries = [
            {"md5": content if isinstance(content, str) else self.keep(content), "relpath": name}
            for name, content in sorted(files.items())
        ]
        return self.keep(json.dumps(entries).encode(), ".dir")

    def record(self, stages: Mapping[str, Made]) -> None:
        """Write dvc.lock and a dvc.yaml that fits."""
        lock: dict[str, Any] = {}
        recorded: dict[str, str] = {}
        for name, made in stages.items():
            outs = []
            for path, content in made.outs.items():
                is_file = isinstance(content, bytes)
                md5 = (
                    self.keep(content) if isinstance(content, bytes) else self.keep_folder(content)
                )
                recorded[path] = md5
                outs.append(
                    {"path": path, "hash": "md5", "md5": md5, "size": 1000 if is_file else 9}
                )
            deps = [
                {"path": path, "hash": "md5", "md5": recorded.get(path, "0" * 32)}
                for path in made.deps
            ]
            lock[name] = {"cmd": made.command, "deps": deps, "outs": outs}
            if made.params:
                lock[name]["params"] = {"params.yaml": dict(made.params)}
        yaml = YAML(typ="safe")
        yaml.dump({"schema": "2.0", "stages": lock}, self.root / "dvc.lock")
        graph: dict[str, Any] = {}
        for name, made in stages.items():
            group, _, member = name.partition("@")
            entry = {
                "desc": f"what {group} does",
                "cmd": made.command,
                "deps": list(made.deps),
                "outs": [{path: _notes(path, made)} for path in made.outs],
            }
            if member:
                each = graph.setdefault(group, {"foreach": {}, "do": {**entry, "outs": []}})
                each["foreach"][member] = {}
                if len(each["foreach"]) == 1:
                    each["do"]["outs"] = _of_each(member, entry["outs"])
            else:
                graph[group] = entry
        yaml.dump({"stages": graph}, self.root / "dvc.yaml")

    def commit(self, stages: Mapping[str, Made], message: str) -> str:
        """Record and commit; the commit's hash."""
        self.record(stages)
        return commit_all(self.root, message)


def commit_all(root: Path, message: str) -> str:
    """Commit what git does not ignore; the commit's hash."""
    _shell(root, "git", "add", "-A")
    _shell(root, "git", "commit", "-q", "-m", message)
    return _shell(root, "git", "rev-parse", "HEAD")


def dvc(root: Path, *words: str) -> None:
    """Run a DVC command, which must succeed."""
    _shell(root, sys.executable, "-m", "dvc", *words)


def _shell(root: Path, *words: str) -> str:
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def _notes(path: str, made: Made) -> dict[str, Any]:
    """What dvc.yaml declares of an output: its type by its name, the rest as given."""
    types = {"maps": "score_maps", "graphs": "graphs", "instances.parquet": "instances"}
    name = path.rpartition("/")[2]
    if name == "ground_truth":
        return {"labels": ["truth"], "meta": {"folders": {"semantic": "label_maps"}}}
    kind = "measures" if name.endswith(".json") else types.get(name, "label_maps")
    return {"type": kind, "labels": list(made.labels), "meta": dict(made.meta)}


def _of_each(member: str, outs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The outs of one member, for all of them."""
    return [{path.replace(member, "${key}"): notes for path, notes in out.items()} for out in outs]


def dataset_stage(
    photographs: Mapping[str, RGB | tuple[bytes, int, int]],
    names: Sequence[str] = ("cat", "dog"),
    boxes: Mapping[str, Sequence[tuple[int, float, float, float, float]]] | None = None,
    root: str = "data/photographs",
) -> tuple[Made, Made]:
    """The stages `scenes`, which holds the photographs, and `dataset`, which lists them.

    Args:
        photographs: pixels, or (file, width, height), by image id.
        names: of the categories 1, 2, ...
        boxes: (category, x0, y0, x1, y1) by image id.
        root: of the photographs.
    """
    files: dict[str, bytes] = {}
    rows = []
    for image_id, photograph in photographs.items():
        if isinstance(photograph, tuple):
            content, width, height = photograph
        else:
            content = png(photograph)
            height, width = photograph.shape[:2]
        files[f"{image_id}.png"] = content
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        rows.append((image_id, "train", f"{image_id}.png", width, height, md5))
    instances = [
        (image_id, number, category, *corners, 1.0, False, None, None, None)
        for image_id, found in (boxes or {}).items()
        for number, (category, *corners) in enumerate(found)
    ]
    tables = {
        "images": pd.DataFrame(rows, columns=IMAGES.names),
        "instances": pd.DataFrame(instances, columns=INSTANCES.names),
        "categories": pd.DataFrame(list(enumerate(names, 1)), columns=CATEGORIES.names),
    }
    schemas = {"images": IMAGES, "instances": INSTANCES, "categories": CATEGORIES}
    outs = {
        f"data/dataset/{name}.parquet": parquet(table, schemas[name])
        for name, table in tables.items()
    }
    return Made({root: files}), Made(outs, [root], {"dataset.root": root})


def parquet(table: pd.DataFrame, schema: pa.Schema) -> bytes:
    """The bytes of a table."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(table, schema=schema, preserve_index=False), buffer)
    return buffer.getvalue()


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    """The bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
