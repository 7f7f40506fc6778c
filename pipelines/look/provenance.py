"""Where a file comes from: the stage, the numbers, the code and the run that made it."""

import difflib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipelines.graph.dvc_yaml import body
from pipelines.graph.journal import Entry, read_runs
from pipelines.graph.objects import MissingObject, Objects, file_md5
from pipelines.graph.result import Ending
from pipelines.graph.revisions import Commit, Record, Revision, read_graph, recorded_since
from pipelines.look.layers import Catalogue
from stages.engine.closure import CLOSURES
from stages.engine.errors import InputError


class FileState(StrEnum):
    """What lies on the disk now, against what dvc.lock of the revision records."""

    AS_RECORDED = "as recorded"
    MODIFIED = "modified"
    MISSING = "missing"


@dataclass(frozen=True)
class Provenance:
    """All that is known of an output, or of a file or folder in one.

    Attributes:
        path: relative to the repository.
        revision: as it was called.
        record: of the stage that made it: command, params, deps, outs.
        desc: of the stage, from dvc.yaml; empty where it has none.
        out: the output that is `path` or holds it.
        md5: DVC's hash of `path`; None for a folder inside an output.
        code_version: one hash over the source files that the stage depended on, 8 digits.
        run: the last run of this workspace that left the output with this hash.
        computed: the last of them that was not restored; often the same.
        state: of the file or folder on the disk.
        since: the oldest commit since which dvc.lock has had the output with this hash.
    """

    path: str
    revision: str
    record: Record
    desc: str
    out: str
    md5: str | None
    code_version: str
    run: Entry | None
    computed: Entry | None
    state: FileState
    since: Commit | None


def explain(objects: Objects, revision: Revision, file: str) -> Provenance | str:
    """Say where `file` comes from.

    Args:
        objects: of the repository.
        revision: in which it is asked; the file need not be on the disk.
        file: absolute, or relative to the repository.

    Returns:
        A line that says what it is when no stage has made it.

    Raises:
        InputError: nothing is known of it.
        MissingObject: the list of its folder is neither in the cache nor in the remote.
    """
    path = os.path.normpath(objects.root / file)
    if Path(path).is_relative_to(objects.root):
        path = str(Path(path).relative_to(objects.root))
    owner = revision.owner(path)
    if owner is not None:
        return _of_output(objects, revision, path, *owner)
    inside = [out for out in _outs(revision) if out.startswith(f"{path}/") or path == "."]
    if inside:
        raise InputError(f"{file}: holds outputs; ask for one of them: {', '.join(inside)}")
    line = next(filter(None, _lines(objects, revision, path)), None)
    if line is None:
        close = difflib.get_close_matches(path, [*_outs(revision), *_inputs(revision)], n=1)
        hint = f"did you mean {close[0]!r}?" if close else "expected an output, its folder or input"
        raise InputError(f"{file}: no stage of {revision.name} makes or reads it; {hint}")
    return f"{path}: {line}"


def code_version(record: Record) -> str:
    """One hash over the source files of a stage, 8 hexadecimal digits."""
    digest = hashlib.sha256()
    for path, md5 in sorted(record.code.items()):
        digest.update(f"{path} {md5}\n".encode())
    return digest.hexdigest()[:8]


def _of_output(
    objects: Objects, revision: Revision, path: str, record: Record, out: str
) -> Provenance:
    files = objects.files(revision, record, out)
    held = {name: md5 for name, md5 in files.items() if path in (out, name) or _is_in(name, path)}
    if not held and path != out:
        close = difflib.get_close_matches(path, list(files), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"{path}: not among the {len(files)} files of {out}{hint}")
    runs = [
        run for run in read_runs(objects.root, record.name) if run.outs.get(out) == record.outs[out]
    ]
    completed = [run for run in runs if run.ending is Ending.COMPLETED]
    return Provenance(
        path=path,
        revision=revision.name,
        record=record,
        desc=_desc(objects.root, revision, record.name),
        out=out,
        md5=record.outs[out] if path == out else files.get(path),
        code_version=code_version(record),
        run=runs[-1] if runs else None,
        computed=completed[-1] if completed else None,
        state=_state(objects.root, path, held),
        since=recorded_since(objects.root, revision, record.name, out),
    )


def _state(root: Path, path: str, files: Mapping[str, str]) -> FileState:
    output = root / path
    if not output.exists():
        return FileState.MISSING
    if output.is_dir():
        present = {
            file.relative_to(root).as_posix() for file in output.rglob("*") if not file.is_dir()
        }
        if present != files.keys():
            return FileState.MODIFIED
    is_same = all(
        (root / name).is_file() and file_md5(root / name) == md5 for name, md5 in files.items()
    )
    return FileState.AS_RECORDED if is_same else FileState.MODIFIED


def _desc(root: Path, revision: Revision, stage: str) -> str:
    entry = read_graph(root, revision).get(stage.partition("@")[0])
    return str(body(entry).get("desc", "")) if entry else ""


def _lines(objects: Objects, revision: Revision, path: str) -> Iterator[str | None]:
    """What `path` may be when it is no output; the first line that is not None holds."""
    yield _params_line(revision, path)
    yield _image_line(objects, revision, path)
    yield _code_line(objects, revision, path)
    yield _input_line(revision, path)
    if path.endswith(".py") and (objects.root / path).is_file():
        yield f"source code that no stage of {revision.name} depends on"


def _params_line(revision: Revision, path: str) -> str | None:
    if path != "params.yaml":
        return None
    readers = sum(bool(record.params) for record in revision.stages.values())
    return f"the numbers of the stages; {readers} in {revision.name} depend on sections of it"


def _image_line(objects: Objects, revision: Revision, path: str) -> str | None:
    try:
        catalogue = Catalogue(objects, revision)
    except (InputError, MissingObject):
        return None
    for image in catalogue.images.values():
        if os.path.normpath(image.path) == path:
            split = catalogue.splits[image.image_id]
            state = _state(objects.root, path, {path: image.md5})
            return (
                f"input image {image.image_id}, split {split}, {image.width} x {image.height} "
                f"pixels, md5 {image.md5}; on the disk: {state}"
            )
    return None


def _code_line(objects: Objects, revision: Revision, path: str) -> str | None:
    readers = [record.name for record in revision.stages.values() if path in record.code]
    if not readers:
        return None
    md5 = _file_hashes(objects, revision).get(path)
    state = "" if md5 is None else f", md5 {md5}, {_state(objects.root, path, {path: md5})}"
    return f"source code{state}; read by {', '.join(readers)}"


def _file_hashes(objects: Objects, revision: Revision) -> dict[str, str]:
    """MD5 of each source file as it was, comments and all; empty where no stage has noted it."""
    path = CLOSURES.with_name("files.json").as_posix()
    owner = revision.owner(path)
    if owner is None:
        return {}
    try:
        content = objects.file(revision, path, owner[0].outs[owner[1]]).read_bytes()
    except MissingObject:
        return {}
    hashes: dict[str, str] = json.loads(content)
    return hashes


def _input_line(revision: Revision, path: str) -> str | None:
    readers = [
        record.name
        for record in revision.stages.values()
        if any(dep == path or _is_in(path, dep) for dep in record.data)
    ]
    return f"an input that no stage makes; read by {', '.join(readers)}" if readers else None


def _outs(revision: Revision) -> list[str]:
    return [out for record in revision.stages.values() for out in record.outs]


def _inputs(revision: Revision) -> dict[str, None]:
    return dict.fromkeys(
        dep for record in revision.stages.values() for dep in (*record.data, *record.code)
    )


def _is_in(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")
