import base64
import io

import numpy as np
from PIL import Image

from stages.io.data_set import Box
from stages.io.pictures import (
    UNKNOWN_COLOUR,
    class_colours,
    data_uri,
    overlay,
    shrink,
    shrink_labels,
    with_boxes,
)


def test_overlay_paints_classes_and_unknown_and_leaves_the_background_grey() -> None:
    image = np.full((6, 6, 3), (100, 150, 200), dtype=np.uint8)
    labels = np.zeros((6, 6), dtype=np.uint8)
    labels[:, 4:] = 1
    labels[0, :2] = 255
    painted = overlay(image, labels, {1: (255, 0, 0)}, 0.5)
    assert painted[3, 4].tolist() == [255, 0, 0]  # an outline is full colour
    assert painted[3, 5].tolist() == [192, 75, 85]  # (130, 150, 170) and red, half each
    assert painted[3, 1].tolist() == [130, 150, 170]
    assert np.abs(painted[0, 0].astype(int) - UNKNOWN_COLOUR).max() < 20


def test_class_colours_differ_and_can_be_seen_on_dark_photographs() -> None:
    colours = class_colours(range(1, 21))
    assert len(set(colours.values())) == 20
    assert all(0.21 * r + 0.72 * g + 0.07 * b > 80 for r, g, b in colours.values())


def test_shrink_keeps_the_ratio_and_never_enlarges() -> None:
    assert shrink(np.zeros((40, 80, 3), dtype=np.uint8), 20).shape == (10, 20, 3)
    assert shrink(np.zeros((4, 8, 3), dtype=np.uint8), 20).shape == (4, 8, 3)


def test_shrunk_labels_hold_no_values_in_between() -> None:
    labels = np.zeros((40, 80), dtype=np.uint8)
    labels[:, 40:] = 200
    shrunk = shrink_labels(labels, (10, 20))
    assert shrunk.shape == (10, 20)
    assert set(np.unique(shrunk)) == {0, 200}


def test_boxes_are_frames_in_the_colour_of_their_class() -> None:
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    framed = with_boxes(image, [Box(3, 4.0, 8.0, 40.0, 32.0)], 0.5, {3: (9, 8, 7)})
    assert framed[4, 2].tolist() == framed[15, 19].tolist() == [9, 8, 7]
    assert not framed[10, 10].any()
    assert not image.any()


def test_data_uri_holds_the_picture() -> None:
    image = np.full((8, 12, 3), (250, 10, 10), dtype=np.uint8)
    kind, content = data_uri(image, 80).split(",")
    assert kind == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as decoded:
        assert decoded.size == (12, 8)
        assert np.abs(np.array(decoded).astype(int) - image).max() < 20
