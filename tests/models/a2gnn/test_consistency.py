"""Consistency checking: planted wrong seeds go, right ones stay."""

import torch
from torch import Tensor

from models.a2gnn.consistency import (
    background_share,
    check_directions,
    consistent_seeds,
    seeds_in_boxes,
)
from tests.reference import a2gnn as reference

SIZE, STRIDE, GRID = (16, 24), 4, (4, 6)
BOXES = [(4, 4, 16, 12), (12, 0, 24, 16)]
ROWS = [1, 1]


def _features(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features [N, 8] and which cells hold the object: columns 1 to 4 of rows 1 and 2."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.rand(2, 8, generator=generator, dtype=torch.float64)
    objects = torch.zeros(GRID, dtype=torch.bool)
    objects[1:3, 1:5] = True
    noise = 0.1 * torch.rand(24, 8, generator=generator, dtype=torch.float64)
    return kinds[objects.ravel().long()] + noise, objects.ravel()


def _seeds(cells: Tensor) -> Tensor:
    """A row for each pixel from a row for each cell."""
    grid = cells.reshape(GRID)
    return grid.repeat_interleave(STRIDE, 0).repeat_interleave(STRIDE, 1).ravel()


def _checked(
    seeds: Tensor, features: Tensor, boxes: list[tuple[int, int, int, int]], rows: list[int]
) -> Tensor:
    prototypes = features[_features()[1]].mean(0).expand(len(boxes), -1)
    background = features[~_features()[1]].mean(0)
    scores = features @ check_directions(prototypes, background).t()
    found = seeds_in_boxes(seeds, boxes, rows, SIZE, GRID[1], STRIDE)
    return consistent_seeds(seeds, found, scores)


def test_planted_wrong_seeds_are_removed_and_right_ones_kept() -> None:
    features, objects = _features()
    labels = objects.long()
    wrong = torch.zeros(24, dtype=torch.bool)
    wrong[[11, 17]] = True  # background cells inside the second box, labelled as object
    seeds = _seeds(torch.where(wrong, 1, labels))
    kept = _checked(seeds, features, BOXES, ROWS)
    assert (kept[_seeds(wrong)] == -1).all()
    assert torch.equal(kept[~_seeds(wrong)], seeds[~_seeds(wrong)])


def test_labels_of_other_classes_in_the_box_stay() -> None:
    features, objects = _features()
    seeds = _seeds(objects.long())
    seeds[5 * 24 + 6] = 2
    seeds[4 * 24 + 4] = 0
    assert torch.equal(_checked(seeds, features, BOXES, ROWS), seeds)


def test_a_box_keeps_at_least_half_of_its_cells() -> None:
    features, objects = _features()
    seeds = _seeds((~objects).long())  # every seed is wrong
    kept = _checked(seeds, features, BOXES, ROWS)
    for x0, y0, x1, y1 in BOXES:
        before = (seeds.reshape(SIZE)[y0:y1, x0:x1] == 1).sum()
        after = (kept.reshape(SIZE)[y0:y1, x0:x1] == 1).sum()
        assert after * 2 >= before


def test_the_rule_equals_loops_over_pixels_and_cosines() -> None:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(24, 8, generator=generator, dtype=torch.float64)
    prototypes = torch.randn(2, 8, generator=generator, dtype=torch.float64)
    background = torch.randn(8, generator=generator, dtype=torch.float64)
    seeds = torch.randint(-1, 3, (SIZE[0] * SIZE[1],), generator=generator)
    found = seeds_in_boxes(seeds, BOXES, [1, 2], SIZE, GRID[1], STRIDE)
    scores = features @ check_directions(prototypes, background).t()
    kept = consistent_seeds(seeds, found, scores)
    expected = reference.consistent_seeds(
        seeds, BOXES, [1, 2], SIZE, features, list(prototypes), background, GRID, STRIDE
    )
    assert torch.equal(kept, expected)
    assert 0 < int((kept != seeds).sum()) < int((seeds > 0).sum())


def test_the_sign_of_a_direction_compares_cosines() -> None:
    features = torch.rand(50, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    prototype, background = features[0], features[1]
    sign = features @ check_directions(prototype[None], background)[0] >= 0
    near = torch.cosine_similarity(features, prototype[None])
    far = torch.cosine_similarity(features, background[None])
    assert torch.equal(sign, near >= far)


def test_a_box_without_seeds_changes_nothing() -> None:
    features, _ = _features()
    seeds = torch.full((SIZE[0] * SIZE[1],), -1)
    assert torch.equal(_checked(seeds, features, BOXES, ROWS), seeds)


def test_the_background_is_shared_by_its_pixels_in_each_cell() -> None:
    seeds = torch.full(SIZE, 1)
    seeds[0, :6] = 0  # four pixels in the first cell, two in the second
    share = background_share(seeds.ravel(), SIZE, GRID, STRIDE)
    assert share[:3].tolist() == [4 / 6, 2 / 6, 0]
    assert float(share.sum()) == 1
    none = background_share(torch.full((SIZE[0] * SIZE[1],), 1), SIZE, GRID, STRIDE)
    assert none.tolist() == [1 / 24] * 24
