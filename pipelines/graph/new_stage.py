"""A new stage in its five places, as a stub that runs and whose test passes.

stages/NAME.py, its sections in params.yaml and presets/default.yaml, its entry in dvc.yaml (with
its line of closures.json), tests/stages/test_NAME.py. docs/extending.md says what to do with it.
"""

import keyword
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

from pipelines.graph.dvc_yaml import parse_stages, read_stages
from stages.engine.command import read_params_file
from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.engine.plain_yaml import parse_plain

LONGEST = 32  # characters of a name, so that the lines of the stub stay short

STAGE = Template('''"""What $name is for, and the paper it comes from.

A stub: it lists the training images that are wide enough.
"""

from pathlib import Path

import pandas as pd
import pyarrow as pa
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.engine.command import run
from stages.engine.files import write_json
from stages.io.data_set import Dataset
from stages.io.tables import write_table

ROWS = pa.schema([("image_id", pa.string()), ("pixels", pa.int64())])


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """Numbers of this stage; params.yaml says what each is."""

    least: int = Field(ge=1)


def $name(params: Params, data: Dataset, out: Path) -> None:
    """List the training images.

    Args:
        params: see `Params`.
        data: the data set.
        out: gets images.parquet (image_id, pixels) and metrics.json.

    Raises:
        InputError: a table is missing or unreadable.
    """
    rows = [
        {"image_id": image.image_id, "pixels": image.width * image.height}
        for image in data.images("train")
        if image.width >= params.least
    ]
    write_table(out / "images.parquet", pd.DataFrame(rows, columns=ROWS.names), ROWS)
    write_json(out / "metrics.json", {"images": len(rows)})


if __name__ == "__main__":
    run($name)
''')

TEST = Template("""import json
from pathlib import Path

import pandas as pd

$imports


def test_narrow_images_and_those_of_validation_are_left_out(tmp_path: Path) -> None:
    images = [("a", "train", 8), ("narrow", "train", 7), ("b", "val", 8)]
    rows = [
        {"image_id": name, "split": split, "file": name, "width": width, "height": 2, "md5": ""}
        for name, split, width in images
    ]
    write_table(tmp_path / "images.parquet", pd.DataFrame(rows), IMAGES)
    $name(Params(least=8), Dataset(tmp_path), tmp_path / "out")
    wide = read_rows(tmp_path / "out/images.parquet", ROWS)
    assert wide == [{"image_id": "a", "pixels": 16}]
    assert json.loads((tmp_path / "out/metrics.json").read_text()) == {"images": 1}
""")
TEST_IMPORTS = (
    "from stages.io.data_set import Dataset",
    "from stages.io.tables import IMAGES, read_rows, write_table",
    "from stages.$name import ROWS, Params, $name",
)

SECTION = Template("""
$name:
  least: 1 # pixels; narrower images are left out
""")

ENTRY = Template("""
  $name:
    desc: what it does, in one line
    cmd: ./python -m stages.$name --data data/dataset --out data/$name
    deps: [data/dataset/images.parquet]
    params: [$name, data/code/closures.json: [$name]]
    outs: [data/$name/images.parquet]
    metrics: [data/$name/metrics.json: {cache: false}]
""")


def new_stage(root: Path, name: str) -> list[Path]:
    """Write the five places; on any error nothing is written.

    Args:
        root: the repository.
        name: of the stage, such as "regions_label".

    Returns:
        The files written, relative to `root`.

    Raises:
        InputError: no name for a stage, or there is something of that name already.
    """
    _check_name(name)
    values = {"name": name}
    imports = sorted(Template(line).substitute(values) for line in TEST_IMPORTS)
    code = {
        Path("stages") / f"{name}.py": STAGE.substitute(values),
        Path("tests/stages") / f"test_{name}.py": TEST.substitute(
            values, imports="\n".join(imports)
        ),
    }
    taken = [*code, Path("stages", name), Path("data", name)]
    for path in taken:
        if (root / path).exists():
            raise InputError(f"{path}: is there already; choose another name than {name!r}")
    if name in read_stages(root):
        raise InputError(f"{root / 'dvc.yaml'}: has a stage {name!r} already; choose another name")
    texts = {path: text.encode() for path, text in code.items()}
    for path in (Path("presets/default.yaml"), Path("params.yaml")):
        texts[path] = _with_section(root / path, name).encode()
    texts[Path("dvc.yaml")] = _with_entry(root / "dvc.yaml", name).encode()
    _write_all(root, texts)
    return list(texts)


def _check_name(name: str) -> None:
    is_word = re.fullmatch(r"[a-z][a-z0-9_]*", name) and not keyword.iskeyword(name)
    if not is_word or len(name) > LONGEST:
        expected = f"object_verb, at most {LONGEST} small letters, digits and _"
        raise InputError(f"stage {name!r}: expected a name such as regions_label: {expected}")
    if re.search(rf"\b{name}\b", STAGE.template + TEST.template):
        raise InputError(f"stage {name!r}: the new file has this word in it; choose another name")


def _with_section(path: Path, name: str) -> str:
    if name in read_params_file(path):
        raise InputError(f"{path}: has a section {name!r} already; choose another name")
    text = f"{path.read_text().rstrip()}\n{SECTION.substitute(name=name)}"
    parse_plain(text, str(path))
    return text


def _with_entry(path: Path, name: str) -> str:
    """The entry goes below the last stage, above what else stands at the left margin."""
    lines = path.read_text().splitlines()
    first = lines.index("stages:") + 1
    end = next((i for i, line in enumerate(lines[first:], first) if line[:1] > " "), len(lines))
    last = max(i for i, line in enumerate(lines[:end], 1) if line.strip())
    text = "\n".join([*lines[:last], ENTRY.substitute(name=name).rstrip(), *lines[last:]]) + "\n"
    if list(parse_stages(text.encode(), str(path)))[-1] != name:
        raise InputError(f"{path}: expected the stages two spaces from the left, one below another")
    return text


def _write_all(root: Path, texts: Mapping[Path, bytes]) -> None:
    before = {path: (root / path).read_bytes() for path in texts if (root / path).exists()}
    try:
        for path, content in texts.items():
            write_bytes(root / path, content)
    except BaseException:
        for path in texts:
            if path in before:
                write_bytes(root / path, before[path])
            else:
                (root / path).unlink(missing_ok=True)
        raise
