"""A2GNN's ablation studies (tables 4 and 6) and rows of our own.

The paper's are mIoU of pseudo labels on VOC's training images, after its CRF. Measured is the mIoU
of the training images, in percent, of the source's labels as they are, after the CRF, and of both
with no class kept inside its own boxes (free).
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from benchmarks.ablation_study import Found, Row, Study
from benchmarks.line import Line

CAM, WALK, A2GNN = "seeds_fuse/cam", "walk_label/maps", "a2gnn_label/maps"
AVERAGE = "maps_average/maps"
M_F = "data/seeds_fuse/fused"
#: The columns of the table, and what of the CRF makes each.
RULERS: dict[str, dict[str, object]] = {
    "labels": {"iterations": 0},
    "labels + CRF": {},
    "free": {"iterations": 0, "inside_boxes": False},
    "free + CRF": {"inside_boxes": False},
}


def _row(
    table: str,
    name: str,
    paper: float | None = None,
    numbers: tuple[str, ...] = (),
    source: str = A2GNN,
    seeds: Mapping[str, str] | None = None,
) -> Row:
    return Row(table, name, source, paper, numbers, seeds or {})


def measure(clone: Path, row: Row) -> Found:
    """The mIoU of a row's source by each ruler."""
    line, out = Line(clone), clone / ".seedmask/measured"
    found = {}
    for column, changes in RULERS.items():
        shutil.rmtree(out, ignore_errors=True)
        found[column] = line.measure(line.data, line.made / row.source, out, **changes)
    return found


_NO_REG = "a2gnn_label.regularizer=0"
_NO_POINTS = "a2gnn_label.multi_point=0"
_UNCHECKED = "a2gnn_label.consistency=false"
_NO_AR = "affinity_train.regularizer=0"
_TAGS = "seeds_fuse.labels=[tag]"
_SEAM = "classifier_train.method=seam"

ROWS = (
    _row("4a", "baseline: CAM, background outside the boxes", 62.3, source=CAM),
    _row("4a", "+ affinity CNN by L_Ac, walk", 70.3, (_NO_AR,), WALK),
    _row("4a", "+ L_Ar, walk", 71.3, (), WALK),
    _row("4a", "+ affinity attention", 73.8, (_NO_REG, _NO_POINTS, _UNCHECKED)),
    _row("4a", "+ L_reg", 74.9, (_NO_POINTS, _UNCHECKED)),
    _row("4a", "+ L_mp", 78.1, (_UNCHECKED,)),
    _row("4a", "+ consistency: the whole", 78.8),
    _row("4b", "L_ce", 73.8, (_NO_REG, _NO_POINTS, _UNCHECKED)),
    _row("4b", "L_ce + L_reg", 74.9, (_NO_POINTS, _UNCHECKED)),
    _row("4b", "L_ce + L_mp", 75.9, (_NO_REG, _UNCHECKED)),
    _row("4b", "L_ce + L_mp + consistency", 77.2, (_NO_REG,)),
    _row("4b", "L_ce + L_reg + L_mp", 78.1, (_UNCHECKED,)),
    _row("4b", "all", 78.8),
    _row(
        "4c",
        "superpixels, distance of features",
        73.3,
        ("graph_build.nodes=superpixels", "graph_build.edges=features"),
    ),
    _row("4c", "cells, distance of features", 74.7, ("graph_build.edges=features",)),
    _row("4c", "cells, affinity CNN", 78.8),
    _row("4d", "cosine alone", 73.1, ("a2gnn_label.beta=0",)),
    _row("4d", "edges alone", 77.3, ("a2gnn_label.cosine=false",)),
    _row("4d", "both", 78.8),
    _row("4e", "L_Ac, affinity CNN from M_F", 74.5, (_NO_AR,), seeds={"affinity_train": M_F}),
    _row("4e", "L_Ac, affinity CNN from M_g", 71.7, (_NO_AR,)),
    _row("4e", "L_Ac + L_Ar, affinity CNN from M_F", 76.1, seeds={"affinity_train": M_F}),
    _row("4e", "L_Ac + L_Ar, affinity CNN from M_g", 78.8),
    _row("6.3", "A2GNN from M_F", 73.2, seeds={"a2gnn_label": M_F}),
    _row("6.3", "A2GNN from M_g", 78.8),
    _row("6", "tags: CAM", source=CAM, numbers=(_TAGS,)),
    _row("6", "tags: walk", source=WALK, numbers=(_TAGS,)),
    _row("6", "tags: walk from SEAM", 63.6, (_TAGS, _SEAM), WALK),
    _row("6", "tags: A2GNN and walk", 65.3, (_TAGS,), AVERAGE),
    _row("6", "tags: A2GNN and walk from SEAM", 65.3, (_TAGS, _SEAM), AVERAGE),
    _row("6", "points: A2GNN", numbers=("seeds_fuse.labels=[point]",), source=AVERAGE),
    _row("6", "scribbles: A2GNN", numbers=("seeds_fuse.labels=[scribble]",), source=AVERAGE),
    _row("6", "boxes: GrabCut alone", source="grabcut_seeds/labels"),
    _row("6", "boxes: A2GNN", 78.8),
    _row("ours", "window: square", numbers=("affinity_train.window=square",)),
    _row("ours", "nodes: features of the affinity CNN", numbers=("graph_build.features=affinity",)),
    _row("ours", "affinity CNN in float32", numbers=("affinity_train.precision=32-true",)),
    _row("ours", "affinity CNN in bfloat16", numbers=("affinity_train.precision=bf16-mixed",)),
    _row("ours", "no background inside boxes", numbers=("seeds_fuse.inside_background=0",)),
    _row("ours", "all activations trusted", numbers=("seeds_fuse.trust=-1",)),
    _row("ours", "eq. 5 as printed", numbers=("seeds_fuse.confident_rule=printed",)),
    _row(
        "ours",
        "numbers of the paper",
        numbers=(
            "seeds_fuse.inside_background=0",
            "seeds_fuse.trust=-1",
            "affinity_train.balance=paper",
            "a2gnn_label.surroundings=0",
            "a2gnn_label.first_epochs=50",
            "a2gnn_label.second_epochs=50",
        ),
    ),
    _row(
        "ours",
        "numbers of the public code",
        numbers=(
            "seeds_fuse.inside_background=0",
            "seeds_fuse.trust=-1",
            "affinity_train.window=square",
            "affinity_train.radius=4",
            "affinity_train.learning_rate=0.01",
            "a2gnn_label.surroundings=0",
            "a2gnn_label.first_epochs=150",
            "a2gnn_label.second_epochs=150",
            "a2gnn_label.learning_rate=0.035",
            "a2gnn_label.cross_entropy=balanced",
            "a2gnn_label.points=logit",
        ),
    ),
)

STUDY = Study(ROWS, tuple(RULERS), measure)
