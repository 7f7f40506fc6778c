"""What stands on each page: plain values for the templates."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from pipelines.browse.curves import draw_curve, polyline
from pipelines.browse.layout import draw_graph
from pipelines.browse.library import Library, headline
from pipelines.browse.review_page import legend
from pipelines.browse.states import MEANINGS
from pipelines.browse.text import cell
from pipelines.graph.journal import last_failure, last_seconds
from pipelines.graph.objects import MissingObject
from pipelines.graph.revisions import WORKSPACE, Record, Revision
from pipelines.look.compare import Comparison, changed_code, changed_params
from pipelines.look.layers import Catalogue, Kind, Layer
from stages.engine.errors import InputError
from stages.io.label_maps import UNKNOWN
from stages.io.measures import percent, scores_of_image
from stages.io.pictures import inline

TILES, THUMBNAIL, LARGE = 60, 200, 640  # pictures of a page; their longer sides, pixels
ROWS = 50


def graph_page(library: Library, rev: str) -> dict[str, Any]:
    """The stages, where they stand, and their headline numbers.

    Raises:
        InputError: no such revision, or nothing is recorded or declared.
    """
    stages = library.declared() if rev == WORKSPACE else library.revision(rev).stages
    revision = _revision(library, rev)
    numbers = {name: headline(library.numbers(revision, record)) for name, record in stages.items()}
    return {
        "rev": rev,
        "stages": stages,
        "revisions": library.revisions(),
        "picture": draw_graph(stages),
        "headlines": numbers,
        "seconds": {name: last_seconds(library.root, name) for name in stages},
        "descriptions": library.descriptions(revision),
        "meanings": MEANINGS,
    }


def stage_page(
    library: Library,
    rev: str,
    name: str,
    layer_name: str | None,
    page: int,
    split: str | None,
    find: str,
) -> dict[str, Any]:
    """One stage of a revision, with one of its layers as a grid of pictures.

    Raises:
        InputError: the revision has no such stage, or the stage no such layer.
    """
    revision = _revision(library, rev)
    record = revision.stages.get(name)
    missing: list[str] = []
    catalogue: Catalogue | None = None
    layers: Sequence[Layer] = ()
    if record is None:
        record = _never_made(library, rev, name)
        missing.append(f"{name} has not made anything here yet.")
    else:
        try:
            catalogue = library.catalogue(rev)
            layers = catalogue.layers(name)
            for out in record.outs:
                if record.outs[out].endswith(".dir"):
                    library.objects.files(revision, record, out)
        except (InputError, MissingObject) as error:
            missing.append(str(error))
            catalogue, layers = None, ()
    layer = _chosen(layers, layer_name, name)
    curves = library.curves(revision, record)
    context: dict[str, Any] = {
        "rev": rev,
        "revision": revision,
        "revisions": library.revisions(),
        "record": record,
        "description": library.descriptions(revision).get(name.partition("@")[0], ""),
        "inputs": _inputs(revision, record),
        "numbers": library.numbers(revision, record),
        "history": _history(library, name),
        "curves": {
            path: draw_curve(frame) for path, frame in library.curves(revision, record).items()
        },
        "tables": [
            _table(library, revision, path) for path in library.tables(record) if path not in curves
        ],
        "folders": _folders(library, revision, record),
        "layers": layers,
        "layer": layer,
        "seconds": last_seconds(library.root, name),
        "failure": last_failure(library.root, name) if rev == WORKSPACE else None,
        "missing": missing,
        "split": split,
        "find": find,
    }
    if catalogue is not None and layer is not None:
        ids = [
            image_id
            for image_id in layer.files
            if (split is None or catalogue.splits[image_id] == split) and find in image_id
        ]
        count = max(-(-len(ids) // TILES), 1)
        page = min(page, count)
        shown = ids[(page - 1) * TILES : page * TILES]
        missing += _missing_of(catalogue, layer, shown)
        context |= {
            "tiles": _tiles(library, catalogue, layer, shown),
            "legend": legend(catalogue),
            "classes": list(catalogue.names.items()),
            "count": len(ids),
            "page": page,
            "pages": count,
            "splits": sorted({catalogue.splits[image_id] for image_id in layer.files}),
        }
    return context


def _revision(library: Library, rev: str) -> Revision:
    """As `Library.revision`; a workspace whose first run has just begun is an empty one."""
    is_new = rev == WORKSPACE and not (library.root / "dvc.lock").exists()
    if is_new and library.declared():
        return Revision(WORKSPACE, None, datetime.now(UTC), "as it is now", {})
    return library.revision(rev)


def _never_made(library: Library, rev: str, name: str) -> Record:
    """A stage of the workspace's dvc.yaml without outputs.

    Raises:
        InputError: it declares none of that name.
    """
    declared = library.declared() if rev == WORKSPACE else {}
    if name not in declared:
        raise InputError(f"stage {name!r}: not recorded in {rev}")
    return replace(declared[name], outs={})


def _folders(
    library: Library, revision: Revision, record: Record
) -> list[tuple[str, list[str], int]]:
    """Path, first files and number of files of each output that is a folder."""
    listings = []
    for out, md5 in record.outs.items():
        if md5.endswith(".dir"):
            with suppress(MissingObject):
                files = library.objects.files(revision, record, out)
                listings.append((out, list(files)[:ROWS], len(files)))
    return listings


def image_page(library: Library, rev: str, image_id: str) -> dict[str, Any]:
    """One image through all stages.

    Raises:
        InputError: the revision has no such image.
        MissingObject: the tables of its `dataset` stage are not in the cache.
    """
    catalogue = library.catalogue(rev)
    if image_id not in catalogue.images:
        raise InputError(f"image {image_id!r}: not in {catalogue.revision.name}")
    image = catalogue.images[image_id]
    same_split = [
        other for other, split in catalogue.splits.items() if split == catalogue.splits[image_id]
    ]
    position = same_split.index(image_id)
    truth = None
    views, missing = [], []
    for layer in catalogue.all_layers():
        if image_id not in layer.files:
            continue
        try:
            view = _view(catalogue, layer, image_id, LARGE) | {"layer": layer}
            if layer.kind is Kind.LABELS:
                labels = catalogue.labels(layer, image_id)
                if layer.is_truth:
                    truth = labels
                view["labels"] = labels
            elif catalogue.path_of(layer, image_id) is None:
                continue
            views.append(view)
        except (MissingObject, InputError) as error:
            missing.append(str(error))
    for view in views:
        labels = view.pop("labels", None)
        if labels is not None and labels.shape == image.size:
            view["scores"] = _scores(labels, truth, view["layer"].is_truth)
    present = sorted(
        {label for view in views for label in (view.get("scores") or {}).get("iou", {})}
    )
    return {
        "rev": rev,
        "revision": catalogue.revision,
        "image": image,
        "split": catalogue.splits[image_id],
        "number": position + 1,
        "count": len(same_split),
        "previous": same_split[position - 1] if position else None,
        "following": same_split[position + 1] if position + 1 < len(same_split) else None,
        "views": views,
        "boxes": [
            (catalogue.names.get(box.category, str(box.category)), box.corners)
            for box in catalogue.boxes.get(image_id, ())
        ],
        "measured": [(label, catalogue.names.get(label, str(label))) for label in present],
        "classes": list(catalogue.names.items()),
        "legend": legend(catalogue),
        "missing": missing,
        "revisions": library.revisions(),
    }


def compare_page(
    library: Library, first: str, second: str, layer_name: str | None
) -> dict[str, Any]:
    """Two revisions of a layer: what was changed, and which images differ.

    Raises:
        InputError, MissingObject: as `Catalogue` and `Comparison`.
    """
    revisions = library.revisions()
    names = [revision.commit or WORKSPACE for revision in revisions]
    second = second or (names[0] if names else WORKSPACE)
    first = first or next((name for name in names if name != second), second)
    before, after = library.catalogue(first), library.catalogue(second)
    if not first or _same(before.revision, after.revision):
        older = [name for name in names if not _same(library.revision(name), after.revision)]
        first = older[0] if older and first != second else first
        before = library.catalogue(first)
    layers = [layer.name for layer in after.all_layers() if layer.kind is Kind.LABELS]
    if layer_name is None:
        final = [layer.name for layer in after.labelled("final", Kind.LABELS)]
        layer_name = next(iter([*final, *layers]), "")
    comparison = Comparison(before, after, layer_name)
    stage = comparison.layers[1].stage
    stages = before.revision.stages, after.revision.stages
    numbers = [
        library.numbers(catalogue.revision, catalogue.revision.stages[layer.stage])
        for catalogue, layer in zip(comparison.catalogues, comparison.layers, strict=True)
    ]
    measured = [_measures(library, catalogue, layer_name) for catalogue in (before, after)]
    return {
        "first": first,
        "second": second,
        "before": before.revision,
        "after": after.revision,
        "revisions": revisions,
        "layer": comparison.layers[1],
        "layers": layers,
        "stage": stage,
        "changes": comparison.changes,
        "params": changed_params(*stages, stage),
        "code": changed_code(*stages, stage),
        "numbers_differ": _side_by_side(*numbers),
        "measured": _side_by_side(*measured),
        "has_truth": bool(after.labelled("truth", Kind.LABELS)),
        "legend": legend(after),
    }


def _same(first: Revision, second: Revision) -> bool:
    """Whether every stage has the same outputs in both."""
    return {name: record.outs for name, record in first.stages.items()} == {
        name: record.outs for name, record in second.stages.items()
    }


def _measures(library: Library, catalogue: Catalogue, layer_name: str) -> dict[str, float]:
    """What was measured of a folder of labels."""
    numbers: dict[str, float] = {}
    for output in catalogue.declared.values():
        if output.meta.get("labels") == f"data/{layer_name}" and output.type == "measures":
            numbers |= library.numbers(catalogue.revision, catalogue.revision.stages[output.stage])
    return numbers


def _side_by_side(
    first: Mapping[str, float], second: Mapping[str, float]
) -> list[tuple[str, float | None, float | None]]:
    """The numbers that differ."""
    keys = dict.fromkeys([*first, *second])
    return [
        (key, first.get(key), second.get(key)) for key in keys if first.get(key) != second.get(key)
    ]


def _chosen(layers: Sequence[Layer], name: str | None, stage: str) -> Layer | None:
    """The layer asked for, else the last one with labels, else the last."""
    if name is not None:
        for layer in layers:
            if layer.name == name:
                return layer
        raise InputError(f"layer {name!r}: stage {stage} has none of that name")
    labels = [layer for layer in layers if layer.kind is Kind.LABELS]
    return next(reversed(labels or layers), None)


def _view(catalogue: Catalogue, layer: Layer, image_id: str, side: int) -> dict[str, Any]:
    """Where the two pictures of an image are; `v` makes their addresses change with their bytes."""
    image = catalogue.images[image_id]
    path, md5 = layer.files[image_id]
    here = {"id": image_id, "rev": catalogue.revision.commit or WORKSPACE, "side": side}
    over = f"/layer?{urlencode({'name': layer.name, **here, 'v': md5[:8]})}"
    return {
        "image_id": image_id,
        "width": image.width,
        "height": image.height,
        "photograph": f"/photograph?{urlencode({**here, 'v': image.md5[:8]})}",
        "over": over,
        "address": over,
        "path": path,
    }


def _tiles(
    library: Library, catalogue: Catalogue, layer: Layer, image_ids: Sequence[str]
) -> list[dict[str, Any]]:
    """The same with the pictures in the page itself: 120 requests would take longer than they."""

    def tile(image_id: str) -> dict[str, Any]:
        view = _view(catalogue, layer, image_id, THUMBNAIL)
        with suppress(MissingObject, InputError):  # then the browser asks, and says what is missing
            photograph = library.photograph(catalogue, image_id, THUMBNAIL)
            over = library.layer(catalogue, layer, image_id, THUMBNAIL)
            view |= {"photograph": inline(photograph, "jpeg"), "over": inline(over, "png")}
        return view

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(tile, image_ids))


def _missing_of(catalogue: Catalogue, layer: Layer, image_ids: Sequence[str]) -> list[str]:
    """What is not in the cache, in one line."""
    missing = []
    for image_id in image_ids:
        try:
            catalogue.path_of(layer, image_id)
        except MissingObject as error:
            missing.append(str(error))
    if not missing:
        return []
    record = catalogue.revision.stages[layer.stage]
    whole = catalogue.objects.advice(catalogue.revision, record.name)
    return [f"{len(missing)} of the {len(image_ids)} files of this page are missing. {whole}"]


def _scores(labels: Any, truth: Any, is_truth: bool) -> dict[str, Any]:
    """Coverage of a label map, and its IoU per class where there is ground truth."""
    scores: dict[str, Any] = {"coverage": percent(float((labels != UNKNOWN).mean()))}
    if truth is None or is_truth or truth.shape != labels.shape:
        return scores
    row = scores_of_image("", truth, labels)
    iou = dict(zip(row["categories"], row["iou"], strict=True))
    scores |= {"miou": row["miou"], "iou": iou}
    return scores


def _inputs(revision: Revision, record: Record) -> list[tuple[str, str, str | None]]:
    """Path, hash and maker of the data that a stage reads."""
    rows = []
    for path, md5 in record.data.items():
        owner = revision.owner(path)
        rows.append((path, md5, owner[0].name if owner else None))
    return rows


def _history(library: Library, name: str) -> dict[str, Any]:
    """The numbers of a stage over the revisions that have it, the oldest first."""
    rows: list[dict[str, Any]] = []
    for revision in reversed(library.revisions()):
        record = revision.stages.get(name)
        if record is None:
            continue
        numbers = library.numbers(revision, record)
        if not rows or rows[-1]["outs"] != record.outs or rows[-1]["numbers"] != numbers:
            rows.append({"revision": revision, "numbers": numbers, "outs": record.outs})
    keys = list(dict.fromkeys(key for row in rows for key in row["numbers"]))[:8]
    main = headline({key: 0.0 for key in keys})
    line = [row["numbers"].get(main[0]) for row in rows] if main else []
    return {
        "rows": rows[::-1],
        "keys": keys,
        "main": main[0] if main else None,
        "line": polyline([value for value in line if value is not None], 240, 48),
    }


def _table(library: Library, revision: Revision, path: str) -> dict[str, Any]:
    """The first rows of a table, as text."""
    try:
        frame = library.table(revision, path)
    except (InputError, MissingObject) as error:
        return {"path": path, "error": str(error), "columns": [], "rows": [], "count": 0}
    shown = frame.head(ROWS)
    rows = [[cell(content) for content in row] for row in shown.itertuples(index=False, name=None)]
    return {
        "path": path,
        "error": "",
        "columns": [str(column) for column in frame.columns],
        "rows": rows,
        "count": len(frame),
    }
