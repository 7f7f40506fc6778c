"""WSID-Net's ablation studies (tables 2 to 5 and 7) and rows of our own.

The paper's are the AP at IoU 0.5 on ILSO's test set. Measured are the salient instances that the
network finds in the validation images: AP at IoU 0.5 and 0.7, COCO's, whatever the class, and how
far their number is from the images' counts, in instances times a hundred.
"""

import json
from collections import Counter
from pathlib import Path

from benchmarks.ablation_study import Found, Row, Study
from stages.instances_eval import Params, instances_eval
from stages.io.data_set import Dataset
from stages.io.tables import INSTANCES, read_rows

FOUND = "wsid_infer/instances.parquet"
COLUMNS = ("AP50", "AP70", "AP", "count error")


def _row(table: str, name: str, paper: float | None = None, numbers: tuple[str, ...] = ()) -> Row:
    return Row(table, name, FOUND, paper, tuple(f"wsid_train.{number}" for number in numbers))


def measure(clone: Path, row: Row) -> Found:
    """Average precisions of the salient instances, and the mean error of their number."""
    made, out = clone / "data", clone / ".seedmask/measured"
    data, found = Dataset(made / "dataset"), made / row.source
    truth = data.folder / "ground_truth/instances.parquet"
    instances_eval(Params(), data, "val", truth, found, out, "found", "salient")
    measured = json.loads((out / "found.json").read_text())
    numbers = Counter(row["image_id"] for row in read_rows(found, INSTANCES))
    names = {image.image_id for image in data.images("val")}
    errors = [abs(numbers[name] - count) for name, count in data.counts().items() if name in names]
    precisions = [measured[f"any_{name}"] for name in ("ap50", "ap70", "map")]
    return dict(zip(COLUMNS, [*precisions, 100 * sum(errors) / len(errors)], strict=True))


_NO_ATTENTION = ("mixing=false", "mutual=none")
_NO_EDGES = ("enhancement=none",)
_NO_COUNTS = ("subitizing=0",)
_NO_ROUNDS = ("rounds=0",)
_IRN = (*_NO_ATTENTION, *_NO_EDGES, *_NO_COUNTS, *_NO_ROUNDS)

ROWS = (
    _row("2", "IRN: without attention, edges, rounds, counts", 57.1, _IRN),
    _row("2", "without attention (CA)", 64.3, _NO_ATTENTION),
    _row("2", "without edges (BE)", 65.2, _NO_EDGES),
    _row("2", "without counts (L_su)", 62.1, _NO_COUNTS),
    _row("2", "without rounds (PTS)", 63.9, _NO_ROUNDS),
    _row("2", "the whole", 68.3),
    _row("3", "attention without mixing", 66.1, ("mixing=false",)),
    _row("3", "mixing without attention", 66.8, ("mutual=none",)),
    _row("3", "places, then channels", 67.4, ("mutual=spatial_first",)),
    _row("3", "channels, then places", 67.2, ("mutual=channel_first",)),
    _row("3", "side by side", 68.3),
    _row("4", "streams without Canny", 65.0, ("enhancement=streams",)),
    _row("4", "Canny alone", 63.7, ("enhancement=canny",)),
    _row("4", "both", 68.3),
    _row("5", "thresholds 30 and 200", 67.4, ("canny=[30,200]",)),
    _row("5", "thresholds 230 and 260", 66.9, ("canny=[230,260]",)),
    _row("5", "by the median", 68.3),
    _row("7", "without the CRF", None, ("iterations=0",)),
    _row("7", "with it", 68.3),
    _row("ours", "rounds learn from all instances", None, ("keep_counted=false",)),
    _row("ours", "the backbone is trained too", None, ("train_backbone=true",)),
)
STUDY = Study(ROWS, COLUMNS, measure)
