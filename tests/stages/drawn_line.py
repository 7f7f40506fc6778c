"""The stages that treat images one by one, in their order, in this process, on drawn images.

The networks have random weights that stay, as after `./seedmask freeze`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from models.a2gnn.affinity import AffinitySpec
from models.boxmask.network import BoxMaskSpec
from models.cam import ClassifierSpec
from models.scenes.creatures import NAMES
from stages import (
    a2gnn_label,
    boxmask_infer,
    classifier_infer,
    crf_refine,
    dataset,
    grabcut_seeds,
    graph_build,
    scenes,
    seeds_fuse,
    walk_label,
)
from stages.engine import parallel
from stages.engine.command import parse_section, read_params_file
from stages.engine.memo import Memo
from stages.io.data_set import Dataset
from stages.io.networks import save_network
from tests.training_set import TrainingSet

STAGES = (
    "classifier_infer",
    "grabcut_seeds",
    "boxmask_infer",
    "seeds_fuse",
    "graph_build",
    "walk_label",
    "a2gnn_label",
    "crf_refine",
)


@dataclass(frozen=True)
class Run:
    """What one run of the line did, per stage.

    Attributes:
        files: content by path.
        computed: the number of images of which the memo store got a new outcome.
    """

    files: Mapping[str, Mapping[str, bytes]]
    computed: Mapping[str, int]


class DrawnLine:
    """A data set of drawn images and the way from there to labels.

    Attributes:
        images: the training images; the last one drawn is not among them at first.
    """

    def __init__(self, root: Path, count: int) -> None:
        self.root = root
        self.runs = 0
        self.sections = read_params_file(Path("params.yaml"))
        for section, values in read_params_file(Path("presets/tiny.yaml")).items():
            self.sections[section] |= values
        self.sections["classifier_infer"]["output_stride"] = 8  # resnet38d has no other
        small = {"train_images": count + 1, "val_images": 1, "width": 64, "height": 64}
        scenes.scenes(self._params(scenes, small), root / "drawn")
        self.images = TrainingSet(root / "drawn", root / "mine")
        self.images.remove(self.images.names[-1])
        torch.manual_seed(0)
        spec = ClassifierSpec("cam", "resnet38d", 0.05, 8, tuple(range(1, len(NAMES) + 1)))
        save_network(root / "classifier.pt", spec.build(), spec)
        affinity = AffinitySpec("resnet38d", 0.03, 8, (8, 8, 8), 2, "disc")
        save_network(root / "affinity.pt", affinity.build(), affinity)
        boxmask = BoxMaskSpec("resnet38d", 0.03, 32, 0.25, 2, (4, 4, 4))
        save_network(root / "networks" / "0.pt", boxmask.build(), boxmask)

    def run(self, memo: Path, **changes: Mapping[str, Any]) -> Run:
        """Run all into a folder of its own.

        Args:
            memo: folder of the memo store.
            changes: by stage, parameters that differ from preset tiny.
        """
        self.runs += 1
        out = self.root / f"run{self.runs}"
        before = kept(memo)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SEEDMASK_WORKERS", "1")
            patch.setattr(parallel, "Memo", partial(Memo, folder=memo))
            for stage in self._line(out, changes):
                stage()
        after = kept(memo)
        return Run(
            {
                name: {
                    str(path.relative_to(out)): path.read_bytes()
                    for path in sorted((out / name).rglob("*"))
                    if path.is_file()
                }
                for name in STAGES
            },
            {name: len(after[name] - before[name]) for name in STAGES},
        )

    def _line(
        self, out: Path, changes: Mapping[str, Mapping[str, Any]]
    ) -> list[Callable[[], None]]:
        root = self.root / "mine"
        data = Dataset(out / "dataset", root)
        graphs, maps = out / "graph_build/graphs", out / "a2gnn_label/maps"

        def stage(module: Any, **paths: Any) -> Callable[[], None]:
            name = module.__name__.removeprefix("stages.")
            params = self._params(module, changes.get(name, {}))
            return partial(getattr(module, name), params, out=out / name, **paths)

        return [
            stage(dataset, root=root),
            stage(
                classifier_infer,
                data=data,
                weights=self.root / "classifier.pt",
            ),
            stage(grabcut_seeds, data=data),
            stage(
                boxmask_infer,
                data=data,
                cuts=out / "grabcut_seeds/instances.parquet",
                networks=self.root / "networks",
            ),
            stage(
                seeds_fuse,
                data=data,
                cams=out / "classifier_infer/maps",
                cuts=out / "grabcut_seeds/labels",
            ),
            stage(graph_build, data=data, weights=self.root / "affinity.pt"),
            stage(
                walk_label,
                data=data,
                graphs=graphs,
                seeds=out / "seeds_fuse/fused",
                cams=out / "classifier_infer/maps",
            ),
            stage(
                a2gnn_label,
                data=data,
                graphs=graphs,
                seeds=out / "seeds_fuse/confident",
            ),
            stage(crf_refine, data=data, split="train", source=maps),
        ]

    def _params(self, module: Any, changes: Mapping[str, Any]) -> Any:
        name = module.__name__.removeprefix("stages.")
        return parse_section(module.Params, self.sections[name] | changes, f"params.yaml: {name}")


def kept(memo: Path) -> dict[str, set[Path]]:
    """The outcomes in a memo store, per stage."""
    return {name: {path for path in (memo / name).rglob("*") if path.is_file()} for name in STAGES}
