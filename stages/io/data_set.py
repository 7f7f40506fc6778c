"""The data set as the stage `dataset` leaves it: tables read as plain values.

They are ready to be fields of a map_images item.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from stages.engine.errors import InputError
from stages.io.photographs import RGB, read_image
from stages.io.tables import (
    CATEGORIES,
    COUNTS,
    IMAGES,
    INSTANCES,
    KINDS,
    POINTS,
    TAGS,
    read_rows,
)

BACKGROUND = "background"
Split = Literal["train", "val"]
Table = Literal[
    "images",
    "instances",
    "outlines",
    "tags",
    "points",
    "counts",
    "kinds",
    "fixations",
    "votes",
    "categories",
]
#: What may be known of an image, from most to least.
Kind = Literal["mask", "box", "scribble", "point", "tag"]
#: What else the user may bring of an image, a folder of <image_id>.png each: label maps of strokes
#: and of whole images, 255 = unknown; salient regions, and saliency (stages/io/salient_maps.py).
Maps = Literal["scribbles", "masks", "regions", "saliency"]


@dataclass(frozen=True)
class ImageFile:
    """One image of images.parquet; width and height in pixels, upright."""

    image_id: str
    path: Path
    md5: str
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.height, self.width

    def read(self) -> RGB:
        """uint8 RGB [H, W, 3].

        Raises:
            InputError: the file is not the one that the dataset stage saw.
        """
        return read_image(self.path, self.md5)


@dataclass(frozen=True)
class Box:
    """One box of instances.parquet: pixels, 0-based, half open; category is the label value.

    Without its instance_id, which counts over the whole data set: one box more would make other
    items of all the images after it, and nothing kept of them would be found again.
    """

    category: int
    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1)."""
        return self.x0, self.y0, self.x1, self.y1


@dataclass(frozen=True)
class Point:
    """One point of points.parquet: a label value, 0 background, and pixels from 0."""

    category: int
    x: float
    y: float


@dataclass(frozen=True)
class Crowd:
    """One crowd of instances.parquet: its box in pixels, 0-based, half open, and its outline.

    Attributes:
        corners: (x0, y0, x1, y1).
        mask: COCO compressed RLE; None where only the box is known.
    """

    corners: tuple[float, float, float, float]
    mask: str | None


@dataclass(frozen=True)
class InUse:
    """What a line uses of an image's labels: those of the strongest kind that it carries.

    Attributes:
        kind: that one; box, without boxes, where the image carries nothing and so shows nothing.
        boxes: of kind box; else none.
        crowds: likewise.
        mask: file of the whole mask, of kind mask; else None.
    """

    kind: Kind
    boxes: tuple[Box, ...] = ()
    crowds: tuple[Crowd, ...] = ()
    mask: Path | None = None


@dataclass(frozen=True)
class Dataset:
    """The folder that the stage `dataset` wrote; each table is read when it is asked for.

    Every method raises InputError where its table is missing or unreadable.

    Attributes:
        folder: of the tables.
        root: of the photographs; a stage that opens none is given none.
        kinds: of labels to use, the strongest first; none: boxes alone, whatever else there is.
    """

    folder: Path
    root: Path = Path()
    kinds: tuple[Kind, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All that is watched while a stage runs: the tables, of which it may read some.

        Not the photographs: images.parquet declares each by its hash, which
        stages.io.photographs compares whenever one is read. After one that was replaced later than
        it was read, the next run begins with the dataset stage.
        """
        return tuple(map(self.table, get_args(Table)))

    def table(self, name: Table) -> Path:
        """The file of a table."""
        return self.folder / f"{name}.parquet"

    def map_file(self, maps: Maps, image_id: str) -> Path | None:
        """What the user brought of an image as a map of this kind; None: nothing."""
        path = self.folder / maps / f"{image_id}.png"
        return path if path.is_file() else None

    def images(self, split: Split) -> list[ImageFile]:
        """The images of one split, in the order of the table.

        A data set may have no validation images; without training images there is an InputError.
        """
        return images_of_split(self.table("images"), self.root, split)

    def labelled_images(self, split: Split, folder: Path) -> list[ImageFile]:
        """`images`, each of which has something in `folder`.

        None where an empty folder says that no network was there to label validation images.
        """
        is_empty = split == "val" and folder.is_dir() and not any(folder.iterdir())
        return [] if is_empty else self.images(split)

    def labels_in_use(self) -> dict[str, InUse]:
        """What is used of the labels of each training image.

        Raises:
            InputError: also where an image carries labels, but none of the kinds to use.
        """
        boxes, crowds = self.boxes(), self.crowds()
        found = {}
        for image_id, kind in self.kinds_in_use().items():
            if kind == "box":
                own = boxes.get(image_id, ()), crowds.get(image_id, ())
                found[image_id] = InUse("box", *own)
            else:
                mask = self.map_file("masks", image_id) if kind == "mask" else None
                found[image_id] = InUse(kind, mask=mask)
        return found

    def kinds_in_use(self) -> dict[str, Kind]:
        """The strongest kind to use that each training image carries; errors as above."""
        names = [image.image_id for image in self.images("train")]
        if not self.kinds:
            return dict.fromkeys(names, "box")
        carried: dict[str, set[str]] = defaultdict(set)
        for row in read_rows(self.table("kinds"), KINDS):
            carried[row["image_id"]].add(row["kind"])
        strongest: dict[str, Kind] = {}
        for name in names:
            usable = [kind for kind in self.kinds if kind in carried[name]]
            if carried[name] and not usable:
                found = f"image {name} carries {', '.join(sorted(carried[name]))}"
                expected = f"expected {' or '.join(self.kinds)}, the kinds to use"
                raise InputError(f"{self.table('kinds')}: {found}; {expected}")
            strongest[name] = usable[0] if usable else "box"
        return strongest

    def boxes(self) -> dict[str, tuple[Box, ...]]:
        """The boxes of every image that has any, without masks; crowd regions are left out."""
        return boxes_by_image(self.table("instances"))

    def numbered_boxes(self) -> dict[str, tuple[tuple[int, Box], ...]]:
        """The same, each with its instance_id before it."""
        return numbered_boxes_by_image(self.table("instances"))

    def crowds(self) -> dict[str, tuple[Crowd, ...]]:
        """The crowds of every image that has any."""
        return crowds_by_image(self.table("instances"))

    def tags(self) -> dict[str, tuple[int, ...]]:
        """The categories present in every image that has any, ascending."""
        return tags_by_image(self.table("tags"))

    def points(self) -> dict[str, tuple[Point, ...]]:
        """The points of every image that has any, in the order of the table."""
        points: dict[str, list[Point]] = defaultdict(list)
        for row in read_rows(self.table("points"), POINTS):
            points[row["image_id"]].append(Point(row["category"], row["x"], row["y"]))
        return {image_id: tuple(of_image) for image_id, of_image in points.items()}

    def counts(self) -> dict[str, int]:
        """How many salient things every image shows of which that is known."""
        return {row["image_id"]: row["count"] for row in read_rows(self.table("counts"), COUNTS)}

    def categories(self) -> dict[int, str]:
        """Name by label value, in the order of the table; without the background."""
        return {
            row["category"]: row["name"] for row in read_rows(self.table("categories"), CATEGORIES)
        }

    def class_names(self) -> dict[int, str]:
        """Name by label value, ascending, with 0 = background."""
        return read_class_names(self.table("categories"))


def images_of_split(images: Path, root: Path, split: Split) -> list[ImageFile]:
    """The images of one split, in the order of the table.

    Raises:
        InputError: unreadable table, or no image in split train.
    """
    rows = [row for row in read_rows(images, IMAGES) if row["split"] == split]
    if not rows and split == "train":
        raise InputError(f"{images}: no image in split {split!r}")
    return [
        ImageFile(row["image_id"], root / row["file"], row["md5"], row["width"], row["height"])
        for row in rows
    ]


def boxes_by_image(instances: Path) -> dict[str, tuple[Box, ...]]:
    """The boxes of every image that has any; crowd regions are left out."""
    numbered = numbered_boxes_by_image(instances)
    return {image_id: tuple(box for _, box in of_image) for image_id, of_image in numbered.items()}


def numbered_boxes_by_image(instances: Path) -> dict[str, tuple[tuple[int, Box], ...]]:
    """The same, each with its instance_id before it."""
    boxes: dict[str, list[tuple[int, Box]]] = defaultdict(list)
    for row in read_rows(instances, INSTANCES):
        if not row["is_crowd"]:
            box = Box(row["category"], row["x0"], row["y0"], row["x1"], row["y1"])
            boxes[row["image_id"]].append((row["instance_id"], box))
    return {image_id: tuple(of_image) for image_id, of_image in boxes.items()}


def tags_by_image(tags: Path) -> dict[str, tuple[int, ...]]:
    """The categories present in every image that has any, ascending."""
    by_image: dict[str, set[int]] = defaultdict(set)
    for row in read_rows(tags, TAGS):
        by_image[row["image_id"]].add(row["category"])
    return {image_id: tuple(sorted(categories)) for image_id, categories in by_image.items()}


def crowds_by_image(instances: Path) -> dict[str, tuple[Crowd, ...]]:
    """The crowds of every image that has any."""
    crowds: dict[str, list[Crowd]] = defaultdict(list)
    for row in read_rows(instances, INSTANCES):
        if row["is_crowd"]:
            corners = row["x0"], row["y0"], row["x1"], row["y1"]
            crowds[row["image_id"]].append(Crowd(corners, row["mask"]))
    return {image_id: tuple(of_image) for image_id, of_image in crowds.items()}


def read_class_names(categories: Path) -> dict[int, str]:
    """Name by label value, ascending, with 0 = background."""
    rows = read_rows(categories, CATEGORIES)
    names = {row["category"]: row["name"] for row in rows}
    return {0: BACKGROUND} | {label: names[label] for label in sorted(names)}
