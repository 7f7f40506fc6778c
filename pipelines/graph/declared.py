"""The stages that dvc.yaml declares, whether they ever ran or not."""

from pathlib import Path

from pipelines.graph.dvc_private import files_read, opening, stages_of
from pipelines.graph.revisions import Record
from stages.engine.errors import InputError


def declared_stages(root: Path) -> dict[str, Record]:
    """By name, in the order of dvc.yaml; without hashes, params or size: nothing is looked at.

    Raises:
        InputError: DVC cannot read dvc.yaml, or cannot work in this folder.
    """
    try:
        with opening(root) as repo:
            return {
                name: Record(
                    name,
                    str(stage.cmd),
                    dict.fromkeys(files_read(stage), ""),
                    {},
                    {},
                    {},
                    {str(out.def_path): "" for out in stage.outs},
                    0,
                )
                for name, stage in stages_of(repo).items()
            }
    except OSError as error:
        raise InputError(f"{root / 'dvc.yaml'}: {error.strerror}") from error
