"""Any layer of any image as a picture: to lay over the photograph, or on it already."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from pipelines.look.instance_colours import instance_colours
from pipelines.look.layers import Catalogue, Kind, Layer, instances_by_image
from stages.engine.errors import InputError
from stages.io.graphs import read_graph
from stages.io.label_maps import UNKNOWN, decode_rle, read_label_map
from stages.io.photographs import FORMATS, RGB, decode_image
from stages.io.pictures import (
    RGBA,
    UNKNOWN_COLOUR,
    cells_picture,
    frame_layer,
    heat_layer,
    label_layer,
    thumbnail,
)
from stages.io.ranked import dot_layer, number_layer, places_of_image
from stages.io.score_maps import read_score_map

BETTER, WORSE, OTHER = (38, 166, 91), (214, 48, 49), (241, 196, 15)


def photograph(catalogue: Catalogue, image_id: str, side: int | None = None) -> RGB:
    """The image, its longer side at most `side` pixels, the right way up.

    Raises:
        MissingObject: the file is not there.
        InputError: it cannot be read.
    """
    path = catalogue.photograph(image_id)
    try:
        content = path.read_bytes()
        return decode_image(content) if side is None else thumbnail(content, side)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not an image: {error}") from error


def draw(
    catalogue: Catalogue,
    layer: Layer,
    image_id: str,
    *,
    side: int | None = None,
    category: int | None = None,
    pixel: tuple[int, int] | None = None,
) -> RGBA | None:
    """One layer of one image, in the image's size or with its longer side at most `side`.

    Args:
        catalogue: of the revision.
        layer: of that catalogue.
        image_id: of an image of it.
        side: pixels.
        category: of scores: which class; None is the best score of all but the background.
        pixel: of a graph: (x, y) in pixels of the image, whose affinity to the others is shown;
            None shows of every cell the mean affinity to its neighbours.

    Returns:
        uint8 [H, W, 4], transparent where there is nothing to see; None where the layer has
        nothing for the image.

    Raises:
        MissingObject: the file is not in the cache.
        InputError: it cannot be read.
    """
    path = catalogue.path_of(layer, image_id)
    if path is None:
        return None
    if layer.kind is Kind.LABELS:
        labels = _smaller(read_label_map(path), side)
        return label_layer(labels, catalogue.colours)
    if layer.kind is Kind.SCORES:
        picture = _scores(path, category)
    elif layer.kind is Kind.GRAPH:
        picture = _graph(path, pixel)
    elif layer.kind is Kind.INSTANCES:
        picture = _instances(catalogue, path, image_id)
    elif layer.kind is Kind.FIXATIONS:
        picture = dot_layer(catalogue.images[image_id].size, places_of_image(path, image_id))
    elif layer.kind is Kind.OBJECTS:
        picture = _objects(catalogue, path)
    else:
        picture = _picture(path)
    return _smaller(picture, side)


def on_photograph(
    catalogue: Catalogue, layer: Layer, image_id: str, opacity: float = 0.6
) -> RGB | None:
    """The layer laid over its photograph in full size; None where it has nothing for the image.

    Raises:
        MissingObject: one of the two files is not there.
        InputError: one cannot be read, or they differ in size.
    """
    over = draw(catalogue, layer, image_id)
    if over is None:
        return None
    image = photograph(catalogue, image_id)
    if over.shape[:2] != image.shape[:2]:
        sizes = f"{over.shape[1]} x {over.shape[0]} on {image.shape[1]} x {image.shape[0]} pixels"
        raise InputError(f"{layer.name}: {image_id}: {sizes}; expected one size")
    share = opacity * over[..., 3:].astype(np.float64) / 255
    mixed = (1 - share) * image + share * over[..., :3]
    return np.asarray(mixed.round().clip(0, 255), dtype=np.uint8)


def changed_pixels(
    first: Path, second: Path, truth: Path | None = None, *, side: int | None = None
) -> RGBA:
    """The pixels with another label in the second map, transparent where it is the same.

    Green where the change was for the better against ground truth, red where for the worse,
    yellow where neither is right or there is no ground truth.

    Raises:
        InputError: a file cannot be read, or the sizes differ.
    """
    before, after = read_label_map(first), read_label_map(second)
    right = read_label_map(truth) if truth is not None else np.full_like(before, UNKNOWN)
    if not before.shape == after.shape == right.shape:
        raise InputError(f"{second}: size {after.shape}; expected {before.shape}")
    picture = np.zeros((*before.shape, 4), dtype=np.uint8)
    picture[before != after] = (*OTHER, 255)
    known = (before != after) & (right != UNKNOWN)
    picture[known & (after == right)] = (*BETTER, 255)
    picture[known & (before == right)] = (*WORSE, 255)
    return _smaller(picture, side)


def _smaller(picture: npt.NDArray[np.uint8], side: int | None) -> npt.NDArray[np.uint8]:
    """Each pixel that of the nearest one, so that colours stay what they mean."""
    height, width = picture.shape[:2]
    if side is None or max(height, width) <= side:
        return picture
    factor = side / max(height, width)
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    return np.array(Image.fromarray(picture).resize(size, Image.Resampling.NEAREST))


def _picture(path: Path) -> RGBA:
    try:
        with Image.open(path, formats=FORMATS) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGBA"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not an image: {error}") from error


def _scores(path: Path, category: int | None) -> RGBA:
    score_map = read_score_map(path)
    rows = [
        row
        for row, label in enumerate(score_map.classes)
        if (label == category if category is not None else label != 0)
    ]
    values = score_map.scores[rows].max(axis=0, initial=0).astype(np.float32)
    return cells_picture(heat_layer(values), score_map.stride, score_map.size)


def _graph(path: Path, pixel: tuple[int, int] | None) -> RGBA:
    graph = read_graph(path)
    rows, columns = graph.grid
    others = np.flatnonzero(graph.offsets.any(axis=1))
    if pixel is None:
        cells = np.indices(graph.grid).reshape(2, -1).T
        targets = cells[:, None] + graph.offsets[others]
        neighbours = ((targets >= 0) & (targets < graph.grid)).all(axis=2).sum(axis=1)
        total = graph.edges[:, others].astype(np.float32).sum(axis=1)  # 0 beyond the grid
        values = (total / np.maximum(neighbours, 1)).reshape(rows, columns)
    else:
        x, y = (
            min(max(at, 0), most - 1) // graph.stride
            for at, most in zip(pixel, graph.size[::-1], strict=True)
        )
        values = np.full((rows, columns), np.nan, dtype=np.float32)
        targets = graph.offsets + np.array([y, x])
        inside = ((targets >= 0) & (targets < graph.grid)).all(axis=1)
        values[tuple(targets[inside].T)] = graph.edges[y * columns + x, inside]
    return cells_picture(heat_layer(values), graph.stride, graph.size)


def _instances(catalogue: Catalogue, path: Path, image_id: str) -> RGBA:
    """Boxes in the colours of their classes; masks each in one of its own, and its rank, if any."""
    size = catalogue.images[image_id].size
    rows = instances_by_image(path).get(image_id, [])
    corners = [(row["x0"], row["y0"], row["x1"], row["y1"]) for row in rows]
    own = instance_colours(corners, catalogue.colours.values())
    picture = np.zeros((*size, 4), dtype=np.uint8)
    frames = []
    for row, box, colour in zip(rows, corners, own, strict=True):
        if row["mask"] is not None:
            picture[decode_rle(row["mask"], *size)] = (*colour, 255)
        frames.append((box, catalogue.colours.get(row["category"], UNKNOWN_COLOUR)))
    drawn = frame_layer(size, frames)
    picture = np.where(drawn[..., 3:] > 0, drawn, picture)
    ranked = [row for row in rows if row["rank"] is not None and row["mask"] is not None]
    if ranked:
        masks = [decode_rle(row["mask"], *size) for row in ranked]
        numbers = number_layer(masks, [row["rank"] for row in ranked])
        picture = np.where(numbers[..., 3:] > 0, numbers, picture)
    return np.asarray(picture)


def _objects(catalogue: Catalogue, path: Path) -> RGBA:
    """A map of object numbers, 0 is none: each object in a colour of its own."""
    numbers = read_label_map(path)
    present = [number for number in np.unique(numbers).tolist() if number not in (0, UNKNOWN)]
    corners = []
    for number in present:
        rows, columns = (np.flatnonzero((numbers == number).any(axis=axis)) for axis in (1, 0))
        corners.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    own = instance_colours(corners, catalogue.colours.values())
    return label_layer(numbers, dict(zip(present, own, strict=True)))
