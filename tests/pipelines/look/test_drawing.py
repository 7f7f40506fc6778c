import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.graph.objects import Objects
from pipelines.graph.revisions import read_revision
from pipelines.look.drawing import draw, on_photograph, photograph
from pipelines.look.layers import Catalogue, Kind, Layer
from stages.engine.errors import InputError
from stages.io.pictures import UNKNOWN_COLOUR, encode_png, heat_layer
from tests.pipelines import gallery as made
from tests.pipelines.gallery import SIZE, STRIDE, Gallery, label_map


@pytest.fixture
def catalogue(gallery: Gallery) -> Catalogue:
    return Catalogue(Objects(gallery.root), read_revision(gallery.root))


def drawn(catalogue: Catalogue, name: str, image_id: str = "a", **options: object) -> np.ndarray:
    picture = draw(catalogue, catalogue.layer(name), image_id, **options)  # type: ignore[arg-type]
    assert picture is not None
    assert picture.dtype == np.uint8
    return picture


def heat(value: float) -> list[int]:
    """The colour of one value, [r, g, b, a]."""
    return list(heat_layer(np.array([[value]]))[0, 0].tolist())


def test_a_photograph_is_its_pixels(catalogue: Catalogue) -> None:
    np.testing.assert_array_equal(photograph(catalogue, "c"), made.photograph("c"))
    assert photograph(catalogue, "c", side=6).shape == (5, 6, 3)


def test_labels_are_drawn_pixel_for_pixel(catalogue: Catalogue) -> None:
    picture, labels = drawn(catalogue, "walk_label/labels", "b.1"), label_map("b.1", 2)
    for y in range(SIZE[0]):
        for x in range(SIZE[1]):
            label = int(labels[y, x])
            colour = UNKNOWN_COLOUR if label == 255 else catalogue.colours.get(label, (0, 0, 0))
            assert picture[y, x].tolist() == [*colour, 255 if label else 0]


def test_small_labels_hold_no_colours_in_between(catalogue: Catalogue) -> None:
    small = drawn(catalogue, "walk_label/labels", side=6)
    assert small.shape == (5, 6, 4)
    full = {tuple(pixel) for pixel in drawn(catalogue, "walk_label/labels").reshape(-1, 4).tolist()}
    assert {tuple(pixel) for pixel in small.reshape(-1, 4).tolist()} <= full


@pytest.mark.parametrize("category", [None, 0, 1, 2, 77])
def test_scores_are_drawn_cell_by_cell(catalogue: Catalogue, category: int | None) -> None:
    picture = drawn(catalogue, "walk_label/maps", category=category)
    assert picture.shape == (*SIZE, 4)
    for y in range(SIZE[0]):
        for x in range(SIZE[1]):
            rising = (3 * (y // STRIDE) + x // STRIDE) / 8
            expected = {None: max(rising, 0.5), 0: 1.0, 1: rising, 2: 0.5, 77: 0.0}[category]
            assert picture[y, x].tolist() == heat(expected)


def test_a_graph_shows_the_mean_affinity_to_the_neighbours_there_are(catalogue: Catalogue) -> None:
    picture, edges = drawn(catalogue, "walk_label/graphs"), made.graph().edges.astype(float)
    assert picture.shape == (*SIZE, 4)
    for y in range(SIZE[0]):
        for x in range(SIZE[1]):
            row, column = y // STRIDE, x // STRIDE
            cell = 3 * row + column
            found = [edges[cell, 0]] * (column > 0) + [edges[cell, 2]] * (column < 2)
            assert picture[y, x].tolist() == heat(sum(found) / len(found))


def test_a_graph_shows_the_affinity_of_one_pixel(catalogue: Catalogue) -> None:
    edges = made.graph().edges.astype(float)
    picture = drawn(catalogue, "walk_label/graphs", pixel=(5, 9))  # cell (2, 1)
    assert picture[9, 1].tolist() == heat(edges[7, 0])
    assert picture[9, 5].tolist() == heat(edges[7, 1])
    assert picture[9, 11].tolist() == heat(edges[7, 2])
    assert not picture[:8, :, 3].any(), "no edge leads there"
    corner = drawn(catalogue, "walk_label/graphs", pixel=(-5, 999))
    assert corner[9, 1].tolist() == heat(edges[6, 1])
    assert corner[9, 5].tolist() == heat(edges[6, 2])
    assert not corner[:, 8:, 3].any()


def test_instances_are_masks_and_frames(catalogue: Catalogue) -> None:
    picture = drawn(catalogue, "instances_split/instances")
    cat, dog = ([*catalogue.colours[label], 255] for label in (1, 2))
    assert picture[0, 0].tolist() == picture[9, 11].tolist() == dog
    assert picture[2, 2].tolist() == picture[7, 8].tolist() == cat
    assert tuple(picture[4, 5, :3].tolist()) not in catalogue.colours.values()
    assert picture[4, 5, 3] == 255
    assert picture[5, 5].tolist() == [0, 0, 0, 0]
    other = drawn(catalogue, "instances_split/instances", side=6)
    assert other.shape == (5, 6, 4)


def test_a_layer_without_the_image_is_not_drawn(catalogue: Catalogue) -> None:
    layer = catalogue.layer("dataset/ground_truth/semantic")
    assert draw(catalogue, layer, "c") is None
    assert on_photograph(catalogue, layer, "c") is None


def test_labels_are_laid_over_the_photograph(catalogue: Catalogue) -> None:
    layer = catalogue.layer("walk_label/labels")
    mixed = on_photograph(catalogue, layer, "a", opacity=0.25)
    assert mixed is not None
    image, over = made.photograph("a").astype(float), drawn(catalogue, layer.name).astype(float)
    for y in range(SIZE[0]):
        for x in range(SIZE[1]):
            share = 0.25 if over[y, x, 3] else 0.0
            expected = (1 - share) * image[y, x] + share * over[y, x, :3]
            assert np.abs(mixed[y, x] - expected).max() <= 0.5


def planted(catalogue: Catalogue, content: bytes, kind: Kind) -> Layer:
    """A layer of one file, put into the cache."""
    path = catalogue.objects.root / "planted"
    path.write_bytes(content)
    md5 = "f" * 32
    place = catalogue.objects.path_of(md5)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return Layer("planted", "none", kind, {"a": ("planted", md5)})


@pytest.fixture
def own_catalogue(own_gallery: Gallery) -> Catalogue:
    return Catalogue(Objects(own_gallery.root), read_revision(own_gallery.root))


def test_a_picture_is_shown_the_right_way_up(own_catalogue: Catalogue) -> None:
    pixels = np.arange(10 * 12 * 3, dtype=np.uint8).reshape(12, 10, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter to the right
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", exif=exif)
    layer = planted(own_catalogue, buffer.getvalue(), Kind.PICTURE)
    picture = draw(own_catalogue, layer, "a")
    assert picture is not None
    np.testing.assert_array_equal(picture[..., :3], np.rot90(pixels, -1))
    assert (picture[..., 3] == 255).all()


def test_a_layer_of_another_size_than_its_photograph_is_refused(own_catalogue: Catalogue) -> None:
    layer = planted(own_catalogue, encode_png(np.zeros((4, 6, 3), np.uint8)), Kind.PICTURE)
    with pytest.raises(InputError, match="planted: a: 6 x 4 on 12 x 10 pixels"):
        on_photograph(own_catalogue, layer, "a")


@pytest.mark.parametrize("kind", [Kind.LABELS, Kind.SCORES, Kind.GRAPH, Kind.PICTURE])
def test_a_file_that_cannot_be_read_is_named(own_catalogue: Catalogue, kind: Kind) -> None:
    layer = planted(own_catalogue, b"nonsense", kind)
    with pytest.raises(InputError, match=r"ff/f{30}: not a"):
        draw(own_catalogue, layer, "a")


def test_a_photograph_that_cannot_be_read_is_named(own_gallery: Gallery) -> None:
    catalogue = Catalogue(Objects(own_gallery.root), read_revision(own_gallery.root))
    place: Path = catalogue.photograph("a")
    place.chmod(0o644)
    place.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="not an image"):
        photograph(catalogue, "a")
