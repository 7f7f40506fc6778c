"""The backbone weights that params.yaml names: a file in data/raw/weights, or torchvision's."""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.engine.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_FOLDER = Path("data/raw/weights")


def initial_weights(name: str, backbone: str) -> "dict[str, Tensor] | None":
    """The weights to start from.

    Args:
        name: "none" (random start), a file in data/raw/weights, or a torchvision enum value such
            as "MobileNet_V2_Weights.IMAGENET1K_V1" (which torchvision may have to download).
        backbone: a name of models.backbones.

    Returns:
        A state_dict in torchvision's naming, or None.

    Raises:
        InputError: they are not there or cannot be read; begins with "weights: ".
    """
    from stages.io.weights import read_weights  # loads torch, which a plan need not

    if name == "none":
        return None
    if lacking := lacking_weights(name, backbone):
        raise InputError(lacking)
    if _is_torchvision(name):
        from torchvision.models import get_weight  # takes a second, and few need it

        try:
            return dict(get_weight(name).get_state_dict(check_hash=True))
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"weights: {name!r} could not be downloaded: {error}; put the file in "
                f"{WEIGHTS_FOLDER} and name it"
            ) from error
    try:
        return read_weights(WEIGHTS_FOLDER / name)
    except InputError as error:
        raise InputError(f"weights: {error}") from error


def initial_weights_files(name: str) -> tuple[Path, ...]:
    """The file that `initial_weights(name)` reads in data/raw/weights, if it is one."""
    return () if name == "none" or _is_torchvision(name) else (WEIGHTS_FOLDER / name,)


def lacking_weights(name: str, backbone: str, root: Path = Path()) -> str:
    """What `initial_weights` would not find, and what to do; empty when nothing is wrong.

    Args:
        name: see `initial_weights`.
        backbone: see `initial_weights`.
        root: the repository.
    """
    if name == "none" or (Path(name).name == name and (root / WEIGHTS_FOLDER / name).is_file()):
        return ""
    instead = _torchvision_names(backbone)
    if _is_torchvision(name):
        from torchvision.models import get_weight

        try:
            get_weight(name)
        except (ValueError, KeyError, AttributeError):
            known = f"; {backbone} has {', '.join(instead)}" if instead else ""
            return f"weights: {name!r} is not a torchvision enum value{known}"
        return ""
    if Path(name).name != name:
        return f"weights: {name!r} must be a file name inside {WEIGHTS_FOLDER}"
    other = f", or name {instead[0]!r}, which torchvision downloads" if instead else ""
    return f"weights: {WEIGHTS_FOLDER / name} is missing; put the file there{other}"


def _is_torchvision(name: str) -> bool:
    return "_Weights." in name


def _torchvision_names(backbone: str) -> list[str]:
    """The enum values that torchvision has for a backbone; none for one that it does not know."""
    from torchvision.models import get_model_weights

    try:
        return [str(value) for value in get_model_weights(backbone)]
    except ValueError:
        return []
