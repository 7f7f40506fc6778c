import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.ops.augment import MEAN_COLOUR, augment, crop_window, jitter_colours, resize
from tests.reference.augment import paste

FILL = torch.tensor(MEAN_COLOUR)


def picture(height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height * 100 + width)
    image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 5, (height, width), generator=generator, dtype=torch.uint8)
    return image, labels


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    crop=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_a_crop_is_a_window_of_the_image_or_its_mirror(
    height: int, width: int, crop: int, seed: int
) -> None:
    image, labels = picture(height, width)
    found, kept = augment(image, labels, crop=crop, generator=seeded(seed))
    draws = torch.rand(8, generator=seeded(seed)).tolist()
    window = crop_window((height, width), crop, (draws[2], draws[3]))
    if draws[1] < 0.5:
        image, labels = image.flip(-1), labels.flip(-1)
    torch.testing.assert_close(found, paste(image / 255, crop, window, FILL))
    assert torch.equal(kept, paste(labels[None], crop, window, torch.tensor([255]))[0])


def test_all_windows_and_both_mirrors_occur() -> None:
    places = {crop_window((5, 2), 3, (y / 10, x / 10)) for y in range(10) for x in range(10)}
    assert places == {(top, 0, 3, 2, 0, before) for top in (0, 1, 2) for before in (0, 1)}
    image, _ = picture(4, 4)
    views = [augment(image, None, crop=4, generator=seeded(seed))[0] for seed in range(20)]
    assert {bool(torch.allclose(view, image / 255)) for view in views} == {True, False}


def test_the_same_generator_gives_the_same_view_and_labels_change_nothing() -> None:
    image, labels = picture(20, 30)
    options = {"crop": 16, "factors": (0.5, 1.5), "jitter": (0.3, 0.3, 0.3, 0.1)}
    first = augment(image, labels, generator=seeded(5), **options)[0]  # type: ignore[arg-type]
    again = augment(image, None, generator=seeded(5), **options)[0]  # type: ignore[arg-type]
    other = augment(image, labels, generator=seeded(6), **options)[0]  # type: ignore[arg-type]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1


def test_every_view_draws_the_same_number_of_random_numbers() -> None:
    image, labels = picture(20, 30)
    generators = [seeded(1), seeded(1)]
    augment(image, labels, crop=8, generator=generators[0])
    augment(
        image, None, crop=40, factors=(0.5, 2.0), jitter=(1, 1, 1, 0.5), generator=generators[1]
    )
    draws = [torch.rand(1, generator=generator) for generator in generators]
    assert torch.equal(*draws)


def test_labels_stay_on_their_pixels_when_the_size_changes() -> None:
    labels = torch.zeros(12, 18, dtype=torch.uint8)
    labels[3:9, 6:15] = 7
    image = torch.where(labels == 7, 255, 0).to(torch.uint8).expand(3, -1, -1)
    for factor in (0.5, 1.0, 2.0, 3.0):
        scaled, kept = resize(image, labels, factor)
        assert kept.shape == (12 * factor, 18 * factor)
        assert set(kept.flatten().tolist()) == {0, 7}
        share = (labels == 7).float().mean().item()
        assert (kept == 7).float().mean().item() == pytest.approx(share, abs=0.05)
        assert ((scaled[0] > 127) == (kept == 7)).float().mean() > 0.88


def test_colour_jitter_changes_what_it_is_asked_to() -> None:
    image = picture(6, 6)[0] / 255
    assert torch.equal(jitter_colours(image, (0, 0, 0, 0), (0.9,) * 4), image)
    brighter = jitter_colours(image, (0.5, 0, 0, 0), (0.75, 0, 0, 0))
    torch.testing.assert_close(brighter, (image * 1.25).clamp(max=1))
    grey = jitter_colours(image, (0, 0, 1, 0), (0, 0, 0, 0))
    torch.testing.assert_close(grey[0], grey[1])
    turned = jitter_colours(image, (0, 0, 0, 0.5), (0, 0, 0, 1.0))
    torch.testing.assert_close(turned.amax(0), image.amax(0), atol=1e-3, rtol=0)
    assert (turned - image).abs().max() > 0.1


def test_layers_of_labels_are_cropped_alike() -> None:
    image, labels = picture(5, 7)
    layers = torch.stack([labels, labels + 1])
    _, alone = augment(image, labels, crop=9, factors=(0.5, 2.0), generator=seeded(3))
    _, kept = augment(image, layers, crop=9, factors=(0.5, 2.0), generator=seeded(3))
    assert kept.shape == (2, 9, 9)
    assert torch.equal(kept[0], alone)
    inside = alone != 255
    assert torch.equal(kept[1][inside], alone[inside] + 1)
    assert (kept[1][~inside] == 255).all()
