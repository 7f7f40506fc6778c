"""Edit inputs at random moments of a run, run again until up to date, compare with a calm run.

    python -m benchmarks.edits_under_run [--moments 25] [--seed 0] [--keep FILE]

Eight drawn images with boxes in a copy of the repository, and the line dataset, grabcut_seeds,
crf_refine@grabcut. Before each run all that was made is removed. While it runs a box is moved, a
number written into params.yaml, code changed, or another commit checked out with other boxes and
numbers; so many moments of each way. Then it is run again until it says that all is up to date. A
calm run on the same inputs in another folder tells what the labels must be. With --keep, what is
done already stands in FILE and is not done again. Exit code 1 when labels differ.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.kill_graph import forget
from benchmarks.kill_stages import copy_repository, digests, pipelines, start

TARGET = "crf_refine@grabcut"
DATA = Path("data/raw/mine")
BOXES, PARAMS = DATA / "boxes.csv", Path("params.yaml")
PRESET = ("use", "tiny", f"dataset.root={DATA}", "dataset.format=folder")
#: What is written in the place of what; each changes the final labels.
NUMBERS = (
    ("  min_fraction: 0.1", "  min_fraction: 0.9"),
    ("  bilateral_xy: 50", "  bilateral_xy: 5"),
)
CODE = (
    (Path("models/ops/grabcut.py"), "cv2.GC_PR_FGD)\n", "cv2.GC_PR_FGD)[:, ::-1]\n"),
    (
        Path("models/ops/crf.py"),
        "(classes, height, width)\n",
        "(classes, height, width)[..., ::-1]\n",
    ),
)
RUNS = 5  # until it must be up to date


@dataclass(frozen=True)
class Edit:
    """One edit under a run.

    Attributes:
        way: how.
        moment: seconds after the start.
        was_told: the run that was edited, or a later one, named what had changed.
        runs: until everything was up to date, the edited one included.
        is_equal: to a calm run on the last inputs.
    """

    way: str
    moment: float
    was_told: bool
    runs: int
    is_equal: bool


def main() -> int:
    """Edit, run, compare, print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=25, help="of each way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(os.devnull), help="edits, one per line")
    arguments = parser.parse_args()
    lines = arguments.keep.read_text().splitlines() if arguments.keep.exists() else []
    edits = [Edit(**json.loads(line)) for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder) / "workspace")
        print(f"a calm run: {workspace.usual:.1f} s", flush=True)
        done = Counter(edit.way for edit in edits)
        for way, share, choice in plan_edits(arguments.moments, arguments.seed, done):
            edit = workspace.edit_and_rerun(way, share, choice)
            print(edit, flush=True)
            edits.append(edit)
            with arguments.keep.open("a") as file:
                file.write(json.dumps(asdict(edit)) + "\n")
    print_table(edits)
    return 0 if all(edit.is_equal for edit in edits) else 1


def plan_edits(moments: int, seed: int, done: Counter[str]) -> list[tuple[str, float, int]]:
    """Ways, moments (shares of a calm run) and which edit, without those that are done."""
    draw = random.Random(seed)
    edits = [
        (number, way, draw.random(), draw.randrange(2)) for number in range(moments) for way in WAYS
    ]
    return [edit[1:] for edit in edits if edit[0] >= done[edit[1]]]


class Workspace:
    """A repository with a data set in git on two branches, `base` and `other`.

    Attributes:
        root: its folder.
        usual: seconds of a calm run.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        copy_repository(root)
        pipelines(root, "use", "tiny")
        pipelines(root, "run", "scenes", "--local")
        copy_data_set(root / "data/scenes", root / DATA)
        pipelines(root, *PRESET)
        self.git("add", "-A")
        self.git("add", "-f", str(BOXES))
        self.git("commit", "-qm", "base")
        self.git("branch", "-m", "base")
        self.git("checkout", "-qb", "other")
        move_a_box(self, 2)
        write_a_number(self, 0)
        self.git("commit", "-qam", "other")
        self.git("checkout", "-q", "base")
        self._calm: dict[str, dict[str, str]] = {}
        began = time.monotonic()
        pipelines(root, "run", TARGET, "--local")
        self.usual = time.monotonic() - began
        self.base = digests(root)

    def git(self, *words: str) -> None:
        """A command of git that must succeed."""
        who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
        subprocess.run(["git", *who, *words], cwd=self.root, check=True)

    def replace(self, file: Path, old: str, new: str) -> None:
        """Edit a text in place.

        Raises:
            ValueError: `old` does not stand there.
        """
        text = (self.root / file).read_text()
        if old not in text:
            raise ValueError(f"{file}: {old!r} is not there")
        (self.root / file).write_text(text.replace(old, new))

    def edit_and_rerun(self, way: str, share: float, choice: int) -> Edit:
        """Run on the base, edit meanwhile, run until up to date, compare."""
        self.git("checkout", "-qf", "base")
        forget(self.root)
        moment = share * self.usual
        with start(self.root, "run", TARGET, "--local") as process:
            time.sleep(moment)
            WAYS[way](self, choice)
            text, _ = process.communicate()
        was_told, runs = "; run again" in text, 1
        while not text.startswith("Everything is up to date") and runs < RUNS:
            with start(self.root, "run", TARGET, "--local") as process:
                text, _ = process.communicate()
            was_told |= "; run again" in text
            runs += 1
        if runs == RUNS:
            print(text)
        found = digests(self.root)
        return Edit(way, moment, was_told, runs, found == self.calm())

    def calm(self) -> dict[str, str]:
        """What a run on the present inputs makes where nothing was made before."""
        inputs = [BOXES, PARAMS, *(file for file, _, _ in CODE)]
        state = hashlib.sha256(b"\0".join((self.root / file).read_bytes() for file in inputs))
        key = state.hexdigest()
        if key not in self._calm:
            forget(self.root)
            pipelines(self.root, "run", TARGET, "--local")
            self._calm[key] = digests(self.root)
            if labels_of(self._calm[key]) == labels_of(self.base):
                raise RuntimeError("an edit that changes nothing shows nothing")
        return self._calm[key]


def labels_of(files: dict[str, str]) -> dict[str, str]:
    """The final ones."""
    return {path: md5 for path, md5 in files.items() if path.startswith("data/crf_refine")}


def copy_data_set(scenes: Path, target: Path) -> None:
    """The drawn images and their boxes as a plain folder."""
    rows = ["file,split,category,x0,y0,x1,y1"]
    target.mkdir(parents=True)
    for split in ("train", "val"):
        (listing,) = scenes.glob(f"annotations/instances_{split}*.json")
        content = json.loads(listing.read_text())
        names = {entry["id"]: entry["name"] for entry in content["categories"]}
        files = {entry["id"]: entry["file_name"] for entry in content["images"]}
        for name in files.values():
            (source,) = scenes.rglob(name)
            (target / name).write_bytes(source.read_bytes())
        for entry in content["annotations"]:
            x, y, width, height = entry["bbox"]
            file, category = files[entry["image_id"]], names[entry["category_id"]]
            rows.append(f"{file},{split},{category},{x},{y},{x + width},{y + height}")
    (target / "boxes.csv").write_text("\n".join(rows) + "\n")


def move_a_box(workspace: Workspace, choice: int) -> None:
    """Its right side to the middle, so that half of it is gone."""
    path = workspace.root / BOXES
    lines = path.read_text().splitlines()
    *others, x0, y0, x1, y1 = lines[choice + 1].split(",")
    lines[choice + 1] = ",".join([*others, x0, y0, str((float(x0) + float(x1)) / 2), y1])
    path.write_text("\n".join(lines) + "\n")


def write_a_number(workspace: Workspace, choice: int) -> None:
    """By hand, without `use`, which would wait for the run."""
    workspace.replace(PARAMS, *NUMBERS[choice])


def write_code(workspace: Workspace, choice: int) -> None:
    """One file of models/."""
    workspace.replace(*CODE[choice])


def check_out(workspace: Workspace, choice: int) -> None:
    """Other boxes and another number, from git."""
    workspace.git("checkout", "-q", "other")


WAYS: dict[str, Callable[[Workspace, int], None]] = {
    "box": move_a_box,
    "params": write_a_number,
    "code": write_code,
    "checkout": check_out,
}


def print_table(edits: Sequence[Edit]) -> None:
    """One row per way."""
    good = sum(edit.is_equal for edit in edits)
    table = Table(title=f"after {good} of {len(edits)} edits under a run: labels of a calm run")
    for column in ("edited", "moments", "equal", "said what changed", "runs until up to date"):
        table.add_column(column, justify="right")
    for way in WAYS:
        those = [edit for edit in edits if edit.way == way]
        if those:
            table.add_row(
                way,
                str(len(those)),
                str(sum(edit.is_equal for edit in those)),
                str(sum(edit.was_told for edit in those)),
                f"{sum(edit.runs for edit in those) / len(those):.1f}",
            )
    Console(width=100).print(table)


if __name__ == "__main__":
    sys.exit(main())
