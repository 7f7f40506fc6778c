"""`python -m pipelines.graph.dvc_private ARGUMENTS of dvc...`: DVC that hashes what it restores.

DVC takes an object of its cache for whole as long as it is read-only: a damaged one would be
checked out and recorded as if it were right, and a damaged list of a folder may end it in a
traceback. Two of its functions are replaced, both as in DVC 3.67: `Tree.load`, which reads the list
of a folder, and `Stage.outs_cached`, which the run cache asks before it checks anything out. What
is damaged counts as missing, so the stage is computed anew.
"""

import sys
from pathlib import Path
from typing import Any

from dvc.cli import main
from dvc.fs import LocalFileSystem
from dvc.stage import Stage
from dvc_data.hashfile.tree import Tree
from dvc_objects.errors import ObjectFormatError

from pipelines.graph.damage import drop_damaged, place_of, problem_of

load = Tree.load
outs_cached = Stage.outs_cached


def refuse_damaged_lists() -> None:
    """In this process the list of a folder counts as missing when its md5 is another."""

    def checked(odb: Any, hash_info: Any, hash_name: str | None = None) -> Any:
        if isinstance(odb.fs, LocalFileSystem):
            problem = problem_of(place_of(Path(odb.path), hash_info.value), hash_info.value)
            if problem:
                raise ObjectFormatError(problem)
        return load(odb, hash_info, hash_name)

    Tree.load = checked  # type: ignore[method-assign]


def drop_what_cannot_be_restored() -> None:
    """In this process damaged objects are dropped before the run cache restores them, and said."""

    def checked(stage: Any) -> bool:
        is_sound = True
        for out in stage.outs:
            if out.hash_info:
                for line in drop_damaged(Path(out.cache.path), out.hash_info.value):
                    print(f"{line}, so {out} is made anew", flush=True)
                    is_sound = False
        return is_sound and bool(outs_cached(stage))

    Stage.outs_cached = checked


if __name__ == "__main__":
    refuse_damaged_lists()
    drop_what_cannot_be_restored()
    sys.exit(main(sys.argv[1:]))
