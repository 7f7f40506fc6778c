"""What stands on the page of the review: plain values for its template and its script."""

from dataclasses import asdict
from typing import Any

from pipelines.browse.library import Library
from pipelines.look.layers import Catalogue, Kind
from pipelines.review.doubt import doubt, final_layer, opinions
from pipelines.review.marks import Marks, Verdict
from stages.io.pictures import UNKNOWN_COLOUR, Colour


def review_page(library: Library, rev: str) -> dict[str, Any]:
    """The images with final labels, and what a person thinks of each.

    Raises:
        InputError, MissingObject: as `Catalogue`; or no final labels in the revision.
    """
    catalogue = library.catalogue(rev)
    layer = final_layer(catalogue)
    marks = Marks(library.root).read()
    return {
        "rev": rev,
        "layer": layer,
        "count": len(layer.files),
        "verdicts": list(Verdict),
        "marks": {image_id: mark.verdict for image_id, mark in marks.items()},
        "stale": [
            image_id
            for image_id, mark in marks.items()
            if image_id in layer.files and mark.is_stale(layer.files[image_id][1])
        ],
        "seeds": next((layer.name for layer in opinions(catalogue, Kind.LABELS)), None),
        "legend": legend(catalogue),
    }


def doubted_image(catalogue: Catalogue, image_id: str) -> dict[str, Any]:
    """Why to doubt the labels of an image, and its boxes to be drawn.

    Raises:
        InputError, MissingObject: as `doubt`.
    """
    doubtful = doubt(catalogue, image_id)
    image, boxes = catalogue.images[image_id], catalogue.boxes.get(image_id, ())
    return asdict(doubtful) | {
        "size": (image.width, image.height),
        "boxes": [
            {
                "name": catalogue.names.get(box.category, str(box.category)),
                "colour": _hex(catalogue.colours.get(box.category, UNKNOWN_COLOUR)),
                "corners": box.corners,
                "unfilled": share,
            }
            for box, share in zip(boxes, doubtful.boxes, strict=True)
        ],
    }


def legend(catalogue: Catalogue) -> list[tuple[str, str]]:
    """Name and colour of the classes that have boxes."""
    boxed = {box.category for of_image in catalogue.boxes.values() for box in of_image}
    return [
        (catalogue.names[label], _hex(colour))
        for label, colour in catalogue.colours.items()
        if label in boxed
    ]


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
