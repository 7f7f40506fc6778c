"""The rows of the ablation: what differs from the whole, and what the paper has there.

A2GNN's tables 4 and 6 are mIoU of pseudo labels on VOC's training images, after its CRF.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

CAM, WALK, A2GNN = "seeds_fuse/cam", "walk_label/maps", "a2gnn_label/maps"
AVERAGE = "maps_average/maps"
M_F = "data/seeds_fuse/fused"


@dataclass(frozen=True)
class Row:
    """One run of the line.

    Attributes:
        table: of the paper, or "ours".
        name: unique within its table.
        paper: the paper's mIoU in percent, if it has one.
        numbers: "section.key=value" of params.yaml, beside the default.
        source: below data/, the labels or probabilities that are measured.
        seeds: by stage, the folder that takes the place of the confident seeds.
    """

    table: str
    name: str
    paper: float | None = None
    numbers: tuple[str, ...] = ()
    source: str = A2GNN
    seeds: Mapping[str, str] = field(default_factory=dict)

    @property
    def stage(self) -> str:
        """The stage that makes the source."""
        return self.source.split("/")[0]

    @property
    def slug(self) -> str:
        """A file name."""
        text = f"{self.table} {self.name}".lower()
        return "-".join("".join(c if c.isalnum() else " " for c in text).split())


_NO_REG = "a2gnn_label.regularizer=0"
_NO_POINTS = "a2gnn_label.multi_point=0"
_UNCHECKED = "a2gnn_label.consistency=false"
_NO_AR = "affinity_train.regularizer=0"
_TAGS = "seeds_fuse.labels=[tag]"
_SEAM = "classifier_train.method=seam"

ROWS = (
    Row("4a", "baseline: CAM, background outside the boxes", 62.3, source=CAM),
    Row("4a", "+ affinity CNN by L_Ac, walk", 70.3, (_NO_AR,), WALK),
    Row("4a", "+ L_Ar, walk", 71.3, (), WALK),
    Row("4a", "+ affinity attention", 73.8, (_NO_REG, _NO_POINTS, _UNCHECKED)),
    Row("4a", "+ L_reg", 74.9, (_NO_POINTS, _UNCHECKED)),
    Row("4a", "+ L_mp", 78.1, (_UNCHECKED,)),
    Row("4a", "+ consistency: the whole", 78.8),
    Row("4b", "L_ce", 73.8, (_NO_REG, _NO_POINTS, _UNCHECKED)),
    Row("4b", "L_ce + L_reg", 74.9, (_NO_POINTS, _UNCHECKED)),
    Row("4b", "L_ce + L_mp", 75.9, (_NO_REG, _UNCHECKED)),
    Row("4b", "L_ce + L_mp + consistency", 77.2, (_NO_REG,)),
    Row("4b", "L_ce + L_reg + L_mp", 78.1, (_UNCHECKED,)),
    Row("4b", "all", 78.8),
    Row(
        "4c",
        "superpixels, distance of features",
        73.3,
        ("graph_build.nodes=superpixels", "graph_build.edges=features"),
    ),
    Row("4c", "cells, distance of features", 74.7, ("graph_build.edges=features",)),
    Row("4c", "cells, affinity CNN", 78.8),
    Row("4d", "cosine alone", 73.1, ("a2gnn_label.beta=0",)),
    Row("4d", "edges alone", 77.3, ("a2gnn_label.cosine=false",)),
    Row("4d", "both", 78.8),
    Row("4e", "L_Ac, affinity CNN from M_F", 74.5, (_NO_AR,), seeds={"affinity_train": M_F}),
    Row("4e", "L_Ac, affinity CNN from M_g", 71.7, (_NO_AR,)),
    Row("4e", "L_Ac + L_Ar, affinity CNN from M_F", 76.1, seeds={"affinity_train": M_F}),
    Row("4e", "L_Ac + L_Ar, affinity CNN from M_g", 78.8),
    Row("6.3", "A2GNN from M_F", 73.2, seeds={"a2gnn_label": M_F}),
    Row("6.3", "A2GNN from M_g", 78.8),
    Row("6", "tags: CAM", source=CAM, numbers=(_TAGS,)),
    Row("6", "tags: walk", source=WALK, numbers=(_TAGS,)),
    Row("6", "tags: walk from SEAM", 63.6, (_TAGS, _SEAM), WALK),
    Row("6", "tags: A2GNN and walk", 65.3, (_TAGS,), AVERAGE),
    Row("6", "tags: A2GNN and walk from SEAM", 65.3, (_TAGS, _SEAM), AVERAGE),
    Row("6", "points: A2GNN", numbers=("seeds_fuse.labels=[point]",), source=AVERAGE),
    Row("6", "scribbles: A2GNN", numbers=("seeds_fuse.labels=[scribble]",), source=AVERAGE),
    Row("6", "boxes: GrabCut alone", source="grabcut_seeds/labels"),
    Row("6", "boxes: A2GNN", 78.8),
    Row("ours", "window: square", numbers=("affinity_train.window=square",)),
    Row("ours", "nodes: features of the affinity CNN", numbers=("graph_build.features=affinity",)),
    Row("ours", "affinity CNN in float32", numbers=("affinity_train.precision=32-true",)),
    Row("ours", "affinity CNN in bfloat16", numbers=("affinity_train.precision=bf16-mixed",)),
    Row("ours", "no background inside boxes", numbers=("seeds_fuse.inside_background=0",)),
    Row("ours", "all activations trusted", numbers=("seeds_fuse.trust=-1",)),
    Row("ours", "eq. 5 as printed", numbers=("seeds_fuse.confident_rule=printed",)),
    Row(
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
    Row(
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
