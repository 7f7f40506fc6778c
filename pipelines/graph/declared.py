"""The stages that dvc.yaml declares, whether they ever ran or not."""

from pathlib import Path

from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.repo import Repo

from pipelines.graph.revisions import Record
from stages.engine.errors import InputError


def declared_stages(root: Path) -> dict[str, Record]:
    """By name, in the order of dvc.yaml; without hashes, params or size: nothing is looked at.

    Raises:
        InputError: DVC cannot read dvc.yaml, or cannot work in this folder.
    """
    try:
        with Repo(str(root)) as repo:
            stages = [stage for stage in repo.index.stages if not stage.is_data_source]
            return {
                str(stage.name): Record(
                    str(stage.name),
                    str(stage.cmd),
                    {
                        str(dep.def_path): ""
                        for dep in stage.deps
                        if not isinstance(dep, ParamsDependency)
                    },
                    {},
                    {},
                    {},
                    {str(out.def_path): "" for out in stage.outs},
                    0,
                )
                for stage in stages
            }
    except (DvcException, OSError) as error:
        raise InputError(f"{root / 'dvc.yaml'}: {' '.join(str(error).split())}") from error
