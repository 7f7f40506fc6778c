"""Keep what a stage made, whatever becomes of its inputs: `frozen: true` in dvc.yaml.

`dvc freeze` does the same, but not with a stage whose command holds a ${parameter}.
"""

from collections.abc import Sequence
from pathlib import Path

from pipelines.graph.commented_yaml import dump_commented, load_commented
from pipelines.graph.dvc_yaml import body
from pipelines.graph.params import suggest
from stages.engine.errors import InputError
from stages.engine.files import write_bytes


def freeze(root: Path, names: Sequence[str], *, frozen: bool = True) -> None:
    """Write in dvc.yaml that stages are frozen, or with `frozen=False` that they no longer are.

    Args:
        root: the repository.
        names: as in dvc.yaml; a foreach is frozen as a whole.
        frozen: which of the two.

    Raises:
        InputError: an unknown stage; nothing is written.
    """
    path = root / "dvc.yaml"
    content = load_commented(path.read_text())
    stages = content["stages"]
    for name in names:
        if name not in stages:
            raise InputError(f"{path}: no stage {name!r}; {suggest(name, list(stages))}")
        entry = body(stages[name])
        entry.pop("frozen", None)
        if frozen:
            entry.insert(list(entry).index("cmd"), "frozen", True)
    write_bytes(path, dump_commented(content).encode())
