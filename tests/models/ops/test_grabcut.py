import cv2
import numpy as np
import pytest

from models.ops.grabcut import View, grabcut_box


def disc_image(seed=0):
    """A noisy red disc on a noisy green ground, and where the disc is."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:40, :48]
    disc = (rows - 20) ** 2 + (columns - 24) ** 2 < 81
    image = np.where(disc[..., None], [190, 60, 50], [40, 130, 60])
    noisy = image + generator.normal(0, 12, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), disc


def test_the_object_of_a_box_is_cut_out():
    image, disc = disc_image()
    cut = grabcut_box(image, (15, 11, 33, 29), 5, 0.1, 0)
    assert cut.kind == "cut"
    assert (cut.mask & disc).sum() / (cut.mask | disc).sum() > 0.95


def test_the_mask_stays_inside_the_pixels_that_the_box_touches():
    image, _ = disc_image()
    mask = grabcut_box(image, (14.2, 10.7, 27.4, 30.1), 5, 0.1, 0).mask
    outside = np.ones_like(mask)
    outside[10:31, 14:28] = False
    assert mask.any()
    assert not mask[outside].any()


def mottled_image():
    """A disc that shares some of its colours with the ground, so that the start decides."""
    generator = np.random.default_rng(1)
    rows, columns = np.mgrid[:40, :48]
    disc = (rows - 20) ** 2 + (columns - 24) ** 2 < 100
    colours = generator.integers(0, 256, (8, 3))
    ground, thing = generator.integers(0, 6, (40, 48)), generator.integers(4, 8, (40, 48))
    image = colours[np.where(disc, thing, ground)] + generator.normal(0, 10, (40, 48, 3))
    return np.clip(cv2.GaussianBlur(image, (0, 0), 1), 0, 255).astype(np.uint8)


def test_a_result_depends_on_the_seed_and_on_no_earlier_call():
    image, box = mottled_image(), (10, 8, 38, 32)
    first = grabcut_box(image, box, 1, 0.1, 0).mask
    cv2.setRNGSeed(99)
    grabcut_box(image, (2, 2, 30, 30), 1, 0.1, 7)
    np.testing.assert_array_equal(grabcut_box(image, box, 1, 0.1, 0).mask, first)
    others = [grabcut_box(image, box, 1, 0.1, seed).mask for seed in range(1, 6)]
    assert any(not np.array_equal(first, other) for other in others)


def test_without_unsure_pixels_the_start_is_opencvs_rectangle():
    (image, _), (x0, y0, x1, y1) = disc_image(), (10, 8, 38, 32)
    marks = np.zeros(image.shape[:2], np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(3)
    cv2.grabCut(image, marks, (x0, y0, x1 - x0, y1 - y0), *models, 5, cv2.GC_INIT_WITH_RECT)
    for unsure in (None, np.zeros(image.shape[:2], bool)):
        cut = grabcut_box(image, (x0, y0, x1, y1), 5, 0.1, 3, unsure)
        assert cut.kind == "cut"
        np.testing.assert_array_equal(cut.mask, marks == cv2.GC_PR_FGD)


def test_pixels_that_may_hold_more_objects_are_no_certain_background(monkeypatch):
    started = []

    def keep(image, marks, *arguments):
        started.append(marks.copy())

    monkeypatch.setattr(cv2, "grabCut", keep)
    image, _ = disc_image()
    unsure = np.zeros((40, 48), bool)
    unsure[5:20, 20:40] = True
    grabcut_box(image, (10, 10, 30, 30), 5, 0.1, 0, unsure)
    expected = np.where(unsure, cv2.GC_PR_BGD, cv2.GC_BGD)
    expected[10:30, 10:30] = cv2.GC_PR_FGD
    np.testing.assert_array_equal(started[0], expected)


def test_the_image_is_left_unchanged():
    image, _ = disc_image()
    before = image.copy()
    grabcut_box(image, (15, 11, 33, 29), 1, 0.1, 0)
    np.testing.assert_array_equal(image, before)


def test_a_box_that_covers_the_image_is_filled():
    image, _ = disc_image()
    cut = grabcut_box(image, (0, 0, 48, 40), 5, 0.1, 0)
    assert cut.kind == "failed"
    assert cut.mask.all()


@pytest.mark.parametrize("box", [(5, 5, 6, 6), (5.2, 5.1, 5.9, 5.8), (47, 0, 48, 40), (0, 0, 2, 2)])
def test_tiny_boxes_get_a_mask_of_at_least_one_pixel(box):
    image, _ = disc_image()
    cut = grabcut_box(image, box, 5, 0.1, 0)
    assert cut.mask.any()
    assert cut.mask.sum() <= 40


def test_an_object_that_looks_like_the_ground_fills_its_box():
    flat = np.full((40, 48, 3), 128, np.uint8)
    cut = grabcut_box(flat, (10, 10, 30, 30), 5, 0.1, 0)
    assert cut.kind in ("small", "full")
    expected = np.zeros((40, 48), bool)
    expected[10:30, 10:30] = True
    np.testing.assert_array_equal(cut.mask, expected)


def test_when_opencv_fails_the_box_is_filled(monkeypatch):
    def fail(*arguments):
        raise cv2.error("no samples")

    monkeypatch.setattr(cv2, "grabCut", fail)
    image, _ = disc_image()
    cut = grabcut_box(image, (10, 10, 30, 30), 5, 0.1, 0)
    assert cut.kind == "failed"
    assert cut.mask.sum() == 400


def test_a_cut_without_object_fills_the_box(monkeypatch):
    def nothing(image, marks, *arguments):
        marks[:] = cv2.GC_PR_BGD

    monkeypatch.setattr(cv2, "grabCut", nothing)
    image, _ = disc_image()
    cut = grabcut_box(image, (10, 10, 30, 30), 5, 0.1, 0)
    assert cut.kind == "small"
    assert cut.mask.sum() == 400


@pytest.mark.parametrize(("pixels", "kind", "kept"), [(39, "small", 400), (40, "cut", 40)])
def test_an_object_that_is_too_small_for_its_box_fills_it(monkeypatch, pixels, kind, kept):
    def few(image, marks, *arguments):
        marks[:] = cv2.GC_PR_BGD
        patch = np.full(400, cv2.GC_PR_BGD, np.uint8)
        patch[:pixels] = cv2.GC_PR_FGD
        marks[10:30, 10:30] = patch.reshape(20, 20)

    monkeypatch.setattr(cv2, "grabCut", few)
    image, _ = disc_image()
    cut = grabcut_box(image, (10, 10, 30, 30), 5, 0.1, 0)
    assert (cut.kind, cut.mask.sum()) == (kind, kept)


def test_a_view_of_everything_at_its_own_size_changes_nothing():
    image = mottled_image()
    for box in ((10, 8, 38, 32), (2, 2, 30, 30), (40, 30, 48, 40)):
        cut = grabcut_box(image, box, 2, 0.1, 3, view=View(100.0, 0, 0))
        expected = grabcut_box(image, box, 2, 0.1, 3)
        np.testing.assert_array_equal(cut.mask, expected.mask)
        assert cut.kind == expected.kind


def test_a_margin_cuts_the_neighbourhood_as_an_image_of_its_own():
    image, _ = disc_image()
    unsure = np.random.default_rng(0).random((40, 48)) < 0.1
    cut = grabcut_box(image, (14, 10, 34, 30), 2, 0, 3, unsure, View(0.25, 0, 0))
    part = (slice(5, 35), slice(9, 39))
    alone = grabcut_box(image[part], (5, 5, 25, 25), 2, 0, 3, unsure[part])
    assert alone.kind == "cut"
    np.testing.assert_array_equal(cut.mask[part], alone.mask)
    assert cut.mask.sum() == alone.mask.sum()


@pytest.mark.parametrize(
    ("view", "shape", "share"),
    [
        (View(0.5, 0, 0), (20, 40), 1 / 4),
        (View(0.5, 100, 200), (50, 100), 1 / 4),
        (View(0.5, 10, 20), (10, 20), 1 / 4),
        (View(9.0, 0, 0), (40, 48), 200 / (40 * 48)),
    ],
)
def test_what_is_seen_has_a_bounded_size(monkeypatch, view, shape, share):
    seen = []

    def keep(image, marks, *arguments):
        seen.append((image.shape[:2], (marks == cv2.GC_PR_FGD).mean()))

    monkeypatch.setattr(cv2, "grabCut", keep)
    image, _ = disc_image()
    grabcut_box(image, (10, 10, 30, 20), 5, 0.1, 0, view=view)
    assert seen == [(shape, share)]


@pytest.mark.parametrize("view", [View(0.5, 90, 128), View(1.0, 10, 24)])
def test_the_object_is_cut_out_at_another_size(view):
    image, disc = disc_image()
    cut = grabcut_box(image, (15, 11, 33, 29), 5, 0.1, 0, view=view)
    assert cut.kind == "cut"
    assert (cut.mask & disc).sum() / (cut.mask | disc).sum() > 0.85
    assert not cut.mask[:, :15].any()
    assert not cut.mask[:11].any()


def test_a_sliver_seen_at_a_bounded_size_is_filled():
    """At 20 pixels a side nothing of the box is left to start from."""
    image = np.random.default_rng(0).integers(0, 256, (60, 400, 3)).astype(np.uint8)
    cut = grabcut_box(image, (0, 20, 400, 21), 1, 0.1, 0, view=View(0.5, 0, 20))
    assert cut.mask.sum() == 400
