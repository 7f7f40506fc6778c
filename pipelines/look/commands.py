"""Look at any revision: `ladder`, `show`, `diff`, `why`; nothing is checked out."""

import argparse
import csv
import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.engine.errors import InputError
from stages.engine.files import write_bytes

if TYPE_CHECKING:  # each command imports what it needs, so that the others start quickly
    from pipelines.graph.journal import Entry
    from pipelines.look.compare import Comparison, Difference
    from pipelines.look.layers import Catalogue, Layer
    from pipelines.look.provenance import Provenance

WORKSPACE = "workspace"  # of pipelines.graph.revisions, which takes a tenth of a second to import
COLUMNS = ("image_id", "pixels", "share", "iou", "first_miou", "second_miou", "gain")
GAP = 8  # pixels between pictures


def add_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to the command line."""
    revision = "a commit, tag or experiment; default: the workspace"
    ladder = commands.add_parser("ladder", help="label sources against ground truth")
    ladder.add_argument("revision", nargs="*", help=f"{revision}; several side by side")
    ladder.set_defaults(act=ladder_command)

    show = commands.add_parser("show", help="what a stage made of an image, as a PNG")
    show.add_argument("stage", help="such as crf_refine@walk")
    show.add_argument("image", help="its id")
    show.add_argument("--rev", default=WORKSPACE, help=revision)
    show.add_argument("--layer", help="only this one")
    show.add_argument("--out", type=Path, help="default: STAGE-IMAGE[-REV].png")
    show.set_defaults(act=show_command)

    diff = commands.add_parser("diff", help="the images of a stage in two revisions, as CSV")
    diff.add_argument("stage", help="such as crf_refine@walk")
    diff.add_argument("first", help="revision")
    diff.add_argument("second", help="revision, or workspace")
    diff.add_argument("--layer", help="of label maps, where the stage has several")
    diff.add_argument("--out", type=Path, help="default: to the terminal")
    diff.add_argument("--most", type=int, help="so many of the worst")
    diff.set_defaults(act=diff_command)

    why = commands.add_parser("why", help="where a file comes from: stage, params, code, run")
    why.add_argument("file", help="an output, a file or folder in one, or an input")
    why.add_argument("--rev", default=WORKSPACE, help=revision)
    why.set_defaults(act=why_command)


def ladder_command(root: Path, arguments: argparse.Namespace) -> None:
    """`ladder`: one revision with all its numbers, or the mIoU of several side by side."""
    from rich.console import Console

    from pipelines.graph.objects import Objects
    from pipelines.graph.revisions import read_revision
    from pipelines.look.measures import ladder_table, read_ladders, revisions_table

    objects = Objects(root)
    names = list(dict.fromkeys(arguments.revision)) or [WORKSPACE]
    ladders = {name: read_ladders(objects, read_revision(root, name)) for name in names}
    for name, lines in ladders.items():
        if not lines:
            raise InputError(f"revision {name!r}: nothing that dvc.yaml puts on a ladder is made")
        absent = [label for rows in lines.values() for label, numbers in rows if not numbers]
        if absent:
            _say(f"{name}: the numbers are not in the cache, git or a remote: {', '.join(absent)}")
    for line in dict.fromkeys(line for name in reversed(names) for line in ladders[name]):
        rows = {name: ladders[name].get(line, []) for name in names}
        alone = ladder_table(line, rows[names[0]])
        Console().print(revisions_table(line, rows) if len(names) > 1 else alone)


def show_command(root: Path, arguments: argparse.Namespace) -> None:
    """`show`: write the photograph and the stage's layers over it, side by side."""
    from pipelines.look.drawing import on_photograph, photograph
    from pipelines.look.layers import read_catalogue
    from stages.io.pictures import encode_png

    catalogue = read_catalogue(root, arguments.rev)
    layers = _layers(catalogue, arguments.stage, arguments.layer)
    _check_image(catalogue, arguments.image)
    drawn = {layer.name: on_photograph(catalogue, layer, arguments.image) for layer in layers}
    pictures = {name: picture for name, picture in drawn.items() if picture is not None}
    if not pictures:
        where = f"{arguments.stage} of {arguments.rev}"
        raise InputError(f"image {arguments.image!r}: {where} has nothing for it")
    image = photograph(catalogue, arguments.image)
    out = arguments.out or Path(_file_name(arguments.stage, arguments.image, arguments.rev))
    _write(out, encode_png(_side_by_side([image, *pictures.values()])))
    _say(f"from left to right: photograph, {', '.join(pictures)}")
    print(out)


def diff_command(root: Path, arguments: argparse.Namespace) -> None:
    """`diff`: what was changed, on stderr; how far each image is from what it was, as CSV."""
    from pipelines.look.compare import Comparison, worst_first
    from pipelines.look.layers import read_catalogue

    if arguments.most is not None and arguments.most < 1:
        raise InputError(f"--most {arguments.most}: expected 1 or more")
    first, second = (read_catalogue(root, name) for name in (arguments.first, arguments.second))
    for catalogue in (first, second):
        _check_stage(catalogue, arguments.stage)
    layer = _label_layer(second, arguments.stage, arguments.layer)
    comparison = Comparison(first, second, layer.name)
    _say_changes(comparison, arguments.stage)
    differences = worst_first(_differences(comparison))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows(map(_row, differences[: arguments.most]))
    if arguments.out is None:
        print(text.getvalue(), end="")
    else:
        _write(arguments.out, text.getvalue().encode())


def why_command(root: Path, arguments: argparse.Namespace) -> None:
    """`why`: print all that is known of a file."""
    from pipelines.graph.objects import Objects
    from pipelines.graph.revisions import read_revision
    from pipelines.look.provenance import explain

    provenance = explain(Objects(root), read_revision(root, arguments.rev), arguments.file)
    if isinstance(provenance, str):
        print(provenance)
        return
    for title, lines in _facts(provenance):
        for index, line in enumerate(lines):
            print(f"{'' if index else title:10} {line}".rstrip())


def _facts(provenance: "Provenance") -> Iterator[tuple[str, list[str]]]:
    record = provenance.record
    yield "file", [f"{provenance.path} in {provenance.revision}"]
    yield "stage", [f"{record.name}{': ' if provenance.desc else ''}{provenance.desc}"]
    yield "command", [record.command]
    yield "params", [f"{key} = {value}" for key, value in record.params.items()] or ["none"]
    yield "reads", [f"{path}  {md5}" for path, md5 in record.data.items()] or ["no data"]
    yield "code", [f"{provenance.code_version}, one hash over {len(record.code)} files"]
    versions = ", ".join(f"{name} {number}" for name, number in record.libraries.items())
    yield "libraries", [versions or "none recorded"]
    yield "run", [_run_line(provenance.run)]
    run, computed = provenance.run, provenance.computed
    if run is not None and computed is not None and computed != run:
        yield "made", [_run_line(computed)]
    yield "hash", [provenance.md5 or f"{record.outs[provenance.out]} of {provenance.out}"]
    yield "on disk", [str(provenance.state)]
    since = provenance.since
    if since is None:
        yield "in git", ["this hash of the output is in no commit's dvc.lock yet"]
    else:
        yield "in git", [f"since {since.name[:10]} of {since.when:%Y-%m-%d %H:%M} {since.title!r}"]


def _run_line(run: "Entry | None") -> str:
    if run is None:
        return "not by `pipelines run` in this workspace, or too long ago"
    code = f"commit {run.commit[:10]}" if run.commit else "no commit"
    changed = ", tracked files changed" if run.modified else ""
    began = run.began[:19].replace("T", " ")
    return f"{run.ending} {began} UTC in {run.seconds:.1f} s, {code}{changed}"


def _check_stage(catalogue: "Catalogue", stage: str) -> None:
    from pipelines.graph.params import suggest

    revision = catalogue.revision
    if stage not in revision.stages:
        members = [name for name in revision.stages if name.startswith(f"{stage}@")]
        if members:
            raise InputError(f"stage {stage!r}: has members; name one of {', '.join(members)}")
        raise InputError(
            f"stage {stage!r}: not in {revision.name}; {suggest(stage, revision.stages)}"
        )


def _check_image(catalogue: "Catalogue", image_id: str) -> None:
    import difflib

    if image_id not in catalogue.images:
        close = difflib.get_close_matches(image_id, list(catalogue.images), n=1)
        count = f"there are {len(catalogue.images)}, such as {next(iter(catalogue.images), None)!r}"
        hint = f"did you mean {close[0]!r}?" if close else count
        raise InputError(f"image {image_id!r}: not in {catalogue.revision.name}; {hint}")


def _layers(catalogue: "Catalogue", stage: str, name: str | None) -> list["Layer"]:
    """Those of a stage, or the one called `name` or ending in /`name`."""
    _check_stage(catalogue, stage)
    layers = catalogue.layers(stage)
    chosen = [layer for layer in layers if name in (None, layer.name, layer.name.split("/")[-1])]
    if not chosen:
        record = catalogue.revision.stages[stage]
        for out in record.outs:  # a folder whose list is missing makes no layer
            catalogue.objects.files(catalogue.revision, record, out)
        if not layers:
            raise InputError(f"stage {stage!r}: makes nothing per image")
        names = ", ".join(layer.name for layer in layers)
        raise InputError(f"layer {name!r}: not of {stage}; it has {names}")
    return chosen


def _label_layer(catalogue: "Catalogue", stage: str, name: str | None) -> "Layer":
    """The one to compare: the only one, else the one called labels."""
    from pipelines.look.layers import Kind

    layers = _layers(catalogue, stage, name)
    labels = [layer for layer in layers if layer.kind is Kind.LABELS]
    if not labels:
        raise InputError(f"{name or stage}: holds no label maps, and only those can be compared")
    chosen = [layer for layer in labels if layer.name.endswith("/labels")]
    if len(labels) > 1 and len(chosen) != 1:
        names = ", ".join(layer.name for layer in labels)
        raise InputError(f"stage {stage!r}: has several layers of labels; --layer one of {names}")
    return labels[0] if len(labels) == 1 else chosen[0]


def _say_changes(comparison: "Comparison", stage: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pipelines.look.compare import changed_code, changed_params

    first, second = (catalogue.revision for catalogue in comparison.catalogues)
    table = Table()
    for title in ("changed", first.name, second.name):
        table.add_column(Text(title), overflow="fold")
    for key, *values in changed_params(first.stages, second.stages, stage):
        table.add_row(Text(key), *(Text("" if value is None else str(value)) for value in values))
    for path in changed_code(first.stages, second.stages, stage):
        hashes = (_code_hash(revision.stages, path)[:8] for revision in (first, second))
        table.add_row(Text(path), *map(Text, hashes))
    if table.row_count:
        Console(stderr=True).print(table)
    changes = comparison.changes
    _say(
        f"{comparison.layers[1].name}: {len(changes.changed)} images changed, {changes.same} the "
        f"same, {len(changes.added)} added, {len(changes.removed)} removed"
    )


def _code_hash(stages: Mapping[str, Any], path: str) -> str:
    return next((record.code[path] for record in stages.values() if path in record.code), "")


def _differences(comparison: "Comparison") -> list["Difference"]:
    """Of the changed images; how many cannot be compared is said on stderr.

    Raises:
        InputError, MissingObject: no image could be compared.
    """
    from pipelines.graph.objects import MissingObject
    from pipelines.look.compare import measured

    jobs: list[tuple[str, Path, Path, Path | None]] = []
    failures: list[InputError | MissingObject] = []
    for image_id in comparison.changes.changed:
        try:
            jobs.append((image_id, *comparison.paths(image_id)))
        except (InputError, MissingObject) as error:
            failures.append(error)
    results = []
    for result in measured(jobs):
        if isinstance(result, InputError):
            failures.append(result)
        else:
            results.append(result)
    if failures and not results:
        raise failures[0]
    if failures:
        _say(f"{len(failures)} images could not be compared; the first: {failures[0]}")
    return results


def _row(one: "Difference") -> list[object]:
    shares = (one.share, one.iou, one.first, one.second, one.gain)
    return [
        one.image_id,
        one.pixels,
        *("" if value is None else f"{value:.2f}" for value in shares),
    ]


def _side_by_side(pictures: Sequence[Any]) -> Any:
    """uint8 RGB pictures of one height, on white with a gap between them."""
    import numpy as np

    height = pictures[0].shape[0]
    gap = np.full((height, GAP, 3), 255, dtype=np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.hstack(parts[1:])


def _file_name(stage: str, image_id: str, revision: str) -> str:
    """A plain name for the current folder, whatever the three are called."""
    parts = [stage, image_id, *([] if revision == WORKSPACE else [revision])]
    name = "-".join(re.sub(r"[^\w.@~+-]+", "_", part) for part in parts).lstrip(".-~")
    return f"{name.encode()[:200].decode(errors='ignore')}.png"


def _write(path: Path, content: bytes) -> None:
    try:
        write_bytes(path, content)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _say(line: str) -> None:
    print(line, file=sys.stderr)
