"""The stages between boxes and labels, called one by one on what a run has left in a clone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.a2gnn_label import a2gnn_label
from stages.affinity_train import affinity_train
from stages.boxmask_infer import boxmask_infer
from stages.boxmask_train import boxmask_train
from stages.crf_refine import crf_refine
from stages.engine.command import parse_section, read_params_file
from stages.grabcut_seeds import grabcut_seeds
from stages.graph_build import graph_build
from stages.io.data_set import Dataset
from stages.labels_eval import labels_eval
from stages.maps_average import maps_average
from stages.seeds_fuse import seeds_fuse
from stages.walk_label import walk_label


class Line:
    """The stages from boxes to labels, with the classifier and the parameters of a clone."""

    def __init__(self, clone: Path) -> None:
        self.made = clone / "data"
        self.sections = read_params_file(clone / "params.yaml")
        kinds = tuple(self.sections["seeds_fuse"]["labels"])
        root = clone / self.sections["dataset"]["root"]
        self.data = Dataset(self.made / "dataset", root, kinds)

    def params(self, stage: Callable[..., None], **changes: object) -> Any:
        """The section of a stage with changes."""
        name, params_type = stage.__name__, stage.__annotations__["params"]
        return parse_section(params_type, self.sections[name] | changes, f"params.yaml: {name}")

    def train(self, data: Dataset, out: Path) -> None:
        """Everything from the boxes of `data` to the averaged probabilities, below `out`."""
        classifier = self.made / "classifier_train/weights.pt"
        cuts = out / "grabcut/instances.parquet"
        grabcut_seeds(self.params(grabcut_seeds), data, cuts.parent)
        masks = out / "boxmask"
        boxmask_train(self.params(boxmask_train), data, cuts, classifier, masks)
        boxmask_infer(self.params(boxmask_infer), data, cuts, masks / "networks", masks)
        cams = self.made / "classifier_infer/maps"
        fuse = self.params(seeds_fuse)
        seeds_fuse(fuse, data, cams, masks / "seeds", out / "seeds")
        seeds = out / "seeds/confident"
        affinity = out / "affinity"
        pairs = out / "seeds/pairs"
        affinity_train(self.params(affinity_train), data, pairs, classifier, affinity)
        graph_build(self.params(graph_build), data, affinity / "weights.pt", out)
        a2gnn_label(self.params(a2gnn_label), data, out / "graphs", seeds, out / "a2gnn")
        walk, fused = out / "walk/maps", out / "seeds/fused"
        walk_label(self.params(walk_label), data, out / "graphs", fused, cams, walk.parent)
        maps_average(
            self.params(maps_average),
            data,
            out / "a2gnn/maps",
            masks / "maps",
            walk,
            out / "seeds/trust.parquet",
            out / "average",
        )

    def measure(self, data: Dataset, source: Path, out: Path, **changes: object) -> float:
        """The mIoU of the labels that the CRF makes of scores or labels, in percent.

        With `iterations=0` that of the source's own labels.
        """
        labels = out / "labels"
        crf_refine(self.params(crf_refine, **changes), data, "train", source, labels)
        truth = self.data.folder / "ground_truth/semantic"
        numbers = self.params(labels_eval)
        labels_eval(numbers, self.data, "train", truth, labels, out, "scores")
        return float(json.loads((out / "scores.json").read_text())["miou"])
