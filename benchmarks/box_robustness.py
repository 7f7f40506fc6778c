"""What inaccurate boxes cost: A2GNN's labels of the drawn images from boxes made worse on purpose.

python -m benchmarks.box_robustness CLONE [--margins 0.1 0.2] [--folder FOLDER] [--kinds KIND ...]

CLONE is a folder in which `make demo` has run (benchmarks.ladder_seeds leaves such clones). Its
classifier, which knows no boxes, is taken as it is; every stage between boxes and labels runs anew
for each kind of error, on the code of the present folder. Each class is then kept inside its own
boxes, inside boxes widened by a margin, or left free, which changes no probability of the network.
What is done lies in FOLDER, and a second call goes on.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.line import Line
from stages.engine.files import write_json
from stages.io.data_set import Dataset
from stages.io.tables import IMAGES, INSTANCES, read_rows, read_table, write_table

Sides = npt.NDArray[np.float64]


def shrunk(share: float) -> Callable[[np.random.Generator], Sides]:
    """Both sides of each direction come nearer by half of this share."""
    return lambda _: np.array([share, share, -share, -share]) / 2


def shifted(share: float) -> Callable[[np.random.Generator], Sides]:
    """The box moves by this share to the left or right and up or down."""

    def draw(generator: np.random.Generator) -> Sides:
        across, down = share * generator.choice([-1.0, 1.0], 2)
        return np.array([across, down, across, down])

    return draw


def cut(share: float) -> Callable[[np.random.Generator], Sides]:
    """One of the four sides moves inwards by this share."""

    def draw(generator: np.random.Generator) -> Sides:
        side = int(generator.integers(4))
        moves = np.zeros(4)
        moves[side] = share if side < 2 else -share
        return moves

    return draw


#: How x0, y0, x1, y1 move, as shares of the box's width and height.
KINDS: dict[str, Callable[[np.random.Generator], Sides]] = {
    "as drawn": shrunk(0.0),
    "one side cut by 30 %": cut(0.3),
    "shrunk by 10 %": shrunk(0.1),
    "shrunk by 20 %": shrunk(0.2),
    "shifted by 10 %": shifted(0.1),
}


def write_worse_boxes(
    data: Dataset, kind: str, generator: np.random.Generator, out: Path
) -> Dataset:
    """Write the tables of `data` into `out` with every box made worse, clipped to its image."""
    rows = read_rows(data.table("images"), IMAGES)
    sizes = {row["image_id"]: (row["width"], row["height"]) for row in rows}
    table = read_table(data.table("instances"), INSTANCES)
    columns = ["x0", "y0", "x1", "y1"]
    corners = table[columns].to_numpy(dtype=np.float64)
    sides = np.tile(corners[:, 2:] - corners[:, :2], 2)
    moves = np.stack([KINDS[kind](generator) for _ in corners])
    limits = np.tile(np.array([sizes[image_id] for image_id in table["image_id"]], float), 2)
    table[columns] = np.clip(corners + moves * sides, 0, limits).astype(np.float32)
    out.mkdir(parents=True, exist_ok=True)
    for file in data.files:
        shutil.copy(file, out)
    worse = Dataset(out, data.root)
    write_table(worse.table("instances"), table, INSTANCES)
    return worse


def measure_kind(line: Line, kind: str, margins: list[float], seed: int, out: Path) -> None:
    """Write the mIoU of every way of keeping classes inside boxes, without and with CRF."""
    data = write_worse_boxes(line.data, kind, np.random.default_rng(seed), out / "dataset")
    line.train(data, out)
    ways = {f"boxes + {margin:g}" if margin else "own boxes": margin for margin in [0.0, *margins]}
    found = {}
    for way, margin in [*ways.items(), ("free", None)]:
        place: dict[str, object] = {"inside_boxes": margin is not None, "box_margin": margin or 0}
        maps, folder = out / "average/maps", out / way.replace(" ", "_")
        # without a step of the CRF its labels are those of the probabilities
        found[way] = line.measure(data, maps, folder / "plain", iterations=0, **place)
        found[f"{way}, CRF"] = line.measure(data, maps, folder / "crf", **place)
    write_json(out / "miou.json", found)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clone", type=Path)
    parser.add_argument("--margins", type=float, nargs="*", default=[0.1, 0.2])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0, help="of the errors")
    parser.add_argument("--folder", type=Path, help="default: a temporary one")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="boxes-"))
    line = Line(arguments.clone)
    for number, kind in enumerate(arguments.kinds):
        out = folder / kind.replace(" ", "_").replace("%", "percent")
        if not (out / "miou.json").exists():
            measure_kind(line, kind, arguments.margins, arguments.seed, out)
        found = json.loads((out / "miou.json").read_text())
        if number == 0:
            print(f"{'mIoU, percent':24}" + "".join(f"{way:>18}" for way in found))
        print(f"{kind:24}" + "".join(f"{value:18.1f}" for value in found.values()), flush=True)


if __name__ == "__main__":
    main()
