import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.look.instance_colours import COUNT, NEAR, instance_colours
from stages.io.pictures import UNKNOWN_COLOUR, Colour, class_colours

SIDES = st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 25)] * 2)


def lab(colours: list[Colour]) -> np.ndarray:
    pixels = np.array(colours, dtype=np.float32)[None] / 255
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)[0])


@pytest.mark.parametrize("count", [0, 1, 2, 5, 20, 80, 254])
def test_no_instance_looks_like_a_class_or_like_another(count: int) -> None:
    classes = list(class_colours(range(1, count + 1)).values())
    apart = [(100.0 * number, 0.0, 100.0 * number + 9, 9.0) for number in range(COUNT)]
    own = instance_colours(apart, classes)
    to_classes = np.linalg.norm(lab(own)[:, None] - lab([*classes, UNKNOWN_COLOUR]), axis=2)
    to_others = np.linalg.norm(lab(own)[:, None] - lab(own), axis=2) + 999 * np.eye(COUNT)
    assert to_classes.min() > 20, "of CIELAB; 2 can just be told"
    assert to_others.min() > 20


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(SIDES, max_size=40))
def test_neighbours_differ(found: list[tuple[int, int, int, int]]) -> None:
    boxes = [(float(x), float(y), float(x + w), float(y + h)) for x, y, w, h in found]
    colours = instance_colours(boxes, [])
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        near = [
            colour
            for (u0, v0, u1, v1), colour in zip(boxes[:index], colours, strict=False)
            if max(x0, u0) - min(x1, u1) <= NEAR and max(y0, v0) - min(y1, v1) <= NEAR
        ]
        assert colours[index] not in near or len(near) >= COUNT


def test_the_same_instances_have_the_same_colours_every_time() -> None:
    boxes = [(0.0, 0.0, 9.0, 9.0)] * 3
    assert instance_colours(boxes, [(255, 0, 0)]) == instance_colours(boxes, [(255, 0, 0)])
    assert len(set(instance_colours(boxes, []))) == 3
