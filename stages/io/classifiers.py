"""The trained classifier: weights.pt and, in weights.json, what it takes to build it again."""

from dataclasses import dataclass
from pathlib import Path

from models.cam import CamClassifier, build_classifier
from stages.io.checkpoints import read_weights, read_weights_params, save_weights
from stages.io.errors import InputError


@dataclass(frozen=True)
class ClassifierSpec:
    """What a classifier is made of; plain values, as weights.json holds them.

    Attributes:
        method: "cam".
        backbone: a name of models.backbones.
        width: channel multiplier.
        output_stride: pixels per feature.
        categories: the label value of each logit, ascending.
    """

    method: str
    backbone: str
    width: float
    output_stride: int
    categories: tuple[int, ...]

    def build(self, *, dropout: float = 0.5, output_stride: int | None = None) -> CamClassifier:
        """The network with random weights; `output_stride` instead of its own.

        Dilation changes where the kernels look, not the weights: they serve at either stride.
        """
        return build_classifier(
            backbone=self.backbone,
            width=self.width,
            output_stride=output_stride or self.output_stride,
            categories=len(self.categories),
            dropout=dropout,
        )


def save_classifier(path: Path, network: CamClassifier, spec: ClassifierSpec) -> None:
    """Write weights.pt at `path` and weights.json beside it."""
    save_weights(path, network.state_dict(), {**vars(spec), "categories": list(spec.categories)})


def read_classifier_spec(path: Path) -> ClassifierSpec:
    """Read weights.json beside the weights at `path`.

    Raises:
        InputError: missing, or not what `save_classifier` wrote.
    """
    content = read_weights_params(path)
    try:
        categories = tuple(int(category) for category in content.pop("categories"))
        return ClassifierSpec(**content, categories=categories)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path.with_suffix('.json')}: not a classifier: {error}") from error


def read_classifier(
    path: Path, *, output_stride: int | None = None
) -> tuple[CamClassifier, ClassifierSpec]:
    """Read a trained classifier, in eval mode on the CPU; `.backbone` is its trained backbone.

    Args:
        path: weights.pt, with weights.json beside it.
        output_stride: pixels per feature, instead of the one in weights.json.

    Raises:
        InputError: a file is missing, or the weights do not fit weights.json.
    """
    spec = read_classifier_spec(path)
    state = read_weights(path)
    try:
        network = spec.build(output_stride=output_stride)
        network.load_state_dict(state, strict=True)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: does not fit the network of its .json: {reason}") from error
    return network.eval(), spec
