"""Ranked instances as tables and pictures: their places in the order, and where people looked."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from stages.io.data_set import Dataset
from stages.io.label_maps import decode_rle
from stages.io.photographs import RGB
from stages.io.pictures import RGBA
from stages.io.tables import FIXATIONS, VOTES, read_rows, read_table

Bools = npt.NDArray[np.bool_]
#: From the most to the least salient; the last serves all that follow.
COLOURS = (
    (255, 60, 40),
    (255, 170, 0),
    (120, 220, 40),
    (0, 190, 220),
    (90, 110, 255),
    (190, 90, 220),
)


def fixations_by_image(data: Dataset) -> dict[str, tuple[tuple[str, ...], npt.NDArray[np.int32]]]:
    """Of every image that has fixations its subjects, and [N, 3]: subject's index, pixel x and y.

    Raises:
        InputError: an unreadable table.
    """
    table = read_table(data.table("fixations"), FIXATIONS)
    found = {}
    for image_id, own in table.groupby("image_id", sort=False):
        codes, subjects = own["subject"].factorize()
        samples = np.column_stack([codes, np.floor(own["x"]), np.floor(own["y"])])
        found[str(image_id)] = (tuple(map(str, subjects)), samples.astype(np.int32))
    return found


def places_of_image(fixations: Path, image_id: str) -> npt.NDArray[np.int32]:
    """The pixels (x, y) of an image that were looked at, [N, 2], of a table of fixations.

    Raises:
        InputError: an unreadable table.
    """
    table = read_table(fixations, FIXATIONS)
    own = table[table["image_id"] == image_id]
    return np.asarray(np.floor(own[["x", "y"]].to_numpy()), dtype=np.int32)


def dot_layer(size: tuple[int, int], places: npt.NDArray[np.int32]) -> RGBA:
    """A dot on each pixel (x, y) that was looked at, on a transparent picture (H, W)."""
    cover = np.zeros(size, dtype=np.uint8)
    radius = max(1, size[0] // 160)
    for x, y in places:
        cv2.circle(cover, (int(x), int(y)), radius, 255, -1)
    rim = cv2.dilate(cover, np.ones((3, 3), np.uint8))
    return np.dstack([cover, cover, cover, rim])


def votes_by_image(data: Dataset) -> dict[str, list[Mapping[str, object]]]:
    """The rows of votes.parquet of every image that has any.

    Raises:
        InputError: an unreadable table.
    """
    found: dict[str, list[Mapping[str, object]]] = defaultdict(list)
    for row in read_rows(Path(data.table("votes")), VOTES):
        found[row["image_id"]].append(row)
    return dict(found)


def rank_colour(rank: int) -> tuple[int, int, int]:
    """RGB of a place in the order, 1 = most salient."""
    return COLOURS[min(rank, len(COLOURS)) - 1]


def picture_of_rows(image: RGB, rows: Sequence[Mapping[str, Any]]) -> RGB:
    """`ranked_picture` of rows of a table of instances, those that have a mask and a rank."""
    shown = [row for row in rows if row["mask"] is not None and row["rank"] is not None]
    masks = [decode_rle(row["mask"], *image.shape[:2]) for row in shown]
    none = np.empty((0, 2), dtype=np.int32)
    return ranked_picture(image, masks, [row["rank"] for row in shown], none)


def number_layer(masks: Sequence[Bools], ranks: Sequence[int]) -> RGBA:
    """The rank of each mask, written where it is deepest, on a transparent picture [H, W, 4]."""
    height, width = masks[0].shape
    picture = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(picture)
    for mask, rank in zip(masks, ranks, strict=True):
        depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
        deep = np.argwhere(depth >= 0.95 * depth.max())
        y, x = deep[np.square(deep - deep.mean(axis=0)).sum(axis=1).argmin()]
        draw.text(
            (float(x), float(y)), str(rank), anchor="mm", font_size=max(12, height // 12),
            fill=(255, 255, 255, 255), stroke_width=2, stroke_fill=(0, 0, 0, 255),
        )  # fmt: skip
    return np.array(picture)


def ranked_picture(
    image: RGB, masks: Sequence[Bools], ranks: Sequence[int], places: npt.NDArray[np.int32]
) -> RGB:
    """The instances over their image, in the colours and with the numbers of their ranks.

    Args:
        image: [H, W, 3].
        masks: bool [H, W] each.
        ranks: of each, 1 = most salient.
        places: [N, 2], pixels (x, y) that were looked at, drawn as dots.
    """
    mixed = 0.75 * image.astype(np.float64)
    for mask, rank in sorted(zip(masks, ranks, strict=True), key=lambda pair: -pair[1]):
        mixed[mask] = 0.55 * image[mask] + 0.45 * np.array(rank_colour(rank))
    picture = mixed.round().clip(0, 255).astype(np.uint8)
    dots = dot_layer(image.shape[:2], places)
    picture = np.where(dots[..., 3:] > 0, dots[..., :3], picture)
    if masks:
        numbers = number_layer(masks, ranks)
        picture = np.where(numbers[..., 3:] > 0, numbers[..., :3], picture)
    return np.asarray(picture, dtype=np.uint8)
