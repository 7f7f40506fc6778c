"""Label maps in colours, as annotation tools have them: a table of colours, masks painted in them.

The table is a text file, labelmap.txt: one line name:r,g,b:parts:actions per class, '#' before
comments. Parts and actions mean nothing here.
"""

import difflib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from stages.engine.errors import InputError
from stages.io.label_maps import LabelMap, palette
from stages.io.pictures import Colour
from stages.io.user_files import read_user_bytes, read_user_text


@dataclass(frozen=True)
class ColourTable:
    """What colours mean.

    Attributes:
        names: class name by colour.
        labels: label value by class name; of the classes that the data set has.
        path: of the file, for messages.
    """

    names: Mapping[Colour, str]
    labels: Mapping[str, int]
    path: Path


def voc_colours(names: Mapping[int, str], path: Path) -> ColourTable:
    """The table of VOC's colours for class names by label value.

    Args:
        names: by label value.
        path: where the table is going to be.

    Raises:
        InputError: two labels of one name, or a name that breaks the format.
    """
    labels: dict[str, int] = {}
    for label, name in sorted(names.items()):
        if name in labels:
            both = f"classes {labels[name]} and {label}"
            raise InputError(f"{path}: {both} have one name, {name!r}; expected different names")
        if not name.isprintable() or name != name.strip() or not name or name[0] == "#":
            raise InputError(f"{path}: class name {name!r}: expected printable text without '#'")
        if ":" in name:
            raise InputError(f"{path}: class name {name!r}: expected no ':'")
        labels[name] = label
    return ColourTable({_voc_colour(label): name for name, label in labels.items()}, labels, path)


def encode_colour_table(table: ColourTable) -> bytes:
    """The bytes of labelmap.txt, in the order of the labels."""
    lines = [f"{name}:{','.join(map(str, colour))}::" for colour, name in table.names.items()]
    return "\n".join(["# label:color_rgb:parts:actions", *lines, ""]).encode()


def read_colour_table(path: Path, labels: Mapping[str, int]) -> ColourTable:
    """Read labelmap.txt. It may name classes that the data set has not.

    Args:
        path: of the file.
        labels: label value by class name.

    Raises:
        InputError: unreadable, a broken line, or two classes of one colour.
    """
    lines = read_user_text(path).splitlines()
    names: dict[Colour, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        values = rest.split(":")[0].split(",")
        if len(values) != 3 or not all(value.strip().isdecimal() for value in values):
            raise InputError(f"{path}: line {number}: {line!r}; expected name:r,g,b::")
        red, green, blue = map(int, values)
        if (red, green, blue) in names:
            both = f"{names[red, green, blue]!r} and {name!r}"
            raise InputError(f"{path}: line {number}: {both} have one colour, {rest}")
        names[red, green, blue] = name
    return ColourTable(names, labels, path)


def read_coloured(path: Path, table: ColourTable, size: tuple[int, int]) -> LabelMap:
    """Read a mask as uint8 [H, W] of label values.

    Colours go through the table, also those of a palette, because programs renumber palettes. The
    pixels of a grey PNG are label values already.

    Args:
        path: a PNG.
        table: of its colours.
        size: (H, W) of its image.

    Raises:
        InputError: missing or unreadable, of another size, not opaque, or with a colour or a value
            that is no class; names the first such pixel.
    """
    content = read_user_bytes(path)
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            mode, image_size = image.mode, image.size[::-1]
            if mode not in ("L", "P", "RGB", "RGBA"):
                raise InputError(f"{path}: mode {mode}; expected colours, a palette or 8-bit grey")
            if image_size != size:  # told by the header alone, before a large one is decoded
                raise InputError(f"{path}: size {image_size}; expected {size} of its image")
            pixels = np.array(image if mode == "L" else image.convert("RGBA"))
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a readable PNG: {error}") from error
    if mode == "L":
        return _known_values(path, pixels, table)
    return _labels_of_colours(path, pixels, table)


def _known_values(path: Path, labels: LabelMap, table: ColourTable) -> LabelMap:
    for value in np.unique(labels):
        if value not in table.labels.values():
            where = _pixel(labels == value)
            expected = "expected label values in a grey PNG, or colours"
            raise InputError(f"{path}: {where}: value {value} is no class; {expected}")
    return labels


def _labels_of_colours(path: Path, pixels: npt.NDArray[np.uint8], table: ColourTable) -> LabelMap:
    opaque = pixels[..., 3] == 255
    if not opaque.all():
        raise InputError(f"{path}: {_pixel(~opaque)}: transparent; expected opaque colours")
    red, green, blue = (pixels[..., channel].astype(np.uint32) for channel in range(3))
    codes, colour_of_pixel = np.unique(red << 16 | green << 8 | blue, return_inverse=True)
    colour_of_pixel = colour_of_pixel.reshape(pixels.shape[:2])
    labels = np.zeros(len(codes), dtype=np.uint8)
    for index, code in enumerate(codes.tolist()):
        colour = (code >> 16, code >> 8 & 255, code & 255)
        name = table.names.get(colour)
        if name is None or name not in table.labels:
            where = (
                f"{path}: {_pixel(colour_of_pixel == index)}: colour {','.join(map(str, colour))}"
            )
            if name is None:
                raise InputError(f"{where} is not in {table.path}")
            close = difflib.get_close_matches(name, table.labels, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise InputError(f"{where} is {name!r} in {table.path}, no class here{hint}")
        labels[index] = table.labels[name]
    return np.asarray(labels[colour_of_pixel])


def _voc_colour(label: int) -> Colour:
    red, green, blue = palette()[3 * label : 3 * label + 3]
    return red, green, blue


def _pixel(mask: npt.NDArray[np.bool_]) -> str:
    """The first pixel of a mask, for messages."""
    y, x = np.unravel_index(int(mask.argmax()), mask.shape)
    return f"pixel x={x}, y={y}"
