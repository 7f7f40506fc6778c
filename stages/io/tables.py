"""Tables as parquet: the common form of every data set, whatever its source.

Columns are checked on reading and on writing, so that a stage may rely on them.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.engine.errors import InputError
from stages.engine.files import write_bytes

if TYPE_CHECKING:  # most stages read rows alone, and pandas takes 0.3 s to import
    import pandas as pd

#: image_id is text made of letters, digits, '.', '_' and '-'; split is train or val; file is
#: relative to the data set's root; width and height are pixels AFTER the EXIF rotation.
IMAGES = pa.schema(
    [
        ("image_id", pa.string()),
        ("split", pa.string()),
        ("file", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("md5", pa.string()),
    ]
)
#: category is the label value 1..254, or 0 where what found the instances knows none; box in
#: pixels, 0-based, half open, inside the image; area is that of the mask where there is one, else
#: of the box; mask is COCO compressed RLE (in the boxes that the line learns from: crowds' alone);
#: rank is the place in the order of its image, 1 = most salient, null where nobody ranked it.
INSTANCES = pa.schema(
    [
        ("image_id", pa.string()),
        ("instance_id", pa.int64()),
        ("category", pa.int16()),
        ("x0", pa.float32()),
        ("y0", pa.float32()),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("area", pa.float32()),
        ("is_crowd", pa.bool_()),
        ("mask", pa.string()),
        ("score", pa.float32()),
        ("rank", pa.int32()),
    ]
)
#: Columns that may be missing, as from tables of earlier revisions; all null then.
_LATER = ("rank",)
#: One row per image and category present, as far as any of its labels tells.
TAGS = pa.schema([("image_id", pa.string()), ("category", pa.int16())])
#: One row per point: pixels from 0, the point lies in pixel (floor x, floor y), inside the image;
#: category 0 is background.
POINTS = pa.schema(
    [
        ("image_id", pa.string()),
        ("category", pa.int16()),
        ("x", pa.float32()),
        ("y", pa.float32()),
    ]
)
#: One row per fixation: x and y in pixels from 0, inside the image; t in milliseconds or null.
FIXATIONS = pa.schema(
    [
        ("image_id", pa.string()),
        ("subject", pa.string()),
        ("x", pa.float32()),
        ("y", pa.float32()),
        ("t", pa.float32()),
    ]
)
#: One row per object that a subject finds salient (instance_id), or per subject's reason to call
#: the image inappropriate; both null: the subject saw the image.
VOTES = pa.schema(
    [
        ("image_id", pa.string()),
        ("subject", pa.string()),
        ("instance_id", pa.int64()),
        ("reason", pa.string()),
    ]
)
#: One row per image of which it is known how many salient things it shows.
COUNTS = pa.schema([("image_id", pa.string()), ("count", pa.int16())])
#: One row per image and kind of label that it carries: mask, box, scribble, point or tag.
KINDS = pa.schema([("image_id", pa.string()), ("kind", pa.string())])
#: category is the label value in label maps; 0 is background and has no row.
CATEGORIES = pa.schema([("category", pa.int16()), ("name", pa.string())])
#: One row per score map and class: how far its activations may speak, from -1 to 1, 0 at chance;
#: class_trust is that of the class over all images.
TRUST = pa.schema(
    [
        ("image_id", pa.string()),
        ("category", pa.int16()),
        ("class_trust", pa.float32()),
        ("trust", pa.float32()),
    ]
)
#: One row per salient instance: its tag, null where it was rejected; how active that tag is in its
#: box; and what deciding otherwise costs at least of the objective, null where nothing else can be.
NAMES = pa.schema(
    [
        ("image_id", pa.string()),
        ("instance_id", pa.int64()),
        ("tag", pa.string()),
        ("attention", pa.float32()),
        ("margin", pa.float64()),
    ]
)
#: One row per image with salient instances: how many there are, named and rejected, and the least
#: of their margins.
DOUBTS = pa.schema(
    [
        ("image_id", pa.string()),
        ("instances", pa.int32()),
        ("named", pa.int32()),
        ("rejected", pa.int32()),
        ("least_margin", pa.float64()),
    ]
)


def write_table(path: Path, table: "pd.DataFrame", schema: pa.Schema) -> None:
    """Write `table` with exactly the columns of `schema`, atomically; `rank` may be left out.

    Raises:
        ValueError: a column is missing, superfluous, or does not fit its type.
    """
    for name in set(_LATER).intersection(schema.names).difference(table.columns):
        table = table.assign(**{name: None})
    if set(table.columns) != set(schema.names):
        raise ValueError(f"{path}: expected columns {schema.names}, got {list(table.columns)}")
    content = pa.Table.from_pandas(table[schema.names], schema=schema, preserve_index=False)
    buffer = io.BytesIO()
    pq.write_table(content.replace_schema_metadata(None), buffer)
    write_bytes(path, buffer.getvalue())


def read_table(path: Path, schema: pa.Schema) -> "pd.DataFrame":
    """Read a table and check that it has the columns of `schema`.

    Raises:
        InputError: missing or unreadable file, or other columns.
    """
    frame: pd.DataFrame = _read(path, schema).to_pandas()
    return frame


def read_rows(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """The rows of a table as plain Python values; errors as `read_table`."""
    rows: list[dict[str, Any]] = _read(path, schema).to_pylist()
    return rows


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        content = pq.ParquetFile(path).read()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such table") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: not a parquet table: {error}") from error
    for name in _LATER:
        if name in schema.names and name not in content.schema.names:
            content = content.append_column(name, pa.nulls(len(content)))
    if content.schema.names != schema.names:
        raise InputError(f"{path}: expected columns {schema.names}, found {content.schema.names}")
    try:
        return content.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: expected the types of {schema.names}: {reason}") from error
