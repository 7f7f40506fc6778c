"""What dvc.yaml declares: its stages, whether they ever ran or not, and what their outputs are."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

from pipelines.graph.dvc_private import files_read, opening, stages_of
from pipelines.graph.revisions import WORKSPACE, Record, Revision, read_graph
from stages.engine.errors import InputError
from stages.io.declarations import Node, Output, resolve_nodes

#: The types that an output has by its section of a stage, without a word beside it.
BY_SECTION = ("", "measures", "curves")


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


def declared_outputs(root: Path, revision: Revision) -> dict[str, Output]:
    """What the outputs of a revision are, by path, in the order of its dvc.yaml.

    A revision whose dvc.yaml does not say so yet is read with the words of the workspace's: an
    output there of the same stage and file name.
    """
    nodes = _nodes(root, revision)
    own = {output.path: output for node in nodes for output in node.outputs}
    recorded = {out: name for name, stage in revision.stages.items() for out in stage.outs}
    if any(output.labels or output.type not in BY_SECTION for output in own.values()):
        return {  # by the stage that has made it; dvc.yaml may have been edited since
            path: replace(output, stage=recorded[path])
            for path, output in own.items()
            if path in recorded
        }
    now = Revision(WORKSPACE, None, revision.when, "", {})
    by_name = {
        (node.stage, PurePosixPath(output.path).name): output
        for node in _nodes(root, now)
        for output in node.outputs
    }
    outputs = {}
    for path in [path for path in own if path in recorded] or recorded:
        stage = recorded[path]
        output = by_name.get((stage.partition("@")[0], PurePosixPath(path).name)) or own.get(path)
        if output is not None:
            outputs[path] = replace(output, path=path, stage=stage)
    return outputs


def _nodes(root: Path, revision: Revision) -> list[Node]:
    try:
        return resolve_nodes({"stages": read_graph(root, revision)}, {})
    except (TypeError, AttributeError, KeyError):  # no dvc.yaml of DVC 3
        return []
