"""Pictures for people: label maps, scores and boxes, laid over photographs or to be laid there."""

import base64
import colorsys
import io
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageOps

from stages.io.data_set import Box
from stages.io.label_maps import UNKNOWN, LabelMap, decode_rle
from stages.io.photographs import FORMATS, RGB, decode_image

Colour = tuple[int, int, int]
#: uint8 [H, W, 4]; what is transparent shows the photograph below.
RGBA = npt.NDArray[np.uint8]

#: Unknown pixels look like paper.
UNKNOWN_COLOUR: Colour = (226, 222, 208)

#: Of a class's colour, 0 to 1.
LEAST_LIGHTNESS = 0.35


def class_colours(labels: Sequence[int]) -> dict[int, Colour]:
    """Bright colours far from one another, one per label value.

    The VOC palette of the label files is too dark, and too alike, to lay over photographs.
    """
    colours = {}
    for index, label in enumerate(labels):
        hue = (0.02 + index * 0.618034) % 1  # the golden ratio spreads hues evenly
        saturation, value = ((0.80, 1.0), (0.50, 1.0), (0.90, 0.80))[index // 7 % 3]
        colour = np.array(colorsys.hsv_to_rgb(hue, saturation, value))
        lightness = float(colour @ (0.21, 0.72, 0.07))
        if lightness < LEAST_LIGHTNESS:  # pure blue vanishes on dark photographs
            share = (LEAST_LIGHTNESS - lightness) / (1 - lightness)
            colour = (1 - share) * colour + share
        red, green, blue = (255 * colour).round().astype(int).tolist()
        colours[label] = (red, green, blue)
    return colours


def shrink(image: RGB, side: int) -> RGB:
    """The image with its longer side at most `side` pixels."""
    height, width = image.shape[:2]
    factor = min(side / max(height, width), 1.0)
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def thumbnail(content: bytes, side: int) -> RGB:
    """An image file with its longer side at most `side` pixels, the right way up.

    Faster than `shrink(decode_image(content), side)`: of a JPEG only as much is decoded as is seen.

    Raises:
        OSError, ValueError, SyntaxError, Image.DecompressionBombError: not a sound image.
    """
    with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
        if opened.format != "JPEG" or opened.mode not in ("RGB", "L"):
            return shrink(decode_image(content), side)
        factor = min(side / max(opened.size), 1.0)
        opened.draft("RGB", (round(opened.width * factor), round(opened.height * factor)))
        image = ImageOps.exif_transpose(opened)
        return shrink(np.array(image.convert("RGB")), side)


def shrink_labels(labels: LabelMap, size: tuple[int, int]) -> LabelMap:
    """Labels at (H, W), each pixel that of the nearest one."""
    height, width = size
    resized = Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST)
    return np.array(resized)


def overlay(image: RGB, labels: LabelMap, colours: Mapping[int, Colour], opacity: float) -> RGB:
    """Label colours over a greyed image, with full-colour outlines; background stays free.

    Args:
        image: [H, W, 3].
        labels: [H, W] label values; 255 is painted as unknown.
        colours: by label value; the labels that are not among them stay free.
        opacity: of the colours, 0 to 1.

    Returns:
        uint8 [H, W, 3].
    """
    layer = label_layer(labels, colours)
    painted, unknown = layer[..., 3:] > 0, (labels == UNKNOWN)[..., None]
    share = painted * np.where(unknown, 0.85, opacity)
    share[_outlines(labels)[..., None] & painted & ~unknown] = 1
    grey = image.mean(axis=2, keepdims=True)
    below = 0.6 * grey + 0.4 * image.astype(np.float64)
    mixed = (1 - share) * below + share * layer[..., :3]
    return np.asarray(mixed.round().clip(0, 255), dtype=np.uint8)


def instance_overlay(
    image: RGB, rows: Sequence[Mapping[str, Any]], size: tuple[int, int], opacity: float
) -> RGB:
    """The masks of instances over a greyed image, each in a colour of its own, smaller on top.

    Args:
        image: [h, w, 3].
        rows: of a table of instances; those without a mask are not seen.
        size: (H, W) of their masks.
        opacity: of the colours, 0 to 1.
    """
    numbers = np.zeros(size, dtype=np.uint8)
    masks = [decode_rle(row["mask"], *size) for row in rows if row["mask"] is not None]
    for index in sorted(range(len(masks)), key=lambda one: (-int(masks[one].sum()), one)):
        numbers[masks[index]] = 1 + index % (UNKNOWN - 1)
    colours = class_colours(range(1, min(len(masks), UNKNOWN - 1) + 1))
    return overlay(image, shrink_labels(numbers, image.shape[:2]), colours, opacity)


def label_layer(labels: LabelMap, colours: Mapping[int, Colour]) -> RGBA:
    """Label colours to lay over a photograph.

    Args:
        labels: uint8 [H, W]; 255 is painted as unknown.
        colours: by label value; the labels that are not among them are transparent.

    Returns:
        [H, W, 4], each pixel opaque or transparent.
    """
    table = np.zeros((256, 4), dtype=np.uint8)
    for label, colour in [*colours.items(), (UNKNOWN, UNKNOWN_COLOUR)]:
        table[label] = (*colour, 255)
    return np.asarray(table[labels])


def heat_layer(values: npt.NDArray[np.floating]) -> RGBA:
    """Values from 0 (black) over red to 1 (bright yellow) as an opaque picture [h, w, 4].

    NaN is transparent; what is outside 0 to 1 is painted as the nearest of them.
    """
    levels = np.nan_to_num(255 * values.astype(np.float64)).round().clip(0, 255).astype(np.uint8)
    painted = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    alpha = np.where(np.isnan(values), 0, 255).astype(np.uint8)
    return np.dstack([painted, alpha])


def cells_picture(cells: RGBA, stride: int, size: tuple[int, int]) -> RGBA:
    """Each cell of a grid as a square of `stride` pixels; cut at `size` (H, W) of the image."""
    grown = cells.repeat(stride, axis=0).repeat(stride, axis=1)
    return np.ascontiguousarray(grown[: size[0], : size[1]])


def frame_layer(
    size: tuple[int, int],
    frames: Sequence[tuple[tuple[float, float, float, float], Colour]],
    width: int = 2,
) -> RGBA:
    """Frames of boxes (x0, y0, x1, y1), pixels, half open, on a transparent picture (H, W)."""
    picture = Image.new("RGBA", (size[1], size[0]))
    draw = ImageDraw.Draw(picture)
    for (x0, y0, x1, y1), colour in frames:
        frame = (x0, y0, max(x1 - 1, x0), max(y1 - 1, y0))
        draw.rectangle(frame, outline=(*colour, 255), width=width)
    return np.array(picture)


def encode_png(picture: RGB | RGBA) -> bytes:
    """PNG bytes, without loss."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def encode_jpeg(image: RGB, quality: int) -> bytes:
    """JPEG bytes, with loss; quality 1 to 95."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def with_boxes(
    image: RGB, boxes: Sequence[Box], scale: float, colours: Mapping[int, Colour]
) -> RGB:
    """Frames of the boxes, whose coordinates are multiplied by `scale`."""
    frames = []
    for box in boxes:
        x0, y0, x1, y1 = (scale * corner for corner in box.corners)
        frames.append(((x0, y0, x1, y1), colours.get(box.category, UNKNOWN_COLOUR)))
    drawn = frame_layer(image.shape[:2], frames)
    return np.asarray(np.where(drawn[..., 3:] > 0, drawn[..., :3], image))


def data_uri(image: RGB, quality: int) -> str:
    """The image as a WebP inside a text that stands in the place of an address."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="WEBP", quality=quality, method=4)
    return inline(buffer.getvalue(), "webp")


def inline(content: bytes, kind: str) -> str:
    """The bytes of a picture as a text that stands in the place of an address."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _outlines(labels: LabelMap) -> npt.NDArray[np.bool_]:
    """Pixels whose right or lower neighbour, or left or upper, has another label."""
    edges = np.zeros(labels.shape, dtype=bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    return edges
